"""The decoder of `ModelSpec`: pre-norm RMSNorm without gains, no biases, QK-norm, untied zero readout.

Init is that of arXiv 2512.05620 section 4, the same under every parametrization: embeddings std 0.1; q, k, v and the MLP's input
1/sqrt(d_in); attention output, MLP output and readout zero. Each residual branch is multiplied by ``residual_multiplier``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hptransfer.spec import ModelSpec

EMBEDDING_STD = 0.1


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


class Attention(nn.Module):
    """Causal self-attention with QK-norm; scale 1/sqrt(head_dim), the head dimension being fixed over widths."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.head_dim = spec.head_dim
        self.query = nn.Linear(spec.width, spec.width, bias=False)
        self.key = nn.Linear(spec.width, spec.width, bias=False)
        self.value = nn.Linear(spec.width, spec.width, bias=False)
        self.output = nn.Linear(spec.width, spec.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, context, width = x.shape
        heads = (batch, context, -1, self.head_dim)
        q, k = _norm(self.query(x).view(heads)), _norm(self.key(x).view(heads))
        if rotation is not None:
            q, k = _rotate(q, *rotation), _rotate(k, *rotation)
        v = self.value(x).view(heads)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        output: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, context, width))
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
        self.attention = Attention(spec)
        self.mlp = MLP(spec)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        x = torch.add(x, self.attention(_norm(x), rotation), alpha=self.residual_multiplier)
        return torch.add(x, self.mlp(_norm(x)), alpha=self.residual_multiplier)


class GPT(nn.Module):
    """Tokens (batch, context) -> logits (batch, context, vocab), or the mean loss in nats per token given targets."""

    def __init__(self, spec: ModelSpec, residual_multiplier: float = 1.0) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(spec.vocab, spec.width)
        self.position = nn.Embedding(spec.context, spec.width) if spec.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(spec, residual_multiplier) for _ in range(spec.depth))
        self.readout = nn.Linear(spec.width, spec.vocab, bias=False)
        for name, table in zip(("cos", "sin"), _rope_tables(spec), strict=True):
            self.register_buffer(name, table, persistent=False)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw every weight from ``generator``, in the order of the parameters."""
        for name, weight in self.named_parameters():
            if self.kind(name) in ("embedding", "position"):
                nn.init.normal_(weight, std=EMBEDDING_STD, generator=generator)
            elif name.endswith("output.weight") or name == "readout.weight":
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=1 / math.sqrt(weight.size(1)), generator=generator)

    @staticmethod
    def kind(name: str) -> str:
        """The kind of weight (`ModelSpec.weights`) that a parameter is."""
        module = name.removeprefix("module.").split(".")
        if module[0] != "blocks":
            return module[0]
        if module[2] == "attention":
            return "attention"
        return "mlp_out" if module[3] == "output" else "mlp_in"

    def forward(self, tokens: Tensor, targets: Tensor | None = None, reduction: str = "mean") -> Tensor:
        x = self.embedding(tokens)
        rotation = None
        if self.position is not None:
            x = x + self.position.weight[: tokens.size(1)]
        else:
            rotation = self.get_buffer("cos")[: tokens.size(1)], self.get_buffer("sin")[: tokens.size(1)]
        for block in self.blocks:
            x = block(x, rotation)
        logits: Tensor = self.readout(_norm(x))
        if targets is None:
            return logits
        # A loss in bfloat16 would have two digits.
        loss = F.cross_entropy(
            logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)), targets.flatten(), reduction=reduction
        )
        return loss.view_as(targets) if reduction == "none" else loss


def _rope_tables(spec: ModelSpec, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """cos and sin, each (context, 1, head_dim / 2) (Su et al. 2021)."""
    frequency = base ** (-torch.arange(0, spec.head_dim, 2, dtype=torch.float64) / spec.head_dim)
    angle = torch.outer(torch.arange(spec.context, dtype=torch.float64), frequency)[:, None, :]
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
