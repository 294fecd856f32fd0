"""Faults in a search on a real Ray: whatever is killed, stopped or shared, each run is trained to its end once.

The short selection. The rest is benchmarks/faults, and slow.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.faults.__main__ import main
from benchmarks.faults.kinds import KINDS
from hptransfer.base.errors import CheckFailed, HptransferError, UsageError
from hptransfer.base.processes import is_running, started
from hptransfer.experiment import DataChoice, Experiment, Resources
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Claims, Holder, Job, Store
from hptransfer.runs.claims import this_host
from hptransfer.search.cluster import cluster, kill, this_node
from hptransfer.search.progress import Progress
from hptransfer.search.tuner import run_trials
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.points import resolve

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

PROBE = Path(faults.__file__).parent / "probe"


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
    search(runs, store, hang_seconds=10)
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


def wait_for_a_claim(place: Path) -> None:
    """Until the first run has begun."""
    deadline = time.monotonic() + 60
    while not Claims(Store(place)).held() and time.monotonic() < deadline:
        time.sleep(0.02)


def renamed(place: Path, away: Path) -> Callable[[], None]:
    place.rename(away)
    return lambda: away.rename(place)


def unmounted(place: Path, away: Path) -> Callable[[], None]:
    """Mounted somewhere else: at its own place is the empty folder again."""
    subprocess.run(["mount", "--bind", place, away], check=True)
    subprocess.run(["umount", "--lazy", place], check=True)
    return lambda: subprocess.run(["mount", "--bind", away, place], check=True)


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """A file system of its own, where that is allowed."""
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        while not subprocess.run(["umount", "--lazy", place], capture_output=True, check=False).returncode:
            pass


@pytest.mark.parametrize("go", [renamed, unmounted])
def test_a_store_that_goes_away_for_a_while_is_waited_for_and_no_other_is_made(log, experiment, tmp_path, go):
    place, away = tmp_path / "runs", tmp_path / "away"
    if go is unmounted:
        away.mkdir()
    with mounted(place) if go is unmounted else nullcontext():
        runs, store, made = Runs(experiment, 4), Store(place), []

        def go_away() -> None:
            wait_for_a_claim(place)
            back = go(place, away)
            time.sleep(2)
            made.extend(path.name for path in tmp_path.rglob("*") if path == place or place in path.parents)
            back()

        thread = threading.Thread(target=go_away)
        thread.start()
        search(runs, store)
        thread.join()
        assert made == ([] if go is renamed else ["runs"])
        assert written(log, store) == {job.run_id: 1 for job in runs.jobs}
        assert len(Store(place).records()) == 4
        if go is unmounted:
            subprocess.run(["umount", "--lazy", away], check=True)


def test_a_store_that_stays_away_ends_the_search_in_one_line(log, experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("hptransfer.base.files.PATIENCE_SECONDS", 2.0)
    place, runs = tmp_path / "runs", Runs(experiment, 4)
    store = Store(place)

    def go_away() -> None:
        wait_for_a_claim(place)
        place.rename(tmp_path / "away")

    thread = threading.Thread(target=go_away)
    thread.start()
    with pytest.raises(HptransferError, match="its folder is not there any more") as ended:
        search(runs, store)
    thread.join()
    assert "\n" not in str(ended.value) and not place.exists()


def test_a_claim_that_names_a_stranger_does_not_have_it_killed(log):
    """Who may write to a store could name any process of its user's."""
    import ray  # not before the package has settled its environment

    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        holder = Holder("run", 0, "token", "session", this_host(), stranger.pid, this_node(), since=started(stranger.pid))
        kill(holder)
        assert ray.get(ray.remote(num_cpus=0)(is_running).remote(stranger.pid))
        time.sleep(1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_can_never_fit_is_said_at_once(log, experiment, tmp_path):
    with pytest.raises(UsageError, match=r"a trial.s 1000 CPU .* can never fit: the cluster's nodes have"):
        search(Runs(experiment, 1), Store(tmp_path / "runs"), cpus=1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_the_suite(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["faults", "--kinds", kind, "--output", str(tmp_path)])
    assert main() == 0
