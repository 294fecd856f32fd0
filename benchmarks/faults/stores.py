"""Faults of a store under a search."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.faults.bench import LIMIT_SECONDS, Bench, Inject, Place, Violation
from benchmarks.faults.damage import cut, flipped
from benchmarks.faults.mounts import mounted


def store_refuses(refusing: Callable[[Path], AbstractContextManager[None]], *, mount: bool = True) -> Inject:
    """All but the last time for two seconds, within the patience of a search; the last time until it gives up."""

    def inject(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
        place.make()
        if mount:
            bench.afterwards.enter_context(mounted(place.store))
        process = bench.start(place)
        for index, _ in enumerate(bench.moments(place, process, chance, count)):
            with refusing(place.store):
                if index < count - 1:
                    time.sleep(2)
                else:
                    bench.end(place, process, code=1)
        return set()

    return inject


def delete_records(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    """The search itself may go on with what it has heard, or end in one line."""
    process, gone = bench.start(place), set[str]()
    for _ in range(count):
        bench.wait_for_runs(place, process, 1)
        time.sleep(chance.uniform(0, 2))
        if process.poll() is None and (found := sorted(place.run_ids())):
            gone.add(run_id := chance.choice(found))
            (place.store / f"runs/{run_id}.json").unlink()
            bench.hits += 1
    bench.end(place, process, code=None)
    return gone


def flip_claims(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    """Of runs in progress: they are lost to who trains them, and started again."""
    process = bench.start(place)
    for victim in bench.moments(place, process, chance, count):
        path = place.store / f"claims/{victim.run_id}.{victim.generation}.json"
        try:
            path.write_bytes(flipped(path.read_bytes(), chance))
        except FileNotFoundError:  # it had just finished
            bench.hits -= 1
    bench.end(place, process)
    return set()


def damage_checkpoints(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    """Cut, or with a flipped bit, as they are found when a search goes on that was killed."""
    damaged: set[Path] = set()
    deadline = time.monotonic() + 2 * LIMIT_SECONDS  # each takes a command of its own
    while len(damaged) < count:
        process = bench.start(place)
        while not (found := set(place.store.glob("checkpoints/*.pt")) - damaged) and process.poll() is None:
            time.sleep(0.02)
        if time.monotonic() > deadline:
            raise Violation("stuck", f"{len(damaged)} checkpoints of {count} in {2 * LIMIT_SECONDS:.0f} s")
        process.kill()
        bench.end(place, process, code=None)
        for path in sorted(path for path in found if path.exists())[: count - len(damaged)]:
            path.write_bytes(chance.choice((cut, flipped))(path.read_bytes(), chance))
            damaged.add(path)
            bench.hits += 1
        if not found:  # it has ended
            break
    return set()


def cut_records(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    """A search that goes on trains them again."""
    bench.fill(place)
    paths = chance.sample(sorted(place.store.glob("runs/*.json")), count)
    for path in paths:
        path.write_bytes(cut(path.read_bytes(), chance))
    bench.hits += len(paths)
    return {path.stem for path in paths}
