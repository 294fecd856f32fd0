"""Faults in a search on a real Ray: whatever is killed, stopped or shared, each run is trained to its end once.

The short selection. The rest, on a cluster of two nodes, is benchmarks/fault_suite.py, and slow.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import fault_suite
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.base.processes import is_running
from hptransfer.experiment import DataChoice, Experiment, Resources
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Claims, Job, Store
from hptransfer.search.cluster import cluster
from hptransfer.search.progress import Progress
from hptransfer.search.tuner import run_trials
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.points import resolve

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

PROBE = Path(fault_suite.__file__).parent / "fault_probe"


class Runs:
    """A source of a few runs, long enough to be hit."""

    def __init__(self, experiment: Experiment, count: int, tokens: int = 20_480) -> None:
        data = load_corpus(DataChoice()).spec
        longer = experiment.model_copy(update={"horizon": experiment.horizon.model_copy(update={"tokens": tokens})})
        arm, tuned = Arm.of("adamw", "mup"), {"lr": 0.01, "weight_decay": 0.0}
        self.jobs = [resolve(longer.point(arm, data, width=16, seed=seed, **tuned)) for seed in range(count)]

    def missing(self, records) -> list[Job]:
        return [job for job in self.jobs if job.run_id not in records]


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """One Ray for the module, whose processes write down which run they start and finish."""
    path = tmp_path_factory.mktemp("faults") / "log"
    path.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULT_LOG", str(path))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PROBE), os.environ.get("PYTHONPATH", "")]))
        with cluster(Store(path.parent / "unused")):
            yield path


def written(log: Path, store: Store) -> Counter:
    lines = [line.split() for line in log.read_text().splitlines()]
    return Counter(run_id for kind, uri, run_id, *_ in lines if (kind, uri) == ("record", store.uri))


def search(runs: Runs, store: Store, **resources: float) -> None:
    run_trials(
        runs, store, store.records(), Progress(len(runs.jobs), 1.0, lambda _: "", lambda _: ""), resources=Resources(**resources)
    )


def strike(store: Store, sent: signal.Signals, times: int = 1) -> dict[str, int]:
    """Send a signal to a process in mid-training, so many times, each time to another attempt. Fills with the process of each."""
    struck: dict[str, int] = {}

    def wait_and_strike() -> None:
        while len(struck) < times:
            for holder in Claims(store).held().values():
                if holder.beat and holder.token not in struck and len(struck) < times:
                    struck[holder.token] = holder.pid
                    os.kill(holder.pid, sent)
            time.sleep(0.05)

    threading.Thread(target=wait_and_strike, daemon=True).start()
    return struck


@pytest.mark.slow
def test_killed_and_stopped_processes_are_replaced_and_nothing_is_trained_twice(log, experiment, tmp_path):
    runs, store = Runs(experiment, 4), Store(tmp_path / "runs")
    killed, stopped = strike(store, signal.SIGKILL), strike(store, signal.SIGSTOP, 2)
    search(runs, store, hang_seconds=3)
    assert (len(killed), len(stopped)) == (1, 2)
    # A stopped process that lived on would keep its memory and its core's place for ever.
    assert not any(is_running(pid) for pid in (*killed.values(), *stopped.values()))
    assert written(log, store) == {job.run_id: 1 for job in runs.jobs}
    assert not Claims(store).held()


@pytest.mark.slow
def test_a_run_that_hangs_every_time_ends_the_search_and_says_why(log, experiment, tmp_path):
    runs, store = Runs(experiment, 1, tokens=400_000), Store(tmp_path / "runs")
    strike(store, signal.SIGSTOP, 3)
    with pytest.raises(CheckFailed) as failed:
        search(runs, store, hang_seconds=2)
    assert str(failed.value).startswith(
        f"run {runs.jobs[0].run_id} failed: its process died 3 times; made no step for 2 s; what finished is in "
    )


@pytest.mark.slow
def test_runs_of_another_command_are_left_to_it_and_taken_over_when_it_dies(log, experiment, tmp_path):
    """The other command here is a process that claims two of the runs, and neither trains nor releases them."""
    runs, store = Runs(experiment, 3, tokens=4096), Store(tmp_path / "runs")
    code = "import sys, time; from hptransfer.runs import *\n"
    code += "for run in sys.argv[2:]: Claims(Store(sys.argv[1])).take(run, session='other')\nprint(flush=True); time.sleep(600)"
    held = [job.run_id for job in runs.jobs[:2]]
    other = subprocess.Popen([sys.executable, "-c", code, store.uri, *held], stdout=subprocess.PIPE)
    other.stdout.readline()
    seen: list[set[str]] = []

    def end_the_other() -> None:
        while len(store.records()) < 1:
            time.sleep(0.05)
        time.sleep(3)
        seen.append(set(store.records()))
        other.kill()
        other.wait()

    thread = threading.Thread(target=end_the_other)
    thread.start()
    search(runs, store)
    thread.join()
    assert seen == [{runs.jobs[2].run_id}]
    assert written(log, store) == {job.run_id: 1 for job in runs.jobs}


def test_what_can_never_fit_is_said_at_once(log, experiment, tmp_path):
    with pytest.raises(UsageError, match=r"a trial.s 1000 CPU .* can never fit: the cluster's nodes have"):
        search(Runs(experiment, 1), Store(tmp_path / "runs"), cpus=1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(fault_suite.KINDS))
def test_the_suite(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fault_suite", "--kinds", kind, "--output", str(tmp_path)])
    assert fault_suite.main() == 0
