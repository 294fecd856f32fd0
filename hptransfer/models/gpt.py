"""The decoder of `ModelSpec`: pre-norm RMSNorm, no biases, untied zero readout.

Init is that of arXiv 2512.05620 section 4, the same under every parametrization: embeddings std 0.1; q, k, v and the MLP's input
1/sqrt(d_in); attention output, MLP output and readout zero; gains one. Each residual branch is multiplied by
``residual_multiplier``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hptransfer.models.functions import causal_attention, rms_norm, rotate, rotation
from hptransfer.models.loss import Reduction, linear_cross_entropy
from hptransfer.trainers.ours.spec import ModelSpec

EMBEDDING_STD = 0.1


class RMSNorm(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(spec.width)) if spec.norm_gains else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight)


class Attention(nn.Module):
    """Causal self-attention; scale 1/sqrt(head_dim), the head dimension being fixed over widths."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.head_dim = spec.head_dim
        self.qk_norm = spec.qk_norm
        self.query = nn.Linear(spec.width, spec.width, bias=False)
        self.key = nn.Linear(spec.width, spec.width, bias=False)
        self.value = nn.Linear(spec.width, spec.width, bias=False)
        self.output = nn.Linear(spec.width, spec.width, bias=False)

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
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.activation = spec.activation
        self.input = nn.Linear(spec.width, spec.hidden_width, bias=False)
        self.gate = nn.Linear(spec.width, spec.hidden_width, bias=False) if spec.activation == "swiglu" else None
        self.output = nn.Linear(spec.hidden_width, spec.width, bias=False)

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
    def __init__(self, spec: ModelSpec, residual_multiplier: float) -> None:
        super().__init__()
        self.residual_multiplier = residual_multiplier
        self.attention_norm = RMSNorm(spec)
        self.attention = Attention(spec)
        self.mlp_norm = RMSNorm(spec)
        self.mlp = MLP(spec)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None) -> Tensor:
        x = torch.add(x, self.attention(self.attention_norm(x), tables), alpha=self.residual_multiplier)
        return torch.add(x, self.mlp(self.mlp_norm(x)), alpha=self.residual_multiplier)


class Readout(nn.Linear):
    """Logits, or with targets their cross-entropy."""

    def forward(self, x: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
        return super().forward(x) if targets is None else linear_cross_entropy(x, self.weight, targets, reduction)


class GPT(nn.Module):
    """Tokens (batch, context) -> logits (batch, context, vocab), or given targets (batch, context) the cross-entropy in nats.

    The loss is float32 or wider: the mean or sum over targets, those of -100 left out, or with "none" one number per target.
    """

    def __init__(self, spec: ModelSpec, residual_multiplier: float = 1.0) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(spec.vocab, spec.width)
        self.position = nn.Embedding(spec.context, spec.width) if spec.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(spec, residual_multiplier) for _ in range(spec.depth))
        self.norm = RMSNorm(spec)
        self.readout = Readout(spec.width, spec.vocab, bias=False)
        for name, table in zip(("cos", "sin"), rotation(spec.context, spec.head_dim), strict=True):
            self.register_buffer(name, table, persistent=False)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw every weight from ``generator``, in the order of the parameters."""
        for name, weight in self.named_parameters():
            if self.kind(name) == "vector":
                nn.init.ones_(weight)
            elif self.kind(name) in ("embedding", "position"):
                nn.init.normal_(weight, std=EMBEDDING_STD, generator=generator)
            elif name.endswith("output.weight") or name == "readout.weight":
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=1 / math.sqrt(weight.size(1)), generator=generator)

    @staticmethod
    def kind(name: str) -> str:
        """The kind of weight (`ModelSpec.weights`) that a parameter is."""
        if name.endswith("norm.weight"):
            return "vector"
        module = name.removeprefix("module.").split(".")
        if module[0] != "blocks":
            return module[0]
        if module[2] == "attention":
            return "attention"
        return "mlp_out" if module[3] == "output" else "mlp_in"

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
