"""Damage to files of a store that a search has filled, without a search: no more is lost than what the damage is in."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.bench import Bench, Inject, Place, Violation
from hptransfer.runs import Record, Store


def flipped(content: bytes, chance: random.Random, last: int = 0) -> bytes:
    """With one bit turned, one of the ``last`` bytes where that is said."""
    found = bytearray(content)
    found[chance.randrange(max(0, len(found) - last) if last else 0, len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flip_bits(pattern: str, last: int = 0) -> Inject:
    """One bit of a file that matches, and the store read by a command."""

    def inject(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
        bench.fill(place)
        if pattern.endswith(".parquet"):
            Store(place.store).compact()
        before, lost = dict(Store(place.store).records()), set[str]()
        for path in _damaged(bench, place, pattern, chance, count, last):
            lost = _lost(bench, place, before, path)
        return lost

    return inject


def flip_decisions(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    """The search goes on as it would have, or says what is damaged, and without that goes on."""
    bench.fill(place)
    reference = bench.reference(place.seed)
    for path in _damaged(bench, place, "studies/*.json", chance, count):
        process = bench.start(place)
        out, errors = bench.end(place, process, code=None)
        if process.returncode == 0:
            if [study["run_ids"] for study in json.loads(out)["studies"]] != reference["studies"]:
                raise Violation("other", f"a bit of {path.name} led the search elsewhere, silently")
        elif process.returncode != 2 or path.name not in errors:
            raise Violation("other", f"a bit of {path.name}: exit code {process.returncode}: {errors[-500:]}")
        path.unlink()
    return set()


def flip_predictions(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str] | None:
    """One that was registered is read as it was, or set aside."""
    place.make()
    store, content = Store(place.store), {"lr": 0.01, "weight_decay": 0.1, "digest": "0123456789abcdef"}
    store.register_prediction("run", content)
    before = dict(store.registered(name := "predictions/run.json") or {})
    for _ in _damaged(bench, place, "predictions/*.json", chance, count):
        after = store.registered(name)
        if after is None and (place.store / "damaged/predictions-run.json").exists():
            continue
        if after is None or any(after[key] != value for key, value in before.items()):
            raise Violation("lost", f"a registered prediction was changed by one bit: {after}")
    return None


def _damaged(bench: Bench, place: Place, pattern: str, chance: random.Random, count: int, last: int = 0) -> Iterator[Path]:
    """A file of the store that matches, one of its bits turned; again and again, each time from the whole store."""
    whole = place.root / "whole"
    shutil.copytree(place.store, whole)
    for _ in range(count):
        shutil.rmtree(place.store)
        shutil.copytree(whole, place.store)
        path = chance.choice(sorted(place.store.glob(pattern)))
        path.write_bytes(flipped(path.read_bytes(), chance, last))
        bench.hits += 1
        yield path


def _lost(bench: Bench, place: Place, before: dict[str, Record], damaged: Path) -> set[str]:
    """Which records are gone after one file was damaged. Raises Violation where that is more than one, silent, or a change."""
    done = bench.hptransfer("store", f"--store={place.store}")
    after = dict(Store(place.store).records())
    if changed := [run_id for run_id, record in after.items() if record != before.get(run_id)]:
        raise Violation("lost", f"changed by a bit of {damaged.name}: {changed}")
    lost = set(before) - set(after)
    if len(lost) > 1:
        raise Violation("lost", f"one bit of {damaged.name} took {len(lost)} runs")
    if done.returncode or (lost and damaged.name not in done.stderr):
        raise Violation("other", f"exit code {done.returncode}, {len(lost)} runs lost, and said was {done.stderr!r}")
    return lost
