"""One `torch.optim.Optimizer` that runs any chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hptransfer.optim.schedule_free import ScheduleFreeAveraging
from hptransfer.optim.transforms import Fused, State, Step, Transform

Chain = Sequence[Transform]

# Kept beside the states of the chain: the schedule-free iterate z, and the weights themselves where parameters are narrower than
# float32, whose rounding would swallow weight decay and small steps.
FAST = "schedule_free.z"
MASTER = "master"


@dataclass
class _Bucket:
    """Parameters of one shape, stepped together: the weights that the steps move, the parameters themselves or their wider
    master copies; the stacked state of each transform, of which each parameter's own state is a view; z where iterates are
    averaged."""

    params: list[Tensor]
    weights: list[Tensor]
    states: list[State]
    fast: Tensor | None

    def __post_init__(self) -> None:
        """``own``: the first transform's state, parameter by parameter, for fused kernels, which take lists."""
        self.own = [{key: value[index] for key, value in self.states[0].items()} for index in range(len(self.params))]


class ChainOptimizer(torch.optim.Optimizer):
    """W <- W - s (lr U + q weight_decay W), with U from the chain of the parameter's group; weight decay is independent of LR.

    Each group is a dict of ``params``, ``kind`` (which names its chain), ``lr``, ``weight_decay``; s and q are set before each
    step. Matrices of one shape are stacked and stepped at once; parameters narrower than float32 have a float32 master copy.
    ``cautious``: no decay where the update moves an entry away from zero. ``averaging``: the parameters are schedule-free's y,
    see `averaged`.
    ``state_dict`` holds tensors and plain numbers only.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        chains: dict[str, Chain],
        *,
        cautious: bool = False,
        averaging: ScheduleFreeAveraging | None = None,
    ) -> None:
        self._chains, self._cautious, self._averaging = chains, cautious, averaging
        self._buckets: list[list[_Bucket]] = []
        super().__init__(
            groups, {"schedule": 1.0, "decay_schedule": 1.0, "step": 0, "failures": 0, "largest": 0.0, "weight_sum": 0.0}
        )

    def set_schedule(self, factor: float, decay_factor: float = 1.0) -> None:
        """The factor s(t) in [0, 1] on every learning rate and weight decay, and q(t) on weight decay besides."""
        for group in self.param_groups:
            group["schedule"], group["decay_schedule"] = factor, decay_factor

    @property
    def failures(self) -> int:
        """How often a factor could not be refreshed and the last good one was kept, counted per matrix or block."""
        return sum(group["failures"] for group in self.param_groups)

    def allocate(self) -> None:
        """Make the state, unless it is there: fresh, or from what ``load_state_dict`` brought. The first step does it."""
        if not self._buckets:
            self._buckets = [self._of(group) for group in self.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step. Every parameter must have a gradient."""
        self.allocate()
        for group, buckets in zip(self.param_groups, self._buckets, strict=True):
            group["step"] += 1
            lr = group["schedule"] * group["lr"]
            decay = group["schedule"] * group["decay_schedule"] * group["weight_decay"]
            chain, share = self._chains[group["kind"]], self._share(group)
            if self._is_fused(chain, group):
                # Averaging has passes of its own, which a bucket's size keeps in the cache.
                for together in [[bucket] for bucket in buckets] if self._averaging else [buckets]:
                    self._step_fused(chain[0], group, together, lr, decay, share)
                continue
            for bucket in buckets:
                step = Step(group["step"], _stack([p.grad for p in bucket.params]))  # type: ignore[misc]
                update = step.grad
                for transform, state in zip(chain, bucket.states, strict=True):
                    update = transform.apply(update, state, step)
                group["failures"] += step.failures
                self._step_bucket(bucket, update, lr, decay, share)

    def _step_bucket(self, bucket: _Bucket, update: Tensor, lr: float, decay: float, share: float) -> None:
        """Take the step, with decay and averaging."""
        if decay and self._cautious:
            decaying = torch.stack(bucket.weights) if bucket.fast is None or self._decays_y else bucket.fast
            update = update * lr + decaying.mul(decaying * update >= 0).mul_(decay)
            lr, decay = 1.0, 0.0

        def take(weights: list[Tensor], decay: float) -> None:
            if decay:
                torch._foreach_mul_(weights, 1 - decay)
            torch._foreach_add_(weights, update.unbind(), alpha=-lr)

        self._move([bucket], take, decay, share)
        if bucket.weights is not bucket.params:
            torch._foreach_copy_(bucket.params, bucket.weights)

    def _move(self, buckets: list[_Bucket], take: Callable[[list[Tensor], float], None], decay: float, share: float) -> None:
        """``take(weights, decay)`` moves the weights, or z of schedule-free, and y with it."""
        weights = [weight for bucket in buckets for weight in bucket.weights]
        if self._averaging is None:
            take(weights, decay)
            return
        fast = [z for bucket in buckets for z in bucket.fast.unbind()]  # type: ignore[union-attr]
        self._averaging.step(weights, fast, take, decay=decay, share=share)

    @property
    def _decays_y(self) -> bool:
        return self._averaging is not None and self._averaging.decay_at == "y"

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _share(self, group: dict[str, Any]) -> float:
        """The share of this step's z in the schedule-free average x."""
        group["largest"] = max(group["largest"], group["schedule"])
        weight = group["largest"] ** 2
        group["weight_sum"] += weight
        return weight / group["weight_sum"] if group["weight_sum"] else 0.0

    def _is_fused(self, chain: Chain, group: dict[str, Any]) -> bool:
        """Whether one kernel can do the whole step of a group."""
        plain = not self._cautious and not torch.compiler.is_compiling()
        return plain and len(chain) == 1 and isinstance(chain[0], Fused) and _is_full_precision(group["params"][0])

    def _step_fused(
        self, transform: Any, group: dict[str, Any], buckets: list[_Bucket], lr: float, decay: float, share: float
    ) -> None:
        grads = [p.grad for bucket in buckets for p in bucket.params]
        states = [state for bucket in buckets for state in bucket.own]

        def take(weights: list[Tensor], decay: float) -> None:
            transform.fused(weights, grads, states, number=group["step"], lr=lr, decay=decay)

        self._move(buckets, take, decay, share)

    def _of(self, group: dict[str, Any]) -> list[_Bucket]:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        return [
            self._bucket(self._chains[group["kind"]], params[first : first + count])
            for params in by_shape.values()
            for count in [_bucket_size(params[0])]
            for first in range(0, len(params), count)
        ]

    def _bucket(self, chain: Chain, params: list[Tensor]) -> _Bucket:
        if self.state[params[0]]:
            flat = {key: torch.stack([self.state[p][key] for p in params]) for key in self.state[params[0]]}
        else:
            like = _stack([p.detach() for p in params])
            flat = {f"{transform.name}.{key}": value for transform in chain for key, value in transform.init(like).items()}
            if self._averaging is not None:
                flat[FAST] = like.clone()
            if not _is_full_precision(params[0]):
                flat[MASTER] = like.clone()
        for index, parameter in enumerate(params):
            self.state[parameter] = {key: value[index] for key, value in flat.items()}
        states = [
            {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
            for prefix in (f"{transform.name}." for transform in chain)
        ]
        return _Bucket(params, list(flat[MASTER].unbind()) if MASTER in flat else params, states, flat.get(FAST))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The parameters as they are to be evaluated: schedule-free's x, else unchanged. Bitwise back afterwards."""
        if self._averaging is None:
            yield
            return
        self.allocate()
        buckets = [bucket for buckets in self._buckets for bucket in buckets]
        params = [p for bucket in buckets for p in bucket.params]
        with torch.no_grad():
            kept = [p.clone() for p in params]
            weights = [weight for bucket in buckets for weight in bucket.weights]
            fast = [z for bucket in buckets for z in bucket.fast.unbind()]  # type: ignore[union-attr]
            torch._foreach_copy_(params, self._averaging.average(weights, fast))
            try:
                yield
            finally:
                torch._foreach_copy_(params, kept)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a ``state_dict`` of an optimizer with the same groups."""
        super().load_state_dict(state_dict)
        # torch casts state to its parameter's dtype; ours is wider where a parameter has less than float32.
        params = [p for group in self.param_groups for p in group["params"]]
        for index, saved in state_dict["state"].items():
            self.state[params[index]] = {key: value.to(params[index].device) for key, value in saved.items()}
        self._buckets.clear()

    def state_bytes(self) -> int:
        """Bytes of optimizer state held now."""
        return sum(tensor.numel() * tensor.element_size() for state in self.state.values() for tensor in state.values())


def _is_full_precision(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float32, torch.float64)


# On a CPU a stack beyond the cache is slower than its matrices one by one, each of whose temporaries stays there.
CPU_BUCKET = 2**18


def _bucket_size(like: Tensor) -> int:
    """How many parameters like this one are stepped as one stack."""
    return max(1, CPU_BUCKET // like.numel()) if like.device.type == "cpu" else 2**31


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor (n, ...), in float32 where the tensors have less; of a single tensor a view."""
    stacked = torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0].unsqueeze(0)
    return stacked if _is_full_precision(stacked) else stacked.float()
