"""A search on clusters that others start: a job that is submitted, and the Slurm script. All of Ray is real; Slurm is not."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from own_ray import environment

import hptransfer
from hptransfer.runs import Store

pytest.importorskip("aiohttp", reason="needs ray[default]: pip install -e '.[dev]'")
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.xdist_group("ray")]

SLURM = Path(hptransfer.__file__).parent / "deploy/slurm.sh"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
EXPERIMENT = {
    "name": "mine",
    "model": {"depth": 1, "head_dim": 16, "context": 32},
    "base_width": 32,
    "widths": [32],
    "target_width": 64,
    "horizon": {"tokens": 8192},
    "batch_sequences": 4,
    "schedule": {"warmup_tokens": 512},
    "evaluation": {"tokens": 2048, "points": 2},
    "optimizers": ["adamw"],
    "search": {"trials": 4, "sampler": "random"},
}


def search(store: Path) -> list[str]:
    return [sys.executable, "-m", "hptransfer.search", "--experiment", "mine.yaml", "--store", str(store)]


def ray(*argv: str) -> list[str]:
    return [sys.executable, "-m", "ray.scripts.scripts", *argv]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def left_running(mark: str) -> list[int]:
    """Processes whose command line has ``mark``, such as a folder of this test's own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if int(folder.name) != os.getpid() and any(mark in word for word in words):
            found.append(int(folder.name))
    return found


def stop(process: subprocess.Popen, mark: str) -> None:
    """End a `ray start --block` and whatever of its cluster, told by ``mark``, it leaves."""
    process.terminate()
    process.wait(timeout=60)
    for pid in left_running(mark):
        os.kill(pid, 9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with an experiment of their own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    return tmp_path / "mine"


@dataclass(frozen=True)
class Head:
    dashboard: str
    env: dict[str, str]


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    """A cluster of one node with a dashboard, on localhost, behind a token."""
    temporary = Path(f"/tmp/hpt-{os.getpid()}")  # short: sockets lie below it
    dashboard = free_port()
    env = environment(**TOKEN, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0")
    command = ray("start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={free_port()}", "--num-cpus=2")
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--dashboard-agent-listen-port=0"]
    command += [f"--temp-dir={temporary}", "--include-dashboard=true"]
    with open(tmp_path / "head.log", "w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(
            ray("job", "list", f"--address=http://127.0.0.1:{dashboard}"), env=env, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline and process.poll() is None, (tmp_path / "head.log").read_text()
            time.sleep(1)
        yield Head(f"http://127.0.0.1:{dashboard}", env)
    finally:
        stop(process, str(temporary))


def test_a_submitted_job_searches_on_the_cluster(head, folder, tmp_path):
    """As the README has it: the folder with the experiment goes along, and the store is elsewhere."""
    store = tmp_path / "runs"
    submit = ray("job", "submit", f"--address={head.dashboard}", f"--working-dir={folder}", "--", *search(store))
    outsider = {name: value for name, value in head.env.items() if name not in TOKEN} | {"HOME": str(tmp_path)}
    refused = subprocess.run(submit, env=outsider, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0 and not store.exists()
    done = subprocess.run(submit, env=head.env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(Store(store).records()) == 4
    jobs = subprocess.run(ray("job", "list", f"--address={head.dashboard}"), env=head.env, capture_output=True, text=True).stdout
    assert "SUCCEEDED" in jobs and "driver_info=DriverInfo" in jobs  # it joined this cluster and started none of its own


STUBS = {
    "scontrol": 'tr , "\\n" <<< "$3"',
    "hostname": 'echo "127.0.0.1 "',
    "srun": 'echo "$@" >> "$SRUN_LOG"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
}


@pytest.mark.parametrize(("nodes", "command"), [("n1", "search"), ("n1,n2", "search"), ("n1", "fails")])
def test_the_slurm_script_runs_a_command_on_a_cluster_of_its_own(folder, tmp_path, nodes, command):
    """Steps of the stubs run on this machine; every node is a Ray node of one CPU."""
    for name, line in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    job, store = str(os.getpid()), tmp_path / "runs"
    env = environment(
        PATH=f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        SRUN_LOG=str(tmp_path / "srun.log"),
        SLURM_JOB_ID=job,
        SLURM_JOB_NODELIST=nodes,
        SLURM_CPUS_PER_TASK="1",
    )
    words = [*search(store), "--json"] if command == "search" else ["bash", "-c", "exit 7"]
    try:
        done = subprocess.run(["bash", str(SLURM), *words], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert not left_running(f"/tmp/ray-{job}") and not Path(f"/tmp/ray-{job}").exists()
    finally:
        for pid in left_running(f"/tmp/ray-{job}"):
            os.kill(pid, 9)
    steps = (tmp_path / "srun.log").read_text()
    assert ("--exclude=n1 ray start --address=" in steps) is (nodes == "n1,n2")
    if command == "fails":
        assert done.returncode == 7
        return
    assert done.returncode == 0, done.stdout + done.stderr
    (study,) = json.loads(done.stdout.splitlines()[-1])["studies"]
    assert set(study["run_ids"]) == set(Store(store).records()) and study["runs_new"] == 4
