"""Programs as trainers on a real Ray, from the command line to the page: real processes, faults, a killed driver."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_ray import environment
from programs import COMMAND, WORLD, make_experiment, program
from world import best_lr

from hptransfer.runs import Store

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.xdist_group("ray")]
VALIDATION = {"seeds": 3, "probe_octaves": [1], "ladder": [0.5, 2.0]}


def prepared(folder: Path, **changes: Any) -> None:
    """The experiment file and its program in a folder."""
    shutil.copy(WORLD, folder / "world.py")
    experiment = make_experiment(validation=VALIDATION, **changes)
    content = experiment.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))


def arguments(stage: str, *more: str) -> list[str]:
    return [sys.executable, "-m", f"hptransfer.{stage}", "--experiment", "mine.yaml", *more, "--json"]


def run(folder: Path, stage: str, *more: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        arguments(stage, *more), cwd=folder, env=environment(), capture_output=True, text=True, timeout=1200, check=False
    )
    assert "Traceback" not in done.stderr and done.returncode == code, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def search_until(folder: Path, finished: int) -> None:
    """A search whose driver is killed after so many runs."""
    driver = subprocess.Popen(arguments("search"), cwd=folder, env=environment(), start_new_session=True)
    deadline = time.monotonic() + 300
    while len(list((folder / "runs/runs").glob("*.json"))) < finished and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()


def straight_and_killed(place: Path, finished: int, **changes: Any) -> Iterator[tuple[str, Path]]:
    """The folder of a search that has not begun, and of one whose driver was killed after so many runs."""
    for name in ("straight", "killed"):
        (folder := place / name).mkdir()
        prepared(folder, **changes)
        if name == "killed":
            search_until(folder, finished)
        yield name, folder


def processes(folder: Path) -> list[int]:
    """Processes of the program that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words, where = path.read_bytes().decode().split("\0"), os.readlink(path.parent / "cwd")
        except OSError:
            continue
        if "world.py" in " ".join(words) and Path(where) == folder:
            found.append(int(path.parent.name))
    return found


def test_three_seeds_from_search_to_page(tmp_path: Path) -> None:
    """The multiplier is 1.3 at every scale; its 80 % interval holds that in two of three at least."""
    held = []
    for seed in range(3):
        (folder := tmp_path / str(seed)).mkdir()
        prepared(folder, search={"trials": 10, "seed": seed})
        run(folder, "search")
        predicted = {one["name"]: one for one in run(folder, "transfer")["predictions"]}
        lr = predicted["mine"]["hyperparameters"]["lr"]
        found = {one["arm"]: one for one in run(folder, "validate", "--survival")["validations"]}
        multiplier = found["faster"]["speedup"]["compute_multiplier"]["flops"]
        held.append(multiplier["low"] <= 1.3 <= multiplier["high"])
        print(f"seed {seed}: lr {lr['low']:.4f} to {lr['high']:.4f} ({best_lr(2048):.4f}), multiplier {multiplier}")
        print(f"survival {found['faster']['survival']['verdict']}, slope {found['faster']['survival']['slope']}")
        summary = run(folder, "report")
        assert {answer["arm"] for answer in summary["arms"]} == {"mine", "faster"}
        assert (folder / "reports/mine/index.html").is_file()
        assert processes(folder) == []
    assert sum(held) >= 2


def test_faults_and_a_killed_driver_lose_and_double_nothing(tmp_path: Path) -> None:
    """5 % of the runs crash, hang, print nan or nothing, or leave a child that ignores SIGTERM; once the driver is killed."""
    arms = {"mine": {}, "faster": {"trainer.command": f"{COMMAND} --faults .05 --multiplier 1.3"}}
    changes = {"trainer": program(f"{COMMAND} --faults .05"), "arms": arms, "resources": {"hang_seconds": 5}}
    ids: list[set[str]] = []
    for name, folder in straight_and_killed(tmp_path, 12, **changes):
        found = run(folder, "search")
        proposed = [run_id for study in found["studies"] for run_id in study["run_ids"]]
        assert len(proposed) == len(set(proposed)) == 60
        assert set(proposed) == set(Store(folder / "runs").records())
        ids.append(set(proposed))
        deadline = time.monotonic() + 30
        while processes(folder) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert processes(folder) == []
        states = [record.state for record in Store(folder / "runs").records().values()]
        print(name, {state: states.count(state) for state in set(states)})
        assert {"complete", "failed"} <= set(states)
    assert ids[0] == ids[1]


def test_eight_slots_are_filled_by_commands_that_sleep_and_a_resumed_search_makes_the_same_runs(tmp_path: Path) -> None:
    arms = {name: {"trainer.command": f"{COMMAND} --sleep 10 --multiplier 1.{name}"} for name in "123"}
    changes = {
        "arms": {"mine": {}, **arms},
        "trainer": program(f"{COMMAND} --sleep 10"),
        "resources": {"cpus": (os.cpu_count() or 1) / 8},
        "search": {"trials": 12, "batch": "auto"},
    }
    ids: list[set[str]] = []
    for name, folder in straight_and_killed(tmp_path, 30, **changes):
        found = run(folder, "search", "--profile")
        ids.append({run_id for study in found["studies"] for run_id in study["run_ids"]})
        if name == "straight":
            assert found["profile"]["actors"] == 8
    assert len(ids[0]) == 144 and ids[0] == ids[1]
