"""Many processes that write to one store at once, or are killed over it. The module is what each of them runs."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.bench import LIMIT_SECONDS, ROOT, Bench, Place, Violation
from hptransfer.base.files import replace
from hptransfer.runs import Record, Store

RUNS = 400  # of a store that takes a moment to gather
SIDE_BY_SIDE = 3


def kill_compactions(bench: Bench, place: Place, chance: random.Random, count: int) -> None:
    whole = _many(bench, place, RUNS)
    expected = dict(Store(whole).records())
    shutil.copytree(whole, place.store)
    with _processes("compact", place.store, 1) as (process,):
        began = time.monotonic()
        _go(process)
        process.communicate(timeout=LIMIT_SECONDS)
        seconds = time.monotonic() - began
    until = bench.hits + count
    for _ in range(4 * count):
        if bench.hits == until:
            break
        if not place.run_ids():  # one was quicker
            shutil.rmtree(place.store)
            shutil.copytree(whole, place.store)
        with _processes("compact", place.store, 1) as (process,):
            _go(process)
            time.sleep(chance.uniform(0, 0.8 * seconds))
            bench.hits += process.poll() is None
            process.kill()
            process.communicate()
        _require(expected, place.store)
    _finish(bench, place, expected)


def compact_at_once(bench: Bench, place: Place, chance: random.Random, count: int) -> None:
    whole = _many(bench, place, RUNS)
    expected = dict(Store(whole).records())
    for _ in range(count // SIDE_BY_SIDE):
        shutil.rmtree(place.store, ignore_errors=True)
        shutil.copytree(whole, place.store)
        with _processes("compact", place.store, SIDE_BY_SIDE) as processes:
            for process in processes:
                _go(process)
                bench.hits += 1
            while any(process.poll() is None for process in processes):
                _require(expected, place.store)
            for process in processes:
                if process.returncode:
                    raise Violation("other", f"compact: {process.communicate()[1]}")
        _require(expected, place.store)
    _finish(bench, place, expected)


def kill_writers(bench: Bench, place: Place, chance: random.Random, count: int) -> None:
    """Of records, registered predictions and a prediction's file, while others read them."""
    whole = _many(bench, place, 40)
    expected = dict(Store(whole).records())
    shutil.copytree(whole, place.store)
    for _ in range(count // SIDE_BY_SIDE):
        with _processes("write", place.store, SIDE_BY_SIDE) as processes:
            for process in processes:
                _go(process)
            for process in processes:
                until = time.monotonic() + chance.uniform(0.2, 0.8)
                while time.monotonic() < until:
                    _require(expected, place.store)
                    for path in place.store.glob("*.json"):
                        json.loads(path.read_text())
                bench.hits += process.poll() is None
                process.kill()
                process.communicate()
    _finish(bench, place, expected)


def _many(bench: Bench, place: Place, count: int) -> Path:
    """A store of so many records, beside that of the place."""
    bench.reference(place.seed)
    place.make()
    records = [*Store(bench.reference_place(place.seed).store).records().values()]
    store = Store(place.root / "whole")
    for number, record in zip(range(count), itertools.cycle(records), strict=False):
        store.add(record.model_copy(update={"job": record.job.model_copy(update={"run_id": f"{number:016x}"})}))
    return Path(store.uri)


def _require(expected: dict[str, Record], store: Path) -> None:
    found = dict(Store(store).records())
    if lost := set(expected) - set(found):
        raise Violation("lost", f"{len(lost)} of {len(expected)} records")
    if found != expected or (store / "damaged").exists():
        raise Violation("lost", "records were changed, or are damaged")


def _finish(bench: Bench, place: Place, expected: dict[str, Record]) -> None:
    """An hour later nothing is left of those that were killed."""
    bench.age_temporaries(place)
    replace(place.store / "prediction.json", "{}")
    (place.store / "prediction.json").unlink()
    Store(place.store).compact()
    _require(expected, place.store)
    if left := [path.name for path in place.store.rglob("*.tmp")]:
        raise Violation("left", f"half-written: {left[:5]}")


@contextmanager
def _processes(work: str, store: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ready to do that."""
    words = [sys.executable, "-m", "benchmarks.faults.writers", work, str(store)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(words, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(count)]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _write_without_end(store: Store) -> None:
    records = [*store.records().values()]
    for number in itertools.count():
        store.add(records[number % len(records)])
        store.register_prediction(f"{number % 50}", {"lr": 0.01})
        replace(Path(store.uri) / "prediction.json", json.dumps({"lr": number, "curve": [0.0] * 10_000}))


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    {"compact": Store.compact, "write": _write_without_end}[sys.argv[1]](Store(sys.argv[2]))
