"""Where the faults strike: searches on a simulated cluster of two nodes, or on the Ray that a command starts for itself."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hptransfer.base.processes import is_running
from hptransfer.runs import Claims, Holder, Store

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 300.0  # a command that takes longer is stuck
LEFT_SECONDS = 10.0  # until nothing may be left of a command that has ended
SEARCH = ("--optimizer=shampoo", "--trials=8")
TINY = (
    "model.depth=1",
    "model.context=32",
    "batch_sequences=4",
    "horizon.tokens=16384",
    "schedule.warmup_tokens=512",
    "evaluation.tokens=2048",
    "resources.cpus=0.5",  # four trials at once: more for a fault to hit
    "budget.hours=168",
)
FINISHED = ("runs/*.json", "studies/*.json", "compact-*.parquet", "damaged/*", ".hptransfer-store")  # files of a store
CODES = (0, 1, 2, 130, -signal.SIGKILL, -signal.SIGHUP)
CACHES = ("torchinductor",)  # torch's, one for all of a user's commands
OTHERS = ("wandb-media", "wandb-artifacts")  # folders of wandb's, which Ray imports: a process that is killed leaves them


class Violation(Exception):
    """What must not happen: (kind, words)."""


@dataclass(frozen=True)
class Place:
    """Where one search is: a store, a temporary folder and a home of its own. ``own_ray``: it starts a Ray for itself. (Names
    are short: a socket's path lies below.)"""

    root: Path
    seed: int
    own_ray: bool

    @property
    def store(self) -> Path:
        return self.root / "runs"

    @property
    def temporary(self) -> Path:
        return self.root / "t"

    def make(self) -> None:
        for name in ("t", "home"):
            (self.root / name).mkdir(parents=True)

    def run_ids(self) -> set[str]:
        """The runs that have finished, as far as they have a file of their own."""
        return {path.stem for path in self.store.glob("runs/*.json")}

    def left_running(self) -> list[str]:
        """Processes that have the environment of a command of this place, or train for one, in words."""
        mine, found = f"TMPDIR={self.temporary}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mine in (entry / "environ").read_bytes().split(b"\0") and is_running(int(entry.name)):
                    found.append((entry / "cmdline").read_text().replace("\0", " ")[:100])
        training = [holder for holder in Claims(Store(self.store)).held().values() if holder.token and not holder.is_dead]
        return found + [f"process {holder.pid} trains {holder.run_id}" for holder in training]

    def left_lying(self) -> list[str]:
        """Files of a command that has ended outside of its store."""
        found = (path for name in ("t", "home") for path in (self.root / name).iterdir())
        return [str(path) for path in found if not (path.name.startswith((*CACHES, FILLER)) or path.name.endswith(OTHERS))]

    def left_in_store(self) -> list[str]:
        """What is in the store beside what a finished search has."""
        names = (path.relative_to(self.store) for path in self.store.rglob("*") if path.is_file())
        return [str(name) for name in names if not any(name.match(pattern) for pattern in FINISHED)]


FILLER = "filler"  # what makes a file system full


class Bench:
    """A cluster of two nodes with two CPUs in all, and searches on it or beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self._clock = folder, folder / "log", folder / "clock"
        self.log.touch()
        self.shift_clock(0.0)
        self.hits = 0  # faults that struck something alive
        self._references: dict[int, dict[str, Any]] = {}
        self._running: list[subprocess.Popen[str]] = []
        self._cluster: Any = None
        self.afterwards = ExitStack()  # what ends with a search and its comparison
        os.environ |= {
            "FAULT_LOG": str(self.log),
            "FAULT_CLOCK": str(self._clock),
            "PYTHONPATH": f"{ROOT}/benchmarks/faults/probe:{ROOT}",
            "HPTRANSFER_CACHE": str(folder / "cache"),
            "RAY_AUTH_MODE": "disabled",
        }

    # -- the cluster ---------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Any:
        if self._cluster is None:
            from ray.cluster_utils import Cluster

            quick = {
                "health_check_period_ms": 1000,
                "health_check_timeout_ms": 2000,
                "health_check_failure_threshold": 3,
                "health_check_initial_delay_ms": 0,
            }
            head = {"num_cpus": 1, "_system_config": quick, "include_dashboard": False, "temp_dir": str(self.folder / "ray")}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
            self._node = self._cluster.add_node(num_cpus=1)
        return self._cluster

    def replace_node(self) -> None:
        self.cluster.remove_node(self._node, allow_graceful=False)
        self._node = self.cluster.add_node(num_cpus=1)

    def restart_head(self) -> None:
        self.end_cluster()
        assert self.cluster

    def end_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None

    # -- commands ------------------------------------------------------------------------------------------------

    def start(self, place: Place, *settings: str, before: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        """The search of a place, with these settings more, by a command that ``before`` starts."""
        if not place.root.exists():
            place.make()
        words = [*before, sys.executable, "-m", "hptransfer.search", *SEARCH, "--json", f"--store={place.store}"]
        words += [*(f"--set={setting}" for setting in (*TINY, f"search.seed={place.seed}", *settings))]
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True} | options
        process = subprocess.Popen(words, cwd=ROOT, env=self._environment(place), text=True, **given)
        self._running.append(process)
        return process

    def _environment(self, place: Place) -> dict[str, str]:
        theirs = {"TMPDIR": str(place.temporary), "HOME": str(place.root / "home")}
        if not place.own_ray:
            return os.environ | theirs | {"RAY_ADDRESS": self.cluster.address}
        # As a user has it: what this process has settled for its own Ray is no part of it.
        return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))} | theirs

    def end(self, place: Place, process: subprocess.Popen[str], code: int | None = 0) -> tuple[str, str]:
        """Wait for a command; its stdout and stderr. With ``code`` None any of ours will do that comes with its line, or that
        it was killed. Nothing may be left of it soon after, its files excepted where it was killed."""
        try:
            out, errors = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Violation("stuck", f"no end after {LIMIT_SECONDS:.0f} s: {(process.communicate()[1] or '')[-500:]}") from None
        errors = errors or ""  # None: they went to a terminal
        if "Traceback" in errors or process.returncode not in (CODES if code is None else (code,)):
            raise Violation("other", f"exit code {process.returncode}: {errors[-2000:]}")
        if process.returncode > 0 and errors and not errors.strip().splitlines()[-1].startswith(("error: ", "interrupted; ")):
            raise Violation("other", f"exit code {process.returncode}, and last was said {errors[-500:]}")
        if all(one.poll() is not None for one in self._running):
            was_killed = process.returncode == -signal.SIGKILL
            self._running.clear()
            gone(place.left_running)
            gone(lambda: [] if was_killed else place.left_lying())
        return out, errors

    def end_all(self) -> None:
        """End what still runs, after a violation."""
        for process in self._running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=LEFT_SECONDS)
            process.kill()
            process.communicate()
        self._running.clear()

    def run(self, place: Place) -> dict[str, Any]:
        """The search from start to end."""
        return dict(json.loads(self.end(place, self.start(place))[0]))

    def hptransfer(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command. Raises Violation where it has no end, or a stack trace."""
        command = [sys.executable, "-m", "hptransfer", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        if "Traceback" in done.stderr:
            raise Violation("other", f"exit code {done.returncode}: {done.stderr[-2000:]}")
        return done

    # -- what comes of it ----------------------------------------------------------------------------------------

    def reference(self, seed: int) -> dict[str, Any]:
        """What the uninterrupted search comes to."""
        if seed not in self._references:
            self._references[seed] = self._outcome(self.reference_place(seed))
        return self._references[seed]

    def reference_place(self, seed: int) -> Place:
        return Place(self.folder / f"r{seed}", seed, own_ray=True)

    def fill(self, place: Place) -> None:
        """A place whose search has run to its end."""
        self.reference(place.seed)
        place.make()
        shutil.copytree(self.reference_place(place.seed).store, place.store)

    def check(self, place: Place, redone: set[str]) -> None:
        """Run the search to its end and compare. ``redone``: runs whose record was destroyed."""
        finished = set(Store(place.store).records()) - redone
        self.age_temporaries(place)
        outcome, reference = self._outcome(place), self.reference(place.seed)
        written = Counter(
            run_id for kind, where, run_id, *_ in map(str.split, self.log.open()) if (kind, where) == ("record", str(place.store))
        )
        if doubled := [run_id for run_id, count in written.items() if count > 1 + (run_id in redone)]:
            raise Violation("doubled", f"trained to the end more than once: {doubled}")
        if lost := finished - set(outcome["losses"]):
            raise Violation("lost", f"finished and gone: {lost}")
        if outcome != reference:
            raise Violation("other", f"not what an uninterrupted search finds: {outcome} against {reference}")
        gone(place.left_in_store)

    def age_temporaries(self, place: Place) -> None:
        """What writers that were killed have left is as old as if that had been long ago."""
        for path in place.store.rglob("*.tmp"):
            os.utime(path, (0, 0))

    def _outcome(self, place: Place) -> dict[str, Any]:
        ids = [study["run_ids"] for study in self.run(place)["studies"]]
        return {"studies": ids, "losses": {run_id: record.loss for run_id, record in Store(place.store).records().items()}}

    # -- when to strike ------------------------------------------------------------------------------------------

    def victim(self, place: Place, process: subprocess.Popen[str], spared: set[str]) -> Holder | None:
        """A process that is training a run, not one of the spared; they are added to it. None: the search has ended."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return None
            for holder in Claims(Store(place.store)).held().values():
                if holder.token and not holder.is_dead and holder.run_id not in spared:
                    spared.add(holder.run_id)
                    return holder
            time.sleep(0.05)
        raise Violation("stuck", "no run is in progress")

    def moments(self, place: Place, process: subprocess.Popen[str], chance: random.Random, count: int) -> Iterator[Holder]:
        """So many moments at which a run is trained, each time another one; each counts as a fault."""
        spared = set[str]()
        for _ in range(count):
            if (victim := self.victim(place, process, spared)) is None:
                return
            time.sleep(chance.uniform(0, 1))
            self.hits += process.poll() is None
            yield victim

    def wait_for_runs(self, place: Place, process: subprocess.Popen[str], count: int) -> None:
        """Until so many runs have finished, or the search has ended."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while len(place.run_ids()) < count and process.poll() is None:
            if time.monotonic() > deadline:
                raise Violation("stuck", f"fewer than {count} runs finished")
            time.sleep(0.05)

    def shift_clock(self, seconds: float) -> None:
        """The date of every process of a search, Ray's own programs excepted, is so far from the machine's."""
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))


# A kind of fault: injects it so many times into a search of a place, ends every command, and returns the runs whose record it
# destroyed; None where no search is to be compared.
Inject = Callable[[Bench, Place, random.Random, int], set[str] | None]


def gone(left: Callable[[], list[str]]) -> None:
    """Wait until nothing is left, `LEFT_SECONDS` long."""
    deadline = time.monotonic() + LEFT_SECONDS
    while found := left():
        if time.monotonic() > deadline:
            raise Violation("left", f"left behind after {LEFT_SECONDS:g} s: {found[:5]}")
        time.sleep(0.2)
