"""The decoder: pre-norm RMSNorm, no biases, untied zero readout.

Init is that of arXiv 2512.05620 section 4, the same under every parametrization: embeddings std 0.1; q, k, v and the MLP's input
1/sqrt(d_in); attention output, MLP output and readout zero; gains one. Each residual branch is multiplied by
``residual_multiplier``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hptransfer.models.gpt.family import GPT_FAMILY, GptShape
from hptransfer.models.gpt.functions import causal_attention, rms_norm, rotate, rotation
from hptransfer.models.loss import Readout, Reduction
from hptransfer.models.model import Activation, Model

EMBEDDING_STD = 0.1


class RMSNorm(nn.Module):
    def __init__(self, shape: GptShape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width)) if shape.config.norm_gains else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight)


class Attention(nn.Module):
    """Causal self-attention; scale 1/sqrt(head_dim), the head dimension being fixed over widths."""

    def __init__(self, shape: GptShape) -> None:
        super().__init__()
        self.head_dim = shape.config.head_dim
        self.qk_norm = shape.config.qk_norm
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, context, width = x.shape
        heads = (batch, context, -1, self.head_dim)
        q, k, v = self.query(x).view(heads), self.key(x).view(heads), self.value(x).view(heads)
        if self.qk_norm:
            q, k = rms_norm(q), rms_norm(k)
        if tables is not None:
            q, k = rotate(q, *tables), rotate(k, *tables)
        output: Tensor = self.output(causal_attention(q, k, v).reshape(batch, context, width))
        return output


class MLP(nn.Module):
    def __init__(self, shape: GptShape) -> None:
        super().__init__()
        hidden = shape.config.hidden_width(shape.width)
        self.activation = shape.config.activation
        self.input = nn.Linear(shape.width, hidden, bias=False)
        self.gate = nn.Linear(shape.width, hidden, bias=False) if shape.config.activation == "swiglu" else None
        self.output = nn.Linear(hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.input(x)
        if self.gate is not None:
            hidden = hidden * F.silu(self.gate(x))
        elif self.activation == "relu2":
            hidden = F.relu(hidden).square()
        else:
            hidden = F.gelu(hidden)
        output: Tensor = self.output(hidden)
        return output


class Block(nn.Module):
    def __init__(self, shape: GptShape, residual_multiplier: float) -> None:
        super().__init__()
        self.residual_multiplier = residual_multiplier
        self.attention_norm = RMSNorm(shape)
        self.attention = Attention(shape)
        self.mlp_norm = RMSNorm(shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None) -> Tensor:
        x = torch.add(x, self.attention(self.attention_norm(x), tables), alpha=self.residual_multiplier)
        return torch.add(x, self.mlp(self.mlp_norm(x)), alpha=self.residual_multiplier)


class GPT(Model):
    """A decoder; what it takes and gives is said by `Model`."""

    def __init__(self, shape: GptShape, residual_multiplier: float = 1.0) -> None:
        super().__init__()
        width, config = shape.width, shape.config
        self.embedding = nn.Embedding(shape.vocab, width)
        self.position = nn.Embedding(config.context, width) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(shape, residual_multiplier) for _ in range(shape.depth))
        self.norm = RMSNorm(shape)
        self.readout = Readout(width, shape.vocab, bias=False)
        for name, table in zip(("cos", "sin"), rotation(config.context, config.head_dim), strict=True):
            self.register_buffer(name, table, persistent=False)

    def initialize(self, generator: torch.Generator) -> None:
        for name, weight in self.named_parameters():
            kind = GPT_FAMILY.kind(name)
            if kind == "vector":
                nn.init.ones_(weight)
            elif kind in ("embedding", "position"):
                nn.init.normal_(weight, std=EMBEDDING_STD, generator=generator)
            elif name.endswith("output.weight") or name == "readout.weight":
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=1 / math.sqrt(weight.size(1)), generator=generator)

    def units(self) -> Sequence[nn.Module]:
        return tuple(self.blocks)

    def taps(self) -> dict[Activation, tuple[nn.Module, Literal["input", "output"]]]:
        """The embedding's output with its positions, and the residual stream before the readout's norm."""
        return {"embedding": (self.blocks[0], "input"), "hidden": (self.blocks[-1], "output")}

    def forward(self, tokens: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
        x = self.embedding(tokens)
        tables = None
        if self.position is not None:
            x = x + self.position.weight[: tokens.size(1)]
        else:
            tables = self.get_buffer("cos")[: tokens.size(1)], self.get_buffer("sin")[: tokens.size(1)]
        for block in self.blocks:
            x = block(x, tables)
        result: Tensor = self.readout(self.norm(x), targets, reduction)
        return result
