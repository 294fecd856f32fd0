"""Faults injected into searches on a simulated two-node Ray cluster: nothing finished is lost or doubled, nothing sticks.

    python -m benchmarks.fault_suite [--kinds 'worker killed,...'] [--repeats 1] [--output FOLDER]

After its faults each search is run to its end by the same command and compared with the uninterrupted one: the same run_ids and
losses, and each record written once. Exit code 1 on any difference. Faults of the store need root, for a file system of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown_table
from hptransfer.runs import Claims, Holder, Store

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 300.0  # a command that takes longer is stuck
TINY = (
    "model.depth=1",
    "model.context=32",
    "batch_sequences=4",
    "horizon.tokens=16384",
    "schedule.warmup_tokens=512",
    "evaluation.tokens=2048",
    "resources.hang_seconds=4",
    "resources.cpus=0.5",  # four trials at once: more for a fault to hit
)
COLUMNS = ("fault", "injected", "searches", "finished runs lost", "doubled", "stuck", "other differences")


class Violation(Exception):
    """What must not happen: (kind, words)."""


class Suite:
    """A cluster of two nodes with two CPUs in all, and searches on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.log.touch()
        os.environ |= {
            "FAULT_LOG": str(self.log),
            "PYTHONPATH": f"{ROOT}/benchmarks/fault_probe:{ROOT}",
            "RAY_AUTH_MODE": "disabled",
        }
        self.references: dict[int, dict[str, Any]] = {}
        self.hits = 0  # faults that struck something alive
        self.start_cluster()

    def start_cluster(self) -> None:
        from ray.cluster_utils import Cluster

        quick = {
            "health_check_period_ms": 1000,
            "health_check_timeout_ms": 2000,
            "health_check_failure_threshold": 3,
            "health_check_initial_delay_ms": 0,
        }
        head = {"num_cpus": 1, "_system_config": quick, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.node = self.cluster.add_node(num_cpus=1)

    def replace_node(self) -> None:
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = self.cluster.add_node(num_cpus=1)

    def restart_head(self) -> None:
        self.cluster.shutdown()
        self.start_cluster()

    def start(self, store: Path, seed: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hptransfer.search", "--optimizer=shampoo", "--trials=8", "--json", f"--store={store}"]
        command += [f"--set={setting}" for setting in (*TINY, f"search.seed={seed}")]
        env = os.environ | {"RAY_ADDRESS": self.cluster.address}
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, process: subprocess.Popen[str], code: int | None = 0) -> str:
        """Wait for a command; its stdout. With ``code`` None any will do that comes with one line and no stack trace."""
        try:
            out, errors = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Violation("stuck", f"no end after {LIMIT_SECONDS:.0f} s: {process.communicate()[1][-500:]}") from None
        if "Traceback" in errors or (code is not None and process.returncode != code):
            raise Violation("other", f"exit code {process.returncode}: {errors[-2000:]}")
        return out

    def run(self, store: Path, seed: int) -> dict[str, Any]:
        """The command from start to end."""
        return dict(json.loads(self.end(self.start(store, seed))))

    def reference(self, seed: int) -> dict[str, Any]:
        """What the uninterrupted search comes to."""
        if seed not in self.references:
            self.references[seed] = self._outcome(self.folder / f"reference-{seed}", seed)
        return self.references[seed]

    def check(self, store: Path, seed: int, redone: set[str]) -> None:
        """Run the command to its end and compare. ``redone``: runs whose record was destroyed."""
        finished = set(Store(store).records()) - redone
        outcome, reference = self._outcome(store, seed), self.reference(seed)
        written = Counter(
            run_id for kind, where, run_id, *_ in map(str.split, self.log.open()) if (kind, where) == ("record", str(store))
        )
        if doubled := [run_id for run_id, count in written.items() if count > 1 + (run_id in redone)]:
            raise Violation("doubled", f"trained to the end more than once: {doubled}")
        if lost := finished - set(outcome["losses"]):
            raise Violation("lost", f"finished and gone: {lost}")
        if outcome != reference:
            raise Violation("other", f"not what an uninterrupted search finds: {outcome} against {reference}")

    def _outcome(self, store: Path, seed: int) -> dict[str, Any]:
        ids = [study["run_ids"] for study in self.run(store, seed)["studies"]]
        return {"studies": ids, "losses": {run_id: record.loss for run_id, record in Store(store).records().items()}}

    def victim(self, store: Path, spared: set[str]) -> Holder:
        """A process that is training a run, not one of the spared; they are added to it."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            beating = [holder for holder in Claims(Store(store)).held().values() if holder.beat and holder.run_id not in spared]
            if beating:
                spared.add(beating[0].run_id)
                return beating[0]
            time.sleep(0.05)
        raise Violation("stuck", "no run is in progress")

    def wait_for_runs(self, store: Path, count: int) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while len(list(store.glob("runs/*.json"))) < count:
            if time.monotonic() > deadline:
                raise Violation("stuck", f"fewer than {count} runs finished")
            time.sleep(0.05)


# A kind of fault: injects it some times into a search that it starts, ends every command, and returns the runs whose record it
# destroyed.
Inject = Callable[[Suite, Path, int, random.Random, int], set[str]]


def signal_workers(sent: signal.Signals) -> Inject:
    def inject(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
        process, spared = suite.start(store, seed), set[str]()
        for _ in range(count):
            victim = suite.victim(store, spared)
            time.sleep(chance.uniform(0, 0.5))
            with suppress(ProcessLookupError):  # it had just finished
                os.kill(victim.pid, sent)
                suite.hits += 1
        suite.end(process)
        return set()

    return inject


def signal_driver(sent: signal.Signals) -> Inject:
    def inject(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
        for index in range(count):
            process = suite.start(store, seed)
            suite.wait_for_runs(store, min(14, chance.randint(4 * index, 4 * index + 3)))
            time.sleep(chance.uniform(0, 1))
            suite.hits += process.poll() is None
            process.send_signal(sent)
            suite.end(process, code=None)
        return set()

    return inject


def remove_node(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
    process, spared = suite.start(store, seed), set[str]()
    for _ in range(count):
        suite.victim(store, spared)
        time.sleep(chance.uniform(0, 1))
        suite.replace_node()
        suite.hits += 1
    suite.end(process)
    return set()


def restart_head(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
    for index in range(count):
        process = suite.start(store, seed)
        suite.wait_for_runs(store, chance.randint(4 * index, 4 * index + 3))
        suite.hits += process.poll() is None
        suite.restart_head()
        suite.end(process, code=1)
    return set()


def corrupt_checkpoints(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
    damaged: set[Path] = set()
    while len(damaged) < count:
        process = suite.start(store, seed)
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (found := set(store.glob("checkpoints/*.pt")) - damaged) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not found:
            raise Violation("stuck", "no run left a checkpoint")
        process.kill()
        suite.end(process, code=None)
        time.sleep(3)  # its workers go with it, or finish
        for path in sorted(path for path in found if path.exists())[: count - len(damaged)]:
            content = path.read_bytes()
            path.write_bytes(content[: chance.randrange(len(content))])
            damaged.add(path)
            suite.hits += 1
    return set()


def damage_records(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
    suite.run(store, seed)
    paths = chance.sample(sorted(store.glob("runs/*.json")), count)
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[: chance.randrange(len(content))])
    suite.hits += len(paths)
    return {path.stem for path in paths}


def start_another(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
    processes = [suite.start(store, seed) for _ in range(count + 1)]
    suite.hits += count
    for process in processes:
        suite.end(process)
    return set()


@contextmanager
def read_only(store: Path) -> Iterator[None]:
    def remount(mode: str) -> None:
        while subprocess.run(["mount", "-o", f"remount,{mode}", store], capture_output=True, check=False).returncode:
            time.sleep(0.01)  # busy: a file is being written

    remount("ro")
    yield
    remount("rw")


@contextmanager
def full(store: Path) -> Iterator[None]:
    filler = store / "filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()


def store_refuses(refusing: Callable[[Path], Any]) -> Inject:
    """All but the last time for two seconds, within the patience of a search; the last time until it gives up."""

    def inject(suite: Suite, store: Path, seed: int, chance: random.Random, count: int) -> set[str]:
        store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", store], check=True)
        process, spared = suite.start(store, seed), set[str]()
        for _ in range(count - 1):
            suite.victim(store, spared)
            time.sleep(chance.uniform(0, 0.5))
            suite.hits += process.poll() is None
            with refusing(store):
                time.sleep(2)
        suite.victim(store, spared)
        suite.hits += process.poll() is None
        with refusing(store):
            suite.end(process, code=1)
        return set()

    return inject


# How often in one search, and in how many searches.
KINDS: dict[str, tuple[Inject, int, int]] = {
    "worker killed": (signal_workers(signal.SIGKILL), 4, 2),
    "worker stopped": (signal_workers(signal.SIGSTOP), 2, 2),
    "driver killed": (signal_driver(signal.SIGKILL), 3, 1),
    "driver terminated": (signal_driver(signal.SIGTERM), 3, 1),
    "node removed": (remove_node, 2, 2),
    "head restarted": (restart_head, 2, 1),
    "store read-only": (store_refuses(read_only), 3, 1),
    "store full": (store_refuses(full), 3, 1),
    "corrupt checkpoint": (corrupt_checkpoints, 3, 1),
    "damaged record": (damage_records, 3, 1),
    "another driver on the store": (start_another, 1, 3),
}
NEEDS_ROOT = {"store read-only", "store full"}


def main() -> int:
    options = argparse.ArgumentParser(description="Faults injected into searches on a simulated two-node Ray cluster.")
    options.add_argument("--kinds", default=",".join(KINDS), metavar="NAME,...")
    options.add_argument("--repeats", type=int, default=1, help="each kind that many times as often, with other seeds")
    options.add_argument("--output", default="benchmarks/results", metavar="FOLDER")
    args = options.parse_args()
    kinds = [kind for kind in args.kinds.split(",") if os.geteuid() == 0 or kind not in NEEDS_ROOT]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # the cluster goes too
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="hptransfer-faults-"))
    suite = Suite(folder)
    counts = {kind: Counter[str]() for kind in kinds}
    try:
        for kind in kinds:
            for repeat in range(KINDS[kind][2] * args.repeats):
                run(suite, kind, repeat, counts[kind])
    finally:
        suite.cluster.shutdown()
        for mounted in folder.glob("store-*"):
            subprocess.run(["umount", "--lazy", mounted], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
    return report(counts, time.monotonic() - began, Path(args.output))


def run(suite: Suite, kind: str, repeat: int, counts: Counter[str]) -> None:
    """One search with its faults."""
    inject, faults, _ = KINDS[kind]
    seed, store = repeat % 3, suite.folder / f"store-{kind.replace(' ', '-')}-{repeat}"
    began = time.monotonic()
    suite.reference(seed)
    counts["searches"] += 1
    before = suite.hits
    try:
        redone = inject(suite, store, seed, random.Random(f"{kind} {repeat}"), faults)
        suite.check(store, seed, redone)
        said = "as uninterrupted"
    except Violation as violation:
        counts[violation.args[0]] += 1
        said = f"VIOLATION ({violation.args[0]}): {violation.args[1]}"
    counts["injected"] += suite.hits - before
    print(f"{kind:<28} x{suite.hits - before} of {faults} seed {seed}  {time.monotonic() - began:5.0f} s  {said}", flush=True)


def report(counts: dict[str, Counter[str]], seconds: float, output: Path) -> int:
    """The table, on the screen and in a file; the exit code."""
    total = sum(counts.values(), Counter[str]())
    rows = [
        (kind, *(str(count[name]) for name in ("injected", "searches", "lost", "doubled", "stuck", "other")))
        for kind, count in {**counts, "all": total}.items()
    ]
    date = datetime.now(UTC).date().isoformat()
    text = "\n".join(
        [
            "# Injected faults",
            "",
            f"{date}; `python -m benchmarks.fault_suite`; {seconds / 60:.0f} min; two simulated nodes with one CPU each, four "
            "trials at once. After its faults each search is run to its end by the same command and compared with the "
            "uninterrupted one.",
            "",
            *markdown_table(COLUMNS, rows),
            "",
        ]
    )
    print(text)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"fault_suite-{date}.md").write_text(text)
    return int(any(total[name] for name in ("lost", "doubled", "stuck", "other")))


if __name__ == "__main__":
    sys.exit(main())
