"""``--help`` is there at once, for every command and both ways of starting it, and says what there is."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

import hptransfer
from hptransfer import cli
from hptransfer.cli.stages import STAGES

SCRIPT = "from hptransfer.cli import main; main()"
HELP = [
    ["-c", SCRIPT, "--help"],
    ["-m", "hptransfer"],
    *(["-c", SCRIPT, name, "--help"] for name in STAGES),
    *(["-m", f"hptransfer.{name}", "--help"] for name in STAGES),
]
SLOW = {"torch", "ray", "polars", "altair", "numpy", "scipy", "pydantic", "pyarrow", "optuna", "rich", "shtab", "yaml"}


def imported(*arguments: str) -> tuple[set[str], str]:
    """The packages that a Python with these arguments imports, and what it prints."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    return {match[1] for match in re.finditer(r"^import time: .*\| +(\w+)(?:\.[\w.]+)?$", done.stderr, re.MULTILINE)}, done.stdout


@cache
def by_python_itself() -> set[str]:
    """What any Python here imports: the files of site-packages that its start-up reads name some."""
    return imported("-c", "")[0]


@pytest.mark.parametrize("arguments", HELP, ids=[" ".join(words).replace(SCRIPT, "hptransfer") for words in HELP])
def test_help_imports_pythons_own_packages_alone(arguments: list[str]) -> None:
    packages, said = imported(*arguments)
    assert said.startswith("usage: hptransfer ")
    assert "argparse" in packages and not packages & SLOW
    assert packages - by_python_itself() <= {*sys.stdlib_module_names, "hptransfer"}


def test_the_packages_that_are_imported_are_seen() -> None:
    assert {"yaml", "json"} <= imported("-c", "import yaml.nodes, json.decoder")[0]


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a command that ends well prints on stdout, in one line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert not ended.value.code
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    said = printed(capsys, *argv)
    for stage in STAGES.values():
        assert f" {stage.name} {stage.summary}" in said
    assert "--print-completion" in said and "hptransfer search --optimizer shampoo" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"hptransfer {hptransfer.__version__}"


@pytest.mark.parametrize("name", STAGES)
def test_a_commands_function_and_module_are_there(name: str) -> None:
    module, _, function = STAGES[name].main.partition(":")
    assert module == f"hptransfer.{name}.command"
    assert callable(getattr(importlib.import_module(module), function))
    assert f'run_stage("{name}")' in (Path(hptransfer.__file__).parent / name / "__main__.py").read_text()


def test_the_console_script_is_installed_with_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["hptransfer"].partition(":")
    assert getattr(importlib.import_module(module), function) is cli.main


def test_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The names are written out in the options, which may not import the modules that have them."""
    from hptransfer.experiment.settings import PARAMETRIZATIONS
    from hptransfer.export.hosts import HOSTS
    from hptransfer.plan.hardware import HARDWARE
    from hptransfer.store.importer import NUMBERS, WORDS
    from hptransfer.trainers.ours.parallel import Strategy
    from hptransfer.validate.coordinates import CHECKS

    assert f"--parametrization {','.join(PARAMETRIZATIONS)} " in printed(capsys, "search", "--help")
    assert f"--hardware NAME {', '.join(HARDWARE)} " in printed(capsys, "plan", "--help")
    assert f"--target HOST[,HOST] {', '.join(HOSTS.names())}, or all (json)" in printed(capsys, "export", "--help")
    assert f"names for {', '.join((*NUMBERS, *WORDS))} " in printed(capsys, "store", "--help")
    assert f"--strategy {{{','.join(get_args(Strategy))}}} " in printed(capsys, "train", "--help")
    assert f"({CHECKS}/<optimizer>" in printed(capsys, "coordcheck", "--help")
