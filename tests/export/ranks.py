"""What each of two ranks does with an exported module; a module of its own, because spawned processes import it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

VOCAB, WIDTH, STEPS = 24, 32, 20


def module_of(folder: Path) -> Any:
    """The exported module in ``folder``."""
    spec = importlib.util.spec_from_file_location(f"exported_{folder.name}", folder / "hptransfer_optimizer.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Somebodys(nn.Module):
    """A model that is not ours: its own names, biases, gains, rows that do not divide evenly among ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCAB + 1, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, VOCAB + 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits


def somebodys() -> Somebodys:
    torch.manual_seed(0)
    return Somebodys().double()


def batch(step: int) -> tuple[Tensor, Tensor]:
    """8 sequences of 6 tokens and what follows; the same on every rank."""
    tokens = torch.randint(VOCAB, (8, 7), generator=torch.Generator().manual_seed(step))
    return tokens[:, :-1], tokens[:, 1:]


def trained(exported: Any, model: nn.Module, rank: int = 0, ranks: int = 1) -> list[Tensor]:
    """All parameters, whole, after 20 steps."""
    optimizer = exported.build_optimizer(model)
    scheduler = exported.build_scheduler(optimizer)
    for step in range(STEPS):
        inputs, targets = (part.chunk(ranks)[rank] for part in batch(step))
        F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
        exported.clip_gradients(model)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    held = [parameter.detach() for parameter in model.parameters()]
    return [one.full_tensor() if isinstance(one, DTensor) else one for one in held]


def worker(rank: int, folder: str, names: list[str], strategy: str) -> None:
    """Train by every exported module; rank 0 keeps what comes of it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{strategy}", rank=rank, world_size=2)
    for name in names:
        model: nn.Module = somebodys()
        if strategy == "fsdp":
            mesh = init_device_mesh("cpu", (2,))
            for layer in model.layers:  # type: ignore[union-attr]
                fully_shard(layer, mesh=mesh)  # type: ignore[arg-type]
            fully_shard(model, mesh=mesh)
        else:
            model = nn.parallel.DistributedDataParallel(model)
        weights = trained(module_of(Path(folder) / name), model, rank, 2)
        if rank == 0:
            torch.save(weights, f"{folder}/{name}-{strategy}.pt")
    dist.destroy_process_group()
