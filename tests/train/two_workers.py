"""What each of two data-parallel workers does; a module of its own, because spawned processes import it."""

import json
from pathlib import Path

import torch.distributed as dist
from tiny import short_spec, tiny_corpus, tiny_spec

from hptransfer.errors import UsageError
from hptransfer.rules.recipes import RECIPES
from hptransfer.train import train


def worker(rank: int, folder: str) -> None:
    """Train every recipe and a batch that does not halve; leave what came of it in ``<rank>.json``."""
    store = dist.FileStore(f"{folder}/rendezvous", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    try:
        losses = {recipe: train(short_spec(recipe), tiny_corpus()).loss for recipe in RECIPES}
        refusal = ""
        try:
            train(tiny_spec(batch_sequences=7), tiny_corpus())
        except UsageError as error:
            refusal = str(error)
        Path(folder, f"{rank}.json").write_text(json.dumps({"losses": losses, "refusal": refusal}))
    finally:
        dist.destroy_process_group()
