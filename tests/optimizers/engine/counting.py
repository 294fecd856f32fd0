"""What each of two ranks does: a few steps, counting the work of the matrix transforms; spawned processes import it."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny import BATCH_TOKENS, tiny_corpus, tiny_spec

from hptransfer.optimizers.engine.orthogonal import Orthogonalize
from hptransfer.optimizers.engine.shampoo import Shampoo
from hptransfer.optimizers.engine.soap import Soap
from hptransfer.trainers.ours.loop import train

MATRIX = {"muon": Orthogonalize, "shampoo": Shampoo, "soap": Soap}


def work(recipe: str, **how: Any) -> float:
    """FLOPs of the recipe's matrix transform in three steps of three layers here."""
    transform, total = MATRIX[recipe], 0.0
    plain = transform.apply

    def counting(self, update, state, step):
        nonlocal total
        total += len(update) * self.flops(*update.shape[-2:])
        return plain(self, update, state, step)

    transform.apply = counting
    try:
        shape = {"model.depth": 3, "base.depth": 3, "horizon.tokens": 3 * BATCH_TOKENS, "schedule.warmup_tokens": 0}
        train(tiny_spec(recipe, **shape, **{"evaluation.points": 1}), tiny_corpus(), **how)
    finally:
        transform.apply = plain
    return total


def worker(rank: int, folder: str, strategy: str) -> None:
    torch.set_num_threads(1)
    found = {"one": {recipe: work(recipe) for recipe in MATRIX}}
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/rendezvous", 2), rank=rank, world_size=2)
    try:
        found["two"] = {recipe: work(recipe, strategy=strategy) for recipe in MATRIX}
    finally:
        dist.destroy_process_group()
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
