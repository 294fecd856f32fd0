"""The smallest runs that train: a Markov corpus in memory, and a `RunSpec` of width 16 and depth 1."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hptransfer.experiment.settings import DataSpec
from hptransfer.models.model import Model
from hptransfer.optimizers import get_recipe
from hptransfer.optimizers.engine import ChainOptimizer, make_optimizer
from hptransfer.trainers.ours.build import build_model, build_optimizer, chain
from hptransfer.trainers.ours.data.batches import batch
from hptransfer.trainers.ours.data.corpus import Corpus
from hptransfer.trainers.ours.data.shards import Tokens
from hptransfer.trainers.ours.spec import RunSpec

VOCAB = 32
SEQUENCES, CONTEXT = 8, 16
BATCH_TOKENS = SEQUENCES * CONTEXT
DATA = DataSpec(corpus="markov", tokenizer="bytes", sha256="1" * 64, vocab=VOCAB)
MODEL = {"width": 16, "depth": 1, "head_dim": 8, "mlp_ratio": 4.0, "context": CONTEXT, "vocab": VOCAB}


def small_spec(recipe: str, options: dict[str, Any] | None = None, *, lr: float, **changes: Any) -> RunSpec:
    """30 steps of 128 tokens at the base shape; keyword arguments are dotted changes, as in `RunSpec.at`."""
    spec = RunSpec.model_validate(
        {
            "model": MODEL,
            "base": {"width": 16, "depth": 1, "tokens": 30 * BATCH_TOKENS, "batch_tokens": BATCH_TOKENS},
            "data": DATA,
            "optimizer": {"recipe": recipe, "lr": lr, "weight_decay": 1e-3, "options": options or {}},
            "horizon": {"tokens": 30 * BATCH_TOKENS},
            "batch_sequences": SEQUENCES,
            "schedule": {
                "shape": "constant" if get_recipe(recipe).averages else "linear",
                "warmup_tokens": 3 * BATCH_TOKENS,
            },
            "evaluation": {"tokens": 1024, "points": 3},
        }
    )
    return spec.at(**changes) if changes else spec


def small_corpus() -> Corpus:
    """Tokens of a Markov chain: the next one is one of four, so that there is something to learn."""
    rng = np.random.default_rng(0)
    following = rng.integers(0, VOCAB, size=(VOCAB, 4))

    def draw(length: int) -> Tokens:
        tokens = np.zeros(length, dtype=np.uint16)
        for i, choice in enumerate(rng.integers(0, 4, size=length - 1)):
            tokens[i + 1] = following[tokens[i], choice]
        return tokens

    return Corpus(spec=DATA, train=(draw(4000), draw(2000)), val=(draw(1500),), token_bytes=np.ones(VOCAB, dtype=np.int32))


def model_and_optimizer(spec: RunSpec) -> tuple[Model, ChainOptimizer]:
    """The model at its initial weights, and its optimizer."""
    model = build_model(spec)
    return model, build_optimizer(model, spec)


def take_steps(corpus: Corpus, spec: RunSpec, model: Model, optimizer: ChainOptimizer, first: int, last: int) -> list[float]:
    """Trains on the batches of the steps from ``first`` up to ``last``; their losses."""
    losses = []
    for step in range(first, last):
        loss = model(*batch(corpus.train, seed=0, step=step, sequences=spec.batch_sequences, context=spec.model.context))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def flat_weights(model: Model) -> Tensor:
    """All parameters in one vector, a copy."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def through_a_file(saved: dict[str, Any]) -> dict[str, Any]:
    """``saved`` as ``torch.load`` gives it back with weights only."""
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def hidden_optimizer(
    spec: RunSpec, weights: list[Tensor], *, lr: float, weight_decay: float = 0.0, kind: str = "attention"
) -> ChainOptimizer:
    """The recipe of ``spec`` as it serves weights of that kind, a hidden one by default, over bare ``weights``."""
    group = next(group for group in spec.groups() if group.kind == kind)
    groups = [{"params": weights, "kind": kind, "lr": lr, "weight_decay": weight_decay}]
    return make_optimizer(spec.optimizer.resolved_options, groups, {kind: chain(spec, group)})


def gradients(shape: tuple[int, int], steps: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Random gradients whose scale differs over entries, as real ones do."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return [(torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype) for _ in range(steps)]


def require(condition: bool, message: str) -> None:
    """Raises AssertionError with ``message``, also where Python leaves assertions out."""
    if not condition:
        raise AssertionError(message)
