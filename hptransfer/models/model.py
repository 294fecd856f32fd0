"""What the training loop asks of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hptransfer.models.loss import Reduction

Activation = Literal["embedding", "hidden", "readout"]


class Model(nn.Module, ABC):
    """Tokens (batch, context) -> logits (batch, context, vocab), or given targets (batch, context) the cross-entropy in nats.

    The loss is float32 or wider: the mean or sum over targets, those of -100 left out, or with "none" one number per target.
    """

    @abstractmethod
    def forward(self, tokens: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
        """See the class."""

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Draw every weight from ``generator``, in the order of the parameters."""

    @abstractmethod
    def units(self) -> Sequence[nn.Module]:
        """Parts that FSDP2 shards one by one, in the order in which they run."""

    @abstractmethod
    def taps(self) -> dict[Activation, tuple[nn.Module, Literal["input", "output"]]]:
        """Where the coordinate check listens for ``embedding`` and ``hidden``: a module's first input, or its output."""

    @torch.no_grad()
    def activations(self, tokens: Tensor) -> dict[Activation, Tensor]:
        """What the `taps` give for these tokens, and the logits as ``readout``; float32."""
        seen: dict[Activation, Tensor] = {}
        hooks = [self._hook(seen, name, module, end) for name, (module, end) in self.taps().items()]
        try:
            seen["readout"] = self(tokens).float()
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    @staticmethod
    def _hook(seen: dict[Activation, Tensor], name: Activation, module: nn.Module, end: str) -> torch.utils.hooks.RemovableHandle:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (inputs[0] if end == "input" else output).float()

        return module.register_forward_hook(keep)
