"""The stack of LSTM layers. Init, the same under every parametrization: embedding std 1, gates 1/sqrt(d_in), readout zero, bias
of the forget gate one (Gers et al. 2000), other biases zero.

The embedding's 1 is ten times a decoder's: no norm enlarges what enters the first layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hptransfer.models.loss import Readout, Reduction
from hptransfer.models.lstm.family import GATES, LSTM_FAMILY, LstmShape
from hptransfer.models.model import Activation, Model


class Layer(nn.Module):
    """h, c of a token from those of the token before: i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), c = f c + i g,
    h = o tanh(c); from zeros. x and h: (batch, context, width).

    Every gate has matrices of its own, (width, width): to an optimizer of whole matrices one of (4 width, width) would be another
    matrix. Torch's kernel takes the four together.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # Pairs: a dict would be sorted by name.
        self.input = nn.ParameterDict([(gate, nn.Parameter(torch.empty(width, width))) for gate in GATES])
        self.recurrent = nn.ParameterDict([(gate, nn.Parameter(torch.empty(width, width))) for gate in GATES])
        self.bias = nn.ParameterDict([(gate, nn.Parameter(torch.empty(width))) for gate in GATES])

    def forward(self, x: Tensor) -> Tensor:
        weights = [torch.cat([of[gate] for gate in GATES]) for of in (self.input, self.recurrent, self.bias)]
        # The kernel adds two biases.
        weights.append(torch.zeros_like(weights[-1]))
        start = x.new_zeros(1, x.size(0), x.size(2))
        output, _, _ = torch.lstm(x, (start, start), weights, True, 1, 0.0, self.training, False, True)
        return output


class LSTM(Model):
    """A stack of layers; what it takes and gives is said by `Model`."""

    def __init__(self, shape: LstmShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape.width) for _ in range(shape.depth))
        self.readout = Readout(shape.width, shape.vocab, bias=False)

    def initialize(self, generator: torch.Generator) -> None:
        for name, weight in self.named_parameters():
            kind = LSTM_FAMILY.kind(name)
            if kind == "embedding":
                nn.init.normal_(weight, generator=generator)
            elif kind == "vector":
                nn.init.constant_(weight, float(name.endswith("forget")))
            elif kind == "readout":
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=1 / math.sqrt(weight.size(1)), generator=generator)

    def units(self) -> Sequence[nn.Module]:
        return tuple(self.layers)

    def taps(self) -> dict[Activation, tuple[nn.Module, Literal["input", "output"]]]:
        """The embedding, and the last layer's states."""
        return {"embedding": (self.layers[0], "input"), "hidden": (self.layers[-1], "output")}

    def forward(self, tokens: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.readout(x, targets, reduction)
        return result
