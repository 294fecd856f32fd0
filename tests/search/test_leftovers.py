"""What a command on a Ray of its own leaves behind: its store, and no secret, file or process besides, however it ends."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from own_ray import environment
from synthetic import Truth, make_records

from hptransfer.base.processes import is_running
from hptransfer.experiment import DataChoice, Experiment
from hptransfer.runs import Store
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

SECRETS = {
    "AWS_ACCESS_KEY_ID": "planted-aws-id",
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
    "AWS_SESSION_TOKEN": "planted-aws-session",
    "AWS_SECURITY_TOKEN": "planted-aws-security",
    "HF_TOKEN": "planted-hf",
    "HUGGING_FACE_HUB_TOKEN": "planted-hub",
    "WANDB_API_KEY": "planted-wandb",
    "RAY_AUTH_TOKEN": "planted-ray".ljust(64, "0"),
    "MY_SECRET": "planted-mine",
    "DB_PASSWORD": "planted-password",
    "AZURE_STORAGE_KEY": "planted-azure",
}
EXPERIMENT = {
    "name": "tiny",
    "model": {"depth": 1, "head_dim": 16, "context": 32},
    "base_width": 16,
    "widths": [16],
    "target_width": 32,
    "horizon": {"tokens": 4096},
    "batch_sequences": 4,
    "schedule": {"warmup_tokens": 512},
    "evaluation": {"tokens": 1024, "points": 2},
    "optimizers": ["adamw"],
    "search": {"trials": 2, "sampler": "random"},
    "spaces": {"adamw": {"embedding_lr_ratio": {"values": [4], "source": "one is enough here"}}},
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose name is short enough for sockets, with a temporary folder and a home of its own."""
    folder = Path(tempfile.mkdtemp(prefix="h", dir="/tmp"))
    for name in ("tmp", "home"):
        (folder / name).mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def begin(place: Path, *words: str, **changes: str) -> subprocess.Popen:
    env = environment(TMPDIR=str(place / "tmp"), HOME=str(place / "home"), HPTRANSFER_CACHE=str(place / "cache"), **changes)
    return subprocess.Popen(
        [sys.executable, "-m", "hptransfer", *words],
        cwd=place,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def planted(text: bytes) -> set[str]:
    return {name for name, secret in SECRETS.items() if secret.encode() in text}


def read_in(folder: Path) -> dict[str, set[str]]:
    """The names of the files that there are, with the secrets in them."""
    found: dict[str, set[str]] = {}
    for above, _, names in os.walk(folder):  # which takes it that folders go meanwhile
        for name in names:
            with suppress(OSError):
                found[name] = found.get(name, set()) | planted(Path(above, name).read_bytes())
    return found


def readable_by_others(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("hptransfer-*") if path.stat().st_mode & 0o077}


def kept(place: Path) -> list[str]:
    """What is left in the temporary folder and the home; torch's cache, one for all of a user's commands, aside."""
    found = (path for name in ("tmp", "home") for path in (place / name).iterdir())
    return [path.name for path in found if not path.name.startswith("torchinductor")]


def run_with_secrets(place: Path, *words: str) -> tuple[int, str]:
    """Run a command to its end, looking all the while at what it writes: also at what is gone by its end."""
    process, over = begin(place, *words, **SECRETS), threading.Event()
    looked, found, open_to_others = set[str](), set[tuple[str, str]](), set[str]()

    def look() -> None:
        while not over.wait(0.3):
            read = read_in(place) | {words: planted(words.encode()) for words in belonging(place)}
            looked.update(read)
            found.update((name, secret) for name, secrets in read.items() for secret in secrets)
            open_to_others.update(readable_by_others(place / "tmp"))

    looking = threading.Thread(target=look)
    looking.start()
    out, errors = process.communicate(timeout=600)
    over.set()
    looking.join()
    assert not planted((out + errors).encode())
    assert looked >= {"raylet.out", "gcs_server.out"}  # Ray's own files are among them
    assert not found and not any(read_in(place).values())
    assert not open_to_others
    assert not kept(place)
    return process.returncode, errors


def test_a_secret_of_the_environment_is_in_nothing_that_a_search_a_train_and_a_failed_run_write(place, prediction):
    code, errors = run_with_secrets(place, "search", "--experiment=tiny.yaml")
    assert code == 0, errors
    assert len(Store(place / "runs").records()) == 2
    (place / "prediction.json").write_text(prediction)
    code, errors = run_with_secrets(place, "train", "--experiment=tiny.yaml", "--prediction=prediction.json")
    assert code == 0, errors
    failing = ["--store=failed", "--widths=16", "--command=sh -c 'exit 3' {lr} {width}"]
    code, errors = run_with_secrets(place, "search", *failing)
    assert code == 1 and "Traceback" not in errors and "failed" in errors, errors


@pytest.fixture
def prediction() -> str:
    """Of the tiny experiment, from runs that were made up."""
    experiment = Experiment.model_validate(EXPERIMENT | {"widths": [16, 32], "target_width": 48})
    data = load_corpus(DataChoice()).spec
    target = resolve(experiment.point(experiment.arm("adamw"), data, width=48, lr=0.01, weight_decay=0.0))
    group = Group("adamw", tuple(make_records(Truth(), experiment, recipe="adamw", data=data)))
    return predict_group(group, target, resolve, draws=30, force=True).model_dump_json()


def belonging(place: Path) -> set[str]:
    """Processes that have the environment of a command begun there."""
    mine, found = f"TMPDIR={place / 'tmp'}".encode(), set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mine in (entry / "environ").read_bytes() and is_running(int(entry.name)):
                found.add((entry / "cmdline").read_text().replace("\0", " "))
    return found


CHANCE = random.Random(21)
MOMENTS = [
    pytest.param(seconds, number, marks=[pytest.mark.slow] if index >= 2 else [])
    for index, (seconds, number) in enumerate(
        (CHANCE.uniform(0.1 + 2.5 * step, 2.6 + 2.5 * step), number)
        for step in (1, 2, 0, 3, 4, 5)
        for number in (signal.SIGINT, signal.SIGTERM)
    )
]


@pytest.mark.parametrize(("seconds", "number"), MOMENTS)
def test_an_interrupt_at_any_moment_is_one_line_and_leaves_nothing(place, seconds, number):
    process = begin(place, "search", "--experiment=tiny.yaml", "--trials=400")
    time.sleep(seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    lines = errors.strip().splitlines()
    assert "Traceback" not in errors and "ignored" not in errors
    assert [line for line in lines if "interrupt" in line.lower()] == [lines[-1]]
    assert not belonging(place)
    assert not kept(place)
    assert not list(place.rglob("*.tmp"))


def test_of_a_killed_command_nothing_is_left_running_and_the_next_sweeps_the_rest(place):
    process = begin(place, "search", "--experiment=tiny.yaml", "--trials=400")
    deadline = time.monotonic() + 60
    while not list((place / "runs/runs").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while (left := belonging(place)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    done = begin(place, "search", "--experiment=tiny.yaml", "--trials=4")
    _, errors = done.communicate(timeout=100)
    assert done.returncode == 0, errors
    assert not [name for name in kept(place) if name.startswith("hptransfer-")]


# Python imports this at its start, in every process of a command.
NAMELESS = """
import pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
"""


@pytest.mark.parametrize("cache", [pytest.param(True, marks=pytest.mark.slow), False])
def test_without_a_home_and_a_name_it_works_or_names_the_cache(place, cache):
    (place / "sitecustomize.py").write_text(NAMELESS)
    path = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))
    env = environment(TMPDIR=str(place / "tmp"), PYTHONPATH=path, HPTRANSFER_CACHE=str(place / "cache") if cache else "")
    env.pop("HOME", None)
    stage = ["search"] if cache else ["data", "--write", "shards"]
    words = [sys.executable, "-m", "hptransfer", *stage, "--experiment=tiny.yaml"]
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert "Traceback" not in done.stderr
    if cache:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2 and "HPTRANSFER_CACHE" in done.stderr.strip().splitlines()[-1], done.stderr
