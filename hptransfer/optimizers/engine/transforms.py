"""What a transform of a chain is, and those that work entry by entry or on whole norms.

Each works on a stack of same-shape matrices (n, rows, columns), one per parameter, with explicit state whose tensors have the
same leading axis. ``apply`` maps an update to an update and changes its state in place; nothing else is remembered. Rows are a
layer's outputs, d_out, and columns its inputs, d_in; an embedding is stored (V, D), so its rows are d_in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass
class Step:
    """What every transform of a chain may read at one step: its number (from 1), the raw gradient and, once there is one,
    the bias-corrected momentum. ``failures`` counts the factors that could not be refreshed at this step."""

    number: int
    grad: Tensor
    momentum: Tensor | None = None
    failures: int = 0


class Transform(Protocol):
    @property
    def name(self) -> str:
        """Prefix of its state's keys; one chain has no name twice."""
        ...

    def init(self, like: Tensor) -> State:
        """Fresh state for a stack (n, rows, columns)."""
        ...

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        """The next update, from the one that came down the chain. Neither input is changed."""
        ...

    def flops(self, rows: int, columns: int) -> float:
        """FLOPs per matrix and step, refreshes spread evenly."""
        ...


@runtime_checkable
class Fused(Protocol):
    """A transform that, alone in its chain, can step parameters by one kernel that reads every tensor once."""

    def fused(
        self, params: list[Tensor], grads: list[Tensor], states: list[State], *, number: int, lr: float, decay: float
    ) -> None:
        """p <- (1 - decay) p - lr U for every parameter, its state moved on."""
        ...


class Stateless:
    """A transform without state, as a base class."""

    def init(self, like: Tensor) -> State:
        return {}


@dataclass(frozen=True)
class Momentum:
    """Exponential moving average of the gradient. Nesterov's form mixes the gradient in once more.

    ``bias_corrected``: divided by 1 - beta^t. Muon's is not, since its norm is discarded; its ``beta`` may rise linearly from
    ``start`` over ``warmup_steps`` (nanochat, modded-nanogpt).
    """

    beta: float
    nesterov: bool = False
    bias_corrected: bool = False
    start: float = 0.0
    warmup_steps: int = 0
    name: str = "momentum"

    def init(self, like: Tensor) -> State:
        return {"m": torch.zeros_like(like)}

    def beta_at(self, number: int) -> float:
        share = min(1.0, (number - 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.start + share * (self.beta - self.start)

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        beta = self.beta_at(step.number)
        average = state["m"].lerp_(update, 1 - beta)
        if self.nesterov:
            average = torch.lerp(update, average, beta)
        step.momentum = average / (1 - self.beta**step.number) if self.bias_corrected else average
        return step.momentum

    def flops(self, rows: int, columns: int) -> float:
        return 4.0 * rows * columns


@dataclass(frozen=True)
class HeavyBall:
    """buffer <- momentum buffer + gradient, as in torch.optim.SGD (Sutskever et al. 2013)."""

    momentum: float
    nesterov: bool = False
    name: str = "momentum"

    def init(self, like: Tensor) -> State:
        return {"buffer": torch.zeros_like(like)}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        buffer = state["buffer"].mul_(self.momentum).add_(update)
        return torch.add(update, buffer, alpha=self.momentum) if self.nesterov else buffer

    def fused(
        self, params: list[Tensor], grads: list[Tensor], states: list[State], *, number: int, lr: float, decay: float
    ) -> None:
        if decay:
            torch._foreach_mul_(params, 1 - decay)
        torch._fused_sgd_(
            params,
            grads,
            [state["buffer"] for state in states] if self.momentum else [],  # torch refuses buffers without momentum
            weight_decay=0.0,
            momentum=self.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,
        )

    def flops(self, rows: int, columns: int) -> float:
        return 2.0 * rows * columns


@dataclass(frozen=True)
class Sign(Stateless):
    name: str = "sign"

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        return update.sign()

    def flops(self, rows: int, columns: int) -> float:
        return 1.0 * rows * columns


@dataclass(frozen=True)
class Adam:
    """Adam with bias correction, epsilon outside the root (Kingma and Ba 2015; Loshchilov and Hutter 2019).

    With ``beta1`` 0 there is no first moment and no state for one.
    """

    beta1: float
    beta2: float
    eps: float
    name: str = "adam"

    def init(self, like: Tensor) -> State:
        moments = ("m", "v") if self.beta1 else ("v",)
        return {key: torch.zeros_like(like) for key in moments}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        first = state["m"].lerp_(update, 1 - self.beta1) if self.beta1 else update
        state["v"].mul_(self.beta2).addcmul_(update, update, value=1 - self.beta2)
        # m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) with one temporary.
        correction = math.sqrt(1 - self.beta2**step.number)
        root = state["v"].sqrt().add_(self.eps * correction)
        return torch.div(first, root, out=root).mul_(correction / (1 - self.beta1**step.number))

    def fused(
        self, params: list[Tensor], grads: list[Tensor], states: list[State], *, number: int, lr: float, decay: float
    ) -> None:
        first = [state["m"] for state in states] if self.beta1 else [torch.zeros_like(grad) for grad in grads]
        torch._fused_adamw_(
            params,
            grads,
            first,
            [state["v"] for state in states],
            [],
            # The kernel takes one step counter per parameter and moves none of them.
            [torch.full((), float(number), device=params[0].device)] * len(params),
            lr=lr,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=decay / lr if lr else 0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def flops(self, rows: int, columns: int) -> float:
        return 12.0 * rows * columns


@dataclass(frozen=True)
class NormalizeRows:
    """Each row over the root of a moving average of its mean square (NorMuon, arXiv 2510.05491), then the whole matrix to RMS 1,
    or with ``preserve_norm`` to the Frobenius norm that it had."""

    beta2: float
    eps: float
    preserve_norm: bool = False
    name: str = "rows"

    def init(self, like: Tensor) -> State:
        return {"v": torch.zeros_like(like[..., :1])}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        norm = torch.linalg.matrix_norm(update, keepdim=True)
        mean_square = update.square().mean(-1, keepdim=True)
        second = state["v"].lerp_(mean_square, 1 - self.beta2)
        result = update / second.sqrt().add_(self.eps)
        wanted = norm if self.preserve_norm else math.sqrt(update[0].numel())
        scale: Tensor = wanted / torch.linalg.matrix_norm(result, keepdim=True).clamp_(min=TINY)
        return result.mul_(scale)

    def flops(self, rows: int, columns: int) -> float:
        return 8.0 * rows * columns


# Below every norm that is not zero: keeps a zero update zero.
TINY = 1e-30


@dataclass(frozen=True)
class NormalizeSpectrally:
    """The update with spectral norm sqrt(d_out/d_in), in absolute dimensions, by online power iteration.

    arXiv 2512.05620, appendix F: five iterations a step over the first 50 steps, then one; a vector that an all but zero update
    would take away is kept.
    """

    name: str = "spectral"

    def init(self, like: Tensor) -> State:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(like.size(-1), 1, generator=generator, dtype=torch.float64)
        return {"v": (start / start.norm()).to(like).expand(len(like), -1, -1).clone()}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        v = state["v"]
        for _ in range(5 if step.number <= 50 else 1):
            image = update @ v
            norm = torch.linalg.vector_norm(image, dim=-2, keepdim=True)
            back = update.mT @ (image / (norm + 1e-10))
            following = back / (torch.linalg.vector_norm(back, dim=-2, keepdim=True) + 1e-10)
            v.copy_(torch.where(torch.linalg.vector_norm(following, dim=-2, keepdim=True) > 0.5, following, v))
        rows, columns = update.shape[-2:]
        scale: Tensor = math.sqrt(rows / columns) / (norm + 1e-10)
        return update * scale

    def flops(self, rows: int, columns: int) -> float:
        return 5.0 * rows * columns


@dataclass(frozen=True)
class NormalizeRms(Stateless):
    """The update with RMS 1 over the whole tensor: what an embedding gets where matrices are normalised spectrally."""

    name: str = "rms"

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        size = update[0].numel()
        norm = torch.linalg.vector_norm(update, dim=tuple(range(1, update.dim())), keepdim=True)
        scale: Tensor = math.sqrt(size) / norm.clamp(min=TINY)
        return update * scale

    def flops(self, rows: int, columns: int) -> float:
        return 3.0 * rows * columns


def is_elementwise(chain: Sequence[Transform]) -> bool:
    """Whether a chain serves every entry by itself, so that it can step any part of a matrix."""
    return all(isinstance(transform, Momentum | HeavyBall | Sign | Adam) for transform in chain)


def full_precision(dtype: torch.dtype) -> torch.dtype:
    """The precision of states and updates: that of the parameter, float32 where it has less."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32
