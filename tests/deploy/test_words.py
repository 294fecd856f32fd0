"""What is handed to a cluster reaches the command there word by word, through the shells on the way."""

import os
import subprocess
from pathlib import Path

import pytest
from shells import HOSTILE, calls, program

import hptransfer

SLURM = Path(hptransfer.__file__).parent / "deploy/slurm.sh"
# Slurm's programs, Ray's and the wait for its nodes, as far as the script needs them.
STUBS = {
    "sbatch": 'exec bash "$@"',
    "scontrol": "echo n1",
    "hostname": 'echo "127.0.0.1 "',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": "[[ $1 == status ]] || exec sleep 60",
    "python": "cat > /dev/null",
}


@pytest.fixture
def log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a program named ``mine``, found before all others."""
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return program(folder / "bin/mine")


def test_of_a_batch_script(folder: Path, log: Path) -> None:
    for name, line in STUBS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / "bin" / name).chmod(0o755)
    env = os.environ | {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "n1", "SLURM_CPUS_PER_TASK": "1"}
    done = subprocess.run(["sbatch", str(SLURM), "mine", *HOSTILE], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert calls(log) == [[*HOSTILE]] and not Path("hit").exists()


def test_of_a_job_that_is_submitted(folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ray's own program, to a cluster that does with the text of a job what Ray's does: a shell runs it."""
    pytest.importorskip("aiohttp", reason="needs ray[default]: pip install -e '.[dev]'")
    from click.testing import CliRunner
    from ray.dashboard.modules.job import cli

    class Client:
        def submit_job(self, *, entrypoint: str, **others: object) -> str:
            subprocess.run(entrypoint, shell=True, check=True)
            return "job"

        def get_version(self) -> str:
            return ""

    monkeypatch.setattr(cli, "_get_sdk_client", lambda *of, **others: Client())
    words = ["--address", "http://HEAD:8265", "--working-dir", str(folder), "--no-wait", "--", "mine", *HOSTILE]
    done = CliRunner().invoke(cli.submit, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert calls(log) == [[*HOSTILE]] and not Path("hit").exists()
