"""What each of two data-parallel workers does; a module of its own, because spawned processes import it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny import BATCH_TOKENS, short_spec, tiny_corpus, tiny_spec

from hptransfer.base.errors import UsageError
from hptransfer.optimizers import RECIPES
from hptransfer.runs import CurvePoint, Record, Store
from hptransfer.trainers.ours import loop
from hptransfer.trainers.ours.checkpoint import Checkpoints
from hptransfer.trainers.ours.loop import train
from hptransfer.trainers.ours.spec import RunSpec

# What makes the parts of a step that work on rows differ: z beside y, a master copy, decay by sign, a clipped norm.
OPTIONS: dict[str, dict[str, Any]] = {
    "muon": {"clip_norm": 0.5, "cautious_weight_decay": True},
    "sf-normuon": {"cautious_weight_decay": True},
    "soap": {"clip_norm": 0.5},
}
RESUMED = ("adamw", "shampoo", "soap", "sf-normuon", "muonh")


class Killed(Exception):
    """Stands for whatever ends a process in mid-run."""


def spec_of(recipe: str) -> RunSpec:
    return short_spec(recipe, OPTIONS.get(recipe))


def curve(record: Record) -> list[float]:
    """Every number that a run leaves: training and validation losses after each step."""
    return [value for point in record.outcome.curve for value in (point.train, point.val or 0.0)]


def interrupted(spec: RunSpec, store: Store, step: int, **how: Any) -> None:
    """Train with a checkpoint after each step, up to ``step`` and half a step on."""

    def reporter(point: CurvePoint) -> None:
        if point.step > step:
            raise Killed

    plain, Checkpoints.is_due = Checkpoints.is_due, lambda self: True  # type: ignore[method-assign]
    try:
        train(spec, tiny_corpus(), store=store, reporter=reporter, **how)
    except Killed:
        pass
    finally:
        Checkpoints.is_due = plain  # type: ignore[method-assign]


@contextmanager
def steps_seen() -> Iterator[list[int]]:
    """The steps whose batches the loop asks for meanwhile."""
    steps, plain = [], loop.batch

    def counting(*args: Any, **kwargs: Any) -> Any:
        steps.append(kwargs["step"])
        return plain(*args, **kwargs)

    loop.batch = counting
    try:
        yield steps
    finally:
        loop.batch = plain


def resumed(recipe: str, folder: str, **how: Any) -> dict[str, Any]:
    """A run that goes on from the checkpoint in a store: where it starts, and its curve."""
    with steps_seen() as steps:
        record = train(spec_of(recipe), tiny_corpus(), store=Store(f"{folder}/{recipe}"), **how)
    return {"first": steps[0], "curve": curve(record)}


def start(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/rendezvous", 2), rank=rank, world_size=2)


def worker(rank: int, folder: str, strategy: Any) -> None:
    """Train every recipe; go on from one worker's checkpoints and leave some for one; a batch that does not halve. What came of
    it goes into ``<rank>.json``."""
    start(rank, folder)
    corpus, found = tiny_corpus(), {}
    try:
        found["curves"] = {recipe: curve(train(spec_of(recipe), corpus, strategy=strategy)) for recipe in RECIPES.names()}
        parts = train(spec_of("shampoo"), corpus, strategy=strategy, accumulation=2)
        found["accumulated"] = curve(parts)
        found["resumed"] = {recipe: resumed(recipe, f"{folder}/one", strategy=strategy) for recipe in RESUMED}
        for recipe in RESUMED:
            interrupted(spec_of(recipe), Store(f"{folder}/two/{recipe}"), 12, strategy=strategy)
        narrow = tiny_spec("sf-normuon", precision="bfloat16")
        found["narrow"] = train(narrow, corpus, strategy=strategy).loss
        found["refusal"] = ""
        try:
            train(tiny_spec(batch_sequences=7), corpus, strategy=strategy)
        except UsageError as error:
            found["refusal"] = str(error)
        Path(folder, f"{rank}.json").write_text(json.dumps(found))
    finally:
        dist.destroy_process_group()


def long_worker(rank: int, folder: str) -> None:
    """200 steps in float32 under both strategies."""
    start(rank, folder)
    try:
        found = {
            f"{strategy} {recipe}": train(long_spec(recipe), tiny_corpus(), strategy=strategy).loss
            for strategy in ("ddp", "fsdp")
            for recipe in LONG
        }
        if rank == 0:
            Path(folder, "long.json").write_text(json.dumps(found))
    finally:
        dist.destroy_process_group()


LONG = ("adamw", "muon", "shampoo", "soap")


def long_spec(recipe: str, seed: int = 0) -> RunSpec:
    steps = {"horizon.tokens": 200 * BATCH_TOKENS, "init_seed": seed, "data_seed": seed}
    return tiny_spec(recipe, **steps)
