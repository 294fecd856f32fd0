"""Run folders that W&B wrote offline."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import polars as pl
import pytest
from known_sweep import assert_fitted, assert_found, everything

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.source import read_source
from hptransfer.runs.sources.wandb_runs import SOURCE

# In a process of its own, which ends W&B's service with it. Beside the sweep: a run that failed, one that was killed, one that
# diverged; each but the last has the best loss.
SCRIPT = """
import math, os, sys
sys.path.insert(0, sys.argv[2])
import wandb
from known_sweep import RUNS, loss

settings = wandb.Settings(
    mode="offline", silent=True, console="off", x_disable_stats=True, x_disable_meta=True, x_save_requirements=False
)

def run(lr, width, final, exit_code):
    run = wandb.init(
        project="p", group="g", dir=sys.argv[1], name=f"w{width}", config={"lr": lr, "model": {"width": width}}, settings=settings
    )
    run.config.update({"late": "x" * 70_000})
    for step in range(3):
        run.log({"val/loss": final + 2 - step, "lr": lr / (1 + step), "nested": {"a": math.inf}})
    run.log({"picture": wandb.Histogram([1, 2])})
    if exit_code is None:
        sys.stdout.flush()
        os._exit(9)
    run.finish(exit_code=exit_code)

for width, lr in RUNS:
    run(lr, width, loss(width, lr), 0)
run(0.5, 128, 0.1, 1)
run(0.6, 128, math.nan, 0)
run(0.7, 128, 0.1, None)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("offline")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    tests = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), tests],
        env=environment | {"WANDB_ERROR_REPORTING": "false", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    return folder / "wandb"


def test_a_sweep_comes_back(written):
    before = everything(written)
    raw, why = read_source(str(written))
    assert everything(written) == before
    assert why.startswith("source wandb-run")
    assert dict(raw.roles) == {"run": "id", "state": "state", "step": "_step"} and not raw.notes
    states = dict(zip(raw.frame["config.lr"], raw.frame["state"], strict=True))
    assert (states.pop(0.5), states.pop(0.6), states.pop(0.7)) == ("failed", "finished", "running")
    assert set(states.values()) == {"finished"}
    diverged = raw.frame.filter(pl.col("config.lr") == 0.6)
    assert diverged["val/loss"].is_nan().all()
    sweep = raw.frame.filter((pl.col("state") == "finished") & (pl.col("config.lr") < 0.5))
    assert_found(sweep, "config.model.width", "config.lr", "val/loss")
    assert_fitted(written, where='"config.lr" <> 0.6')  # of that width no other run diverged
    assert set(sweep["_step"]) == {3} and sweep["nested.a"].is_infinite().all()
    assert sweep["lr"].equals((sweep["config.lr"] / 3).alias("lr"))
    assert set(raw.frame["group"]) == {"g"} and set(sweep["config.late"].str.len_chars()) == {70_000}
    assert "picture" not in raw.frame.columns and raw.frame["id"].n_unique() == 13


def test_one_run_is_a_place_too(written):
    log = next(log for log in sorted(written.glob("offline-run-*/*.wandb")))
    of_folder, of_file = SOURCE.read(str(log.parent)), SOURCE.read(str(log))
    assert len(of_folder.frame) == 1 and of_folder.frame.equals(of_file.frame)
    assert len(SOURCE.read(str(written.parent)).frame) == 13


@pytest.fixture
def log(written, tmp_path) -> Path:
    found = sorted(written.glob("offline-run-*/*.wandb"))[0]
    (tmp_path / "run-1-abc").mkdir()
    copy = tmp_path / "run-1-abc" / "run-abc.wandb"
    copy.write_bytes(found.read_bytes())
    return copy


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_log_that_is_being_written(kept, log):
    """Wherever it is cut, that is no damage, and the run goes on. Zeros at the end are what a machine leaves that went down."""
    whole = log.read_bytes()
    for end in (b"", b"\0" * 5000):
        log.write_bytes(whole[: int(kept * len(whole))] + end if not end else _whole_records(whole, kept) + end)
        raw = SOURCE.read(str(log))
        assert raw.frame["state"].to_list() == ["running"] and not raw.notes


def _whole_records(content: bytes, kept: float) -> bytes:
    place = 7
    while place < kept * len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        place += 7 + struct.unpack_from("<IHB", content, place)[1]
    return content[:place]


def test_damage_is_said(log):
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    raw = SOURCE.read(str(log))
    assert "run-1-abc" in raw.notes[0] and raw.frame["state"].to_list() == ["running"]


def test_a_preempted_run(log):
    from wandb.proto.wandb_internal_pb2 import Record, RunExitRecord, RunPreemptingRecord

    records = [Record(preempting=RunPreemptingRecord()), Record(exit=RunExitRecord(exit_code=1))]
    log.write_bytes(log.read_bytes() + b"".join(map(_framed, records)))
    assert SOURCE.read(str(log)).frame["state"].to_list() == ["preempted"]


def _framed(record) -> bytes:
    data = record.SerializeToString()
    return struct.pack("<IHB", zlib.crc32(data, zlib.crc32(b"\1")), len(data), 1) + data


def test_another_folder_is_none(tmp_path):
    (tmp_path / "a.wandb").write_bytes(b"something else")
    assert SOURCE.sniff(str(tmp_path)) is None
    with pytest.raises(UsageError):
        SOURCE.read(str(tmp_path))
