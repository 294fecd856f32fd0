"""AdamW and Muon over any model's parameters, by torch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from hptransfer.modules.roles import Assigned, Numbers


class Muon(torch.optim.Optimizer):
    """W <- W - lr U - lr weight_decay W: U is a momentum's polar factor where a group has ``orthogonalize``, else that of Adam.

    The polar factor is that of Jordan et al. 2024, on M / (|M|_F + eps): momentum is an average, and ``lr`` is not scaled by the
    shape. A matrix that is sharded is gathered, and every rank computes its update. ``maps``: (a, b, c) of each iteration of
    X <- a X + (b A + c A^2) X, A = X X^T. ``momentum_warmup_steps``: from ``momentum_start`` linearly.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        maps: Sequence[Sequence[float]],
        momentum: float,
        nesterov: bool,
        momentum_start: float,
        momentum_warmup_steps: int,
        bfloat16: bool,
        betas: tuple[float, float],
    ) -> None:
        self._maps, self._nesterov, self._bfloat16, self._betas = maps, nesterov, bfloat16, betas
        self._momentum, self._start, self._warmup = momentum, momentum_start, momentum_warmup_steps
        super().__init__(groups, {"step": 0})
        if any(p.dtype.itemsize < 4 for group in self.param_groups for p in group["params"]):
            raise ValueError("parameters narrower than float32 lose small steps: keep them in float32, under autocast")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the loss where a ``closure`` gives it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["step"] += 1
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                direction = self._polar if group["orthogonalize"] else self._adam
                update = direction(parameter.grad, self.state[parameter], group["step"], group["eps"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
        return loss

    def _polar(self, grad: Tensor, state: dict[str, Tensor], step: int, eps: float) -> Tensor:
        share = min(1.0, (step - 1) / self._warmup) if self._warmup else 1.0
        beta = self._start + share * (self._momentum - self._start)
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(grad)
        average = state["momentum"].lerp_(grad, 1 - beta)
        average = torch.lerp(grad, average, beta) if self._nesterov else average
        if isinstance(average, DTensor):
            whole = self._orthogonalized(average.full_tensor(), eps)
            return distribute_tensor(whole, average.device_mesh, average.placements)
        return self._orthogonalized(average, eps)

    def _orthogonalized(self, x: Tensor, eps: float) -> Tensor:
        given, tall = x.dtype, x.size(0) > x.size(1)
        x = x / (x.norm() + eps)
        x = (x.mT if tall else x).to(torch.bfloat16 if self._bfloat16 else given)
        for a, b, c in self._maps:
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return (x.mT if tall else x).to(given)

    def _adam(self, grad: Tensor, state: dict[str, Tensor], step: int, eps: float) -> Tensor:
        beta1, beta2 = self._betas
        if "first" not in state:
            state["first"], state["second"] = torch.zeros_like(grad), torch.zeros_like(grad)
        first = state["first"].lerp_(grad, 1 - beta1)
        second = state["second"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = (second / (1 - beta2**step)).sqrt().add_(eps)
        return first / (1 - beta1**step) / root


def plain_optimizer(
    parameters: Iterable[tuple[Assigned, Numbers]],
    betas: tuple[float, float],
    muon: dict[str, Any] | None = None,
    orthogonalize: Sequence[str] = (),
) -> torch.optim.Optimizer:
    """torch's AdamW, or with ``muon`` (the arguments of `Muon`) that for the roles in ``orthogonalize``.

    There is a group for each role and its numbers. A group's weight decay is coupled, as torch's is: the independent one over
    the learning rate.
    """
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for one, numbers in parameters:
        (eps,) = numbers.epsilons.values()
        group = groups.setdefault(
            (one.role, numbers.lr, numbers.weight_decay, eps),
            {
                "params": [],
                "param_names": [],
                "role": one.role,
                "lr": numbers.lr,
                "weight_decay": numbers.weight_decay / numbers.lr,
                "eps": eps,
                **({} if muon is None else {"orthogonalize": one.role in orthogonalize}),
            },
        )
        group["params"].append(one.parameter)
        group["param_names"].append(one.names[0])
    return torch.optim.AdamW(groups.values(), betas=betas) if muon is None else Muon(groups.values(), betas=betas, **muon)
