"""One `torch.optim.Optimizer` that runs any chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hptransfer.optim.transforms import State, Step, Transform

Chain = Sequence[Transform]


@dataclass
class _Bucket:
    """Parameters of one shape, stepped together; the stacked state, of which each parameter's own state is a view."""

    params: list[Tensor]
    state: State


class ChainOptimizer(torch.optim.Optimizer):
    """W <- W - s (lr U + weight_decay W), with U from the chain of the parameter's group; weight decay is independent of LR.

    Each group is a dict of ``params``, ``kind`` (which names its chain), ``lr``, ``weight_decay``; ``schedule`` is s, set before
    each step. Matrices of one shape are stacked and stepped at once. ``state_dict`` holds tensors and plain numbers only.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], chains: dict[str, Chain]) -> None:
        self._chains = chains
        self._buckets: list[list[_Bucket]] = []
        super().__init__(groups, {"schedule": 1.0, "step": 0})

    def set_schedule(self, factor: float) -> None:
        """The factor s(t) in [0, 1] on every learning rate and weight decay."""
        for group in self.param_groups:
            group["schedule"] = factor

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step. Every parameter must have a gradient."""
        if not self._buckets:
            # Built at the first step: from fresh state, or from what ``load_state_dict`` brought.
            self._buckets = [self._of(group) for group in self.param_groups]
        for group, buckets in zip(self.param_groups, self._buckets, strict=True):
            group["step"] += 1
            lr, decay = group["schedule"] * group["lr"], group["schedule"] * group["weight_decay"]
            for bucket in buckets:
                grad = torch.stack([p.grad for p in bucket.params])  # type: ignore[misc]
                update = self._apply(self._chains[group["kind"]], bucket.state, Step(group["step"], grad))
                if decay:
                    torch._foreach_mul_(bucket.params, 1 - decay)
                torch._foreach_add_(bucket.params, update.unbind(), alpha=-lr)

    @staticmethod
    def _apply(chain: Chain, state: State, step: Step) -> Tensor:
        update = step.grad
        for transform in chain:
            prefix = f"{transform.name}."
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            update = transform.apply(update, own, step)
        return update

    def _of(self, group: dict[str, Any]) -> list[_Bucket]:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        return [self._bucket(group, params) for params in by_shape.values()]

    def _bucket(self, group: dict[str, Any], params: list[Tensor]) -> _Bucket:
        if self.state[params[0]]:
            state = {key: torch.stack([self.state[p][key] for p in params]) for key in self.state[params[0]]}
        else:
            like = torch.stack([p.detach() for p in params])
            state = {
                f"{transform.name}.{key}": value
                for transform in self._chains[group["kind"]]
                for key, value in transform.init(like).items()
            }
        for index, parameter in enumerate(params):
            self.state[parameter] = {key: value[index] for key, value in state.items()}
        return _Bucket(params, state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a ``state_dict`` of an optimizer with the same groups."""
        super().load_state_dict(state_dict)
        self._buckets.clear()

    def state_bytes(self) -> int:
        """Bytes of optimizer state held now."""
        return sum(tensor.numel() * tensor.element_size() for state in self.state.values() for tensor in state.values())
