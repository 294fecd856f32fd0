"""Benchmarks take too long to be run as tests; what they import must be there all the same."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_every_benchmark_finds_what_it_imports() -> None:
    found = [path for path in sorted(BENCHMARKS.rglob("*.py")) if (path.parent / "__init__.py").exists()]
    names = [".".join(path.relative_to(BENCHMARKS.parent).with_suffix("").parts) for path in found]
    program = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", program], cwd=BENCHMARKS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
