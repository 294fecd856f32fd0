"""A family from outside: residual ReLU layers over a fixed mix of the last few tokens' embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hptransfer.models import FAMILIES
from hptransfer.models.family import Family, FamilyConfig, Shape, Weight
from hptransfer.models.loss import Reduction, linear_cross_entropy
from hptransfer.models.model import Activation, Model


class WindowConfig(FamilyConfig):
    """``window``: tokens that a prediction sees; the k-th last counts 1/k."""

    window: int = Field(4, gt=0)


WindowShape = Shape[WindowConfig]


class WindowFamily(Family[WindowConfig]):
    name = "window"
    config = WindowConfig
    presets = {"bigram": {"window": 1}}

    def weights(self, shape: WindowShape) -> tuple[Weight, ...]:
        width = shape.width
        return (
            Weight("embedding", "embedding", shape.vocab, width, 1),
            Weight("layer", "hidden", width, width, shape.depth),
            Weight("readout", "readout", width, shape.vocab, 1),
        )

    def kind(self, parameter: str) -> str:
        return {"embedding": "embedding", "readout": "readout"}.get(parameter.split(".")[0], "layer")

    def flops_per_token(self, shape: WindowShape) -> float:
        matmuls = 2 * sum(weight.size for weight in self.weights(shape) if weight.role in ("hidden", "readout"))
        return 3.0 * (matmuls + 2 * shape.config.window * shape.width)

    def summary(self, config: WindowConfig) -> str:
        return f"window of {config.window}"

    def describe(self, shape: WindowShape) -> dict[str, Any]:
        return {
            "architecture": f"residual ReLU layers over a window of {shape.config.window} tokens",
            "init": {"embedding": "normal, std 0.1", "layer": "normal, std 1/sqrt(d_in)", "readout": "zero"},
        }

    def build(self, shape: WindowShape, residual_multiplier: float = 1.0) -> Model:
        return Window(shape, residual_multiplier)


class Layer(nn.Module):
    def __init__(self, width: int, multiplier: float) -> None:
        super().__init__()
        self.multiplier = multiplier
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.multiplier * F.relu(self.linear(x))


class Window(Model):
    def __init__(self, shape: WindowShape, residual_multiplier: float) -> None:
        super().__init__()
        self.window = shape.config.window
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape.width, residual_multiplier) for _ in range(shape.depth))
        self.readout = nn.Linear(shape.width, shape.vocab, bias=False)

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.embedding.weight, std=0.1, generator=generator)
        for layer in self.layers:
            nn.init.normal_(layer.linear.weight, std=1 / math.sqrt(layer.linear.in_features), generator=generator)
        nn.init.zeros_(self.readout.weight)

    def units(self) -> Sequence[nn.Module]:
        return tuple(self.layers)

    def taps(self) -> dict[Activation, tuple[nn.Module, Literal["input", "output"]]]:
        return {"embedding": (self.layers[0], "input"), "hidden": (self.layers[-1], "output")}

    def forward(self, tokens: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
        embedded = self.embedding(tokens)
        x = embedded
        for back in range(1, min(self.window, tokens.size(1))):
            x = x + F.pad(embedded, (0, 0, back, 0))[:, : tokens.size(1)] / (back + 1)
        for layer in self.layers:
            x = layer(x)
        x = F.rms_norm(x, (x.size(-1),))
        if targets is None:
            logits: Tensor = self.readout(x)
            return logits
        return linear_cross_entropy(x, self.readout.weight, targets, reduction)


FAMILIES.add(WindowFamily())
