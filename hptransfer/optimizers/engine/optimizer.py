"""One `torch.optim.Optimizer` that runs any chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from hptransfer.base.errors import UsageError
from hptransfer.optimizers.engine.distributed import Sharing, held_rows, local
from hptransfer.optimizers.engine.hyperball import RADIUS, keeps_norm, turn
from hptransfer.optimizers.engine.schedule_free import ScheduleFreeAveraging
from hptransfer.optimizers.engine.transforms import Fused, State, Step, Transform, full_precision

Chain = Sequence[Transform]

# Kept beside the states of the chain: the schedule-free iterate z, and the weights themselves where parameters are narrower than
# float32, whose rounding would swallow weight decay and small steps.
FAST = "schedule_free.z"
MASTER = "master"
BESIDE = {FAST, MASTER, RADIUS}


@dataclass
class _Stack:
    """Parameters of one shape whose updates are computed together: the stacked state of each transform, of which each
    parameter's own state is a view."""

    params: list[Tensor]
    states: list[State]

    def __post_init__(self) -> None:
        """``own``: the first transform's state, parameter by parameter, for fused kernels, which take lists."""
        self.own = [{key: value[index] for key, value in self.states[0].items()} for index in range(len(self.params))]


class _Pace(NamedTuple):
    """What a group's step is to be: the final LR and decay, and the share of its z in the schedule-free average x."""

    lr: float
    decay: float
    share: float


class ChainOptimizer(torch.optim.Optimizer):
    """W <- W - s (lr U + q weight_decay W), with U from the chain of the parameter's group; weight decay is independent of LR.

    Each group is a dict of ``params``, ``kind`` (which names its chain), ``lr``, ``weight_decay``; s and q are set before each
    step, or s by any of torch's schedulers: these move ``lr``, and s is its ratio to what it was at first. Matrices of one shape
    are stacked and stepped at once; parameters narrower than float32 have a float32 master copy. ``cautious``: no decay where the
    update moves an entry away from zero. ``averaging``: the parameters are schedule-free's y, see `averaged`. ``sharing``:
    data-parallel ranks compute the updates of whole matrices for one another. A matrix whose chain ends in `Hyperball` keeps the
    norm that it has at the first step, which may not be 0, and does not decay. ``state_dict`` holds tensors and plain numbers
    only; over several ranks `full_state_dict` is the one to keep.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        chains: dict[str, Chain],
        *,
        cautious: bool = False,
        averaging: ScheduleFreeAveraging | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._chains, self._cautious, self._averaging, self._sharing = chains, cautious, averaging, sharing
        self._stacks: list[list[_Stack]] = []
        self._weights: dict[Tensor, Tensor] = {}  # what the steps move: the parameter's rows here, or their wider master copy
        groups = [{"peak_lr": group["lr"], **group} for group in groups]
        super().__init__(
            groups, {"schedule": 1.0, "decay_schedule": 1.0, "step": 0, "failures": 0, "largest": 0.0, "weight_sum": 0.0}
        )

    def set_schedule(self, factor: float, decay_factor: float = 1.0) -> None:
        """The factor s(t) in [0, 1] on every learning rate and weight decay, and q(t) on weight decay besides."""
        for group in self.param_groups:
            group["schedule"], group["decay_schedule"] = factor, decay_factor

    @property
    def failures(self) -> int:
        """How often a factor could not be refreshed here and the last good one was kept, counted per matrix or block."""
        return sum(group["failures"] for group in self.param_groups)

    def allocate(self) -> None:
        """Make the state, unless it is there: fresh, or from what ``load_state_dict`` brought. The first step does it."""
        if not self._stacks:
            self._stacks = [self._of(group) for group in self.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the loss where a ``closure`` gives it. Every parameter must have a gradient."""
        loss = None if closure is None else _evaluated(closure)
        self.allocate()
        whole = self._sharing.gradients() if self._sharing else {}
        computed: dict[Tensor, Tensor] = {}
        paces = [self._pace(group) for group in self.param_groups]
        for group, stacks, pace in zip(self.param_groups, self._stacks, paces, strict=True):
            chain = self._chains[group["kind"]]
            if self._is_fused(chain, group):
                # Averaging has passes of its own, which a stack's size keeps in the cache.
                for together in [[stack] for stack in stacks] if self._averaging else [stacks]:
                    self._step_fused(chain[0], group["step"], together, pace)
                continue
            for stack in stacks:
                grads = [whole[p] if p in whole else local(p.grad) for p in stack.params]  # type: ignore[arg-type]
                step = Step(group["step"], _stack(grads))
                update = step.grad
                for transform, state in zip(chain, stack.states, strict=True):
                    update = transform.apply(update, state, step)
                group["failures"] += step.failures
                if self._sharing and self._sharing.is_shared(stack.params[0]):
                    computed.update(zip(stack.params, update.unbind(), strict=True))
                else:
                    self._apply(stack.params, update.unbind(), pace)
        if self._sharing:
            held = self._sharing.updates(computed)
            for group, pace in zip(self.param_groups, paces, strict=True):
                if params := [p for p in group["params"] if p in held]:
                    self._apply(params, [held[p] for p in params], pace)
        return loss

    def _pace(self, group: dict[str, Any]) -> _Pace:
        """What the group's next step is to be; counts it."""
        group["step"] += 1
        # Weight decay follows a scheduler that moves the learning rate, as it follows `set_schedule`.
        factor = group["schedule"] * (group["lr"] / group["peak_lr"])
        return _Pace(
            group["schedule"] * group["lr"],
            factor * group["decay_schedule"] * group["weight_decay"],
            self._share(group, factor),
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _share(self, group: dict[str, Any], factor: float) -> float:
        """The share of this step's z in the schedule-free average x."""
        group["largest"] = max(group["largest"], factor)
        weight = group["largest"] ** 2
        group["weight_sum"] += weight
        return weight / group["weight_sum"] if group["weight_sum"] else 0.0

    def _apply(self, params: Sequence[Tensor], updates: list[Tensor] | tuple[Tensor, ...], pace: _Pace) -> None:
        """Take the step along the updates, with decay and averaging."""
        weights, (lr, decay, _) = [self._weights[p] for p in params], pace
        if decay and self._cautious:
            decaying = self._fast(params) if self._averaging and self._averaging.decay_at == "z" else weights
            updates = [u * lr + w.mul(w * u >= 0).mul_(decay) for w, u in zip(decaying, updates, strict=True)]
            lr, decay = 1.0, 0.0

        def take(moved: list[Tensor], decay: float) -> None:
            if RADIUS in self.state[params[0]]:
                radii = [self.state[p][RADIUS] for p in params]
                turn(moved, updates, radii, lr=lr, norms=lambda held: self._norms(params, held))
                return
            if decay:
                torch._foreach_mul_(moved, 1 - decay)
            torch._foreach_add_(moved, updates, alpha=-lr)

        self._move(params, weights, take, pace._replace(lr=lr, decay=decay))
        if MASTER in self.state[params[0]]:
            torch._foreach_copy_([local(p) for p in params], weights)

    def _move(
        self, params: Sequence[Tensor], weights: list[Tensor], take: Callable[[list[Tensor], float], None], pace: _Pace
    ) -> None:
        """``take(weights, decay)`` moves the weights, or z of schedule-free, and y with it."""
        if self._averaging is None:
            take(weights, pace.decay)
        else:
            self._averaging.step(weights, self._fast(params), take, decay=pace.decay, share=pace.share)

    def _fast(self, params: Sequence[Tensor]) -> list[Tensor]:
        """z of schedule-free."""
        return [self.state[p][FAST] for p in params]

    def _is_fused(self, chain: Chain, group: dict[str, Any]) -> bool:
        """Whether one kernel can do the whole step of a group."""
        plain = not self._cautious and not torch.compiler.is_compiling()
        return plain and len(chain) == 1 and isinstance(chain[0], Fused) and _is_full_precision(group["params"][0])

    def _step_fused(self, transform: Any, number: int, stacks: list[_Stack], pace: _Pace) -> None:
        params = [p for stack in stacks for p in stack.params]
        grads = [local(p.grad) for p in params]  # type: ignore[arg-type]
        states = [state for stack in stacks for state in stack.own]

        def take(weights: list[Tensor], decay: float) -> None:
            transform.fused(weights, grads, states, number=number, lr=pace.lr, decay=decay)

        self._move(params, [self._weights[p] for p in params], take, pace)

    def _of(self, group: dict[str, Any]) -> list[_Stack]:
        """The stacks of a group, with the state of everything in it."""
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            self._keep(parameter)
            if not self._sharing or self._sharing.owns(parameter):
                by_shape.setdefault(self._shape(parameter), []).append(parameter)
        if keeps_norm(self._chains[group["kind"]]):
            self._keep_norms(group["kind"], [p for p in group["params"] if RADIUS not in self.state[p]])
        return [
            self._stack_of(self._chains[group["kind"]], shape, params[first : first + count])
            for shape, params in by_shape.items()
            for count in [_stack_size(shape, params[0].device)]
            for first in range(0, len(params), count)
        ]

    def _shape(self, parameter: Tensor) -> torch.Size:
        """What the chain works on: the whole of a matrix that is shared out, else the rows held here."""
        return parameter.shape if self._sharing and self._sharing.is_shared(parameter) else local(parameter.detach()).shape

    def _keep(self, parameter: Tensor) -> None:
        """The state beside the chain's, of the rows held here."""
        state, held = self.state[parameter], local(parameter.detach())
        wide = full_precision(held.dtype)
        if self._averaging is not None and FAST not in state:
            state[FAST] = held.to(wide, copy=True)
        if wide != held.dtype and MASTER not in state:
            state[MASTER] = held.to(wide, copy=True)
        self._weights[parameter] = state.get(MASTER, held)

    def _keep_norms(self, kind: str, params: list[Tensor]) -> None:
        """The norms that matrices are to keep, of those that have none yet."""
        for parameter, norm in zip(params, self._norms(params, [self._weights[p] for p in params]), strict=True):
            if not norm.is_meta and not norm > 0:
                raise UsageError(
                    f"a matrix of {kind} starts at zero, and has no norm to keep: draw it at random, with std 1/sqrt(d_in) say"
                )
            self.state[parameter][RADIUS] = norm.clone()

    def _norms(self, params: Sequence[Tensor], held: Sequence[Tensor]) -> Sequence[Tensor]:
        """The Frobenius norms of whole matrices, of which ``held`` is here."""
        if not params:
            return ()
        return self._sharing.norms(params, held) if self._sharing else torch._foreach_norm(list(held))

    def _stack_of(self, chain: Chain, shape: torch.Size, params: list[Tensor]) -> _Stack:
        own = self.state[params[0]].keys() - BESIDE
        # Of a state that was loaded it is only looked at how it must be.
        device = torch.device("meta") if own else params[0].device
        like = torch.empty(len(params), *shape, dtype=full_precision(params[0].dtype), device=device)
        flat = {f"{transform.name}.{key}": value for transform in chain for key, value in transform.init(like).items()}
        if own:
            fresh, flat = flat, {key: torch.stack([self.state[p][key] for p in params]) for key in own}
            if {key: value.shape for key, value in flat.items()} != {key: value.shape for key, value in fresh.items()}:
                raise ValueError("the state of the optimizer is that of other weights, or of another recipe")
        for index, parameter in enumerate(params):
            self.state[parameter].update({key: value[index] for key, value in flat.items()})
        states = [
            {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
            for prefix in (f"{transform.name}." for transform in chain)
        ]
        return _Stack(params, states)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The parameters as they are to be evaluated: schedule-free's x, else unchanged. Bitwise back afterwards."""
        if self._averaging is None:
            yield
            return
        self.allocate()
        params = list(self._weights)
        held = [local(p.detach()) for p in params]
        kept = [p.clone() for p in held]
        weights = [self._weights[p] for p in params]
        with torch.no_grad():
            torch._foreach_copy_(held, self._averaging.average(weights, self._fast(params)))
            try:
                yield
            finally:
                torch._foreach_copy_(held, kept)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a ``state_dict`` of an optimizer with the same groups, or a `full_state_dict` of any number of ranks."""
        # Checkpoints of before November 2026 have no peak: nothing but `set_schedule` moved their learning rates.
        groups = [{"peak_lr": group["lr"], **group} for group in state_dict["param_groups"]]
        super().load_state_dict({"state": {}, "param_groups": groups})
        for index, parameter in enumerate(self._parameters()):
            # torch would cast state to its parameter's dtype; ours is wider where a parameter has less than float32.
            saved = state_dict["state"].get(index, {})
            parts = {key: self._part(parameter, key, value) for key, value in saved.items()}
            self.state[parameter] = {k: v.to(parameter.device, copy=True) for k, v in parts.items() if v is not None}
        if self._sharing and self._sharing.rank:
            for group in self.param_groups:
                group["failures"] = 0  # rank 0 goes on counting for all
        self._stacks.clear()

    def full_state_dict(self) -> dict[str, Any]:
        """What one process would have as ``state_dict``, on rank 0; empty on the others. Collective where there are several."""
        if self._sharing is None:
            return self.state_dict()
        first = self._sharing.rank == 0
        own = [
            {
                key: value.cpu().clone()
                for key, value in self.state[p].items()
                if first or isinstance(p, DTensor) or self._is_owners(p, key)
            }
            for p in self._parameters()
        ]
        ranks = self._sharing.gather(([group["failures"] for group in self.param_groups], own))
        if ranks is None:
            return {}
        result = self.state_dict()
        for index, group in enumerate(result["param_groups"]):
            group["failures"] = sum(failures[index] for failures, _ in ranks)
        for index, parameter in enumerate(self._parameters()):
            keys = dict.fromkeys(key for _, states in ranks for key in states[index])
            parts = {key: [states[index][key] for _, states in ranks if key in states[index]] for key in keys}
            result["state"][index] = {
                key: found[0] if self._is_whole(parameter, key) else torch.cat(found) for key, found in parts.items()
            }
        return result

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _is_whole(self, parameter: Tensor, key: str) -> bool:
        """Whether a state is in one piece: the chain's of a matrix, at the rank that owns it, its norm, and whatever is not
        sharded."""
        return not isinstance(parameter, DTensor) or key == RADIUS or self._is_owners(parameter, key)

    def _is_owners(self, parameter: Tensor, key: str) -> bool:
        """Whether a state is the chain's of a matrix that is shared out, which its owner alone has."""
        return self._sharing is not None and self._sharing.is_shared(parameter) and key not in BESIDE

    def _part(self, parameter: Tensor, key: str, saved: Tensor) -> Tensor | None:
        """What this rank keeps of a state in one piece."""
        if self._sharing is None:
            return saved
        if not self._is_whole(parameter, key):
            return saved[held_rows(parameter, self._sharing.rank, self._sharing.ranks)]
        return saved if self._sharing.owns(parameter) or not self._is_owners(parameter, key) else None

    def state_bytes(self) -> int:
        """Bytes of optimizer state held here now."""
        return sum(tensor.numel() * tensor.element_size() for state in self.state.values() for tensor in state.values())


@torch.compiler.disable  # type: ignore[untyped-decorator]
@torch.enable_grad()
def _evaluated(closure: Callable[[], Any]) -> Any:
    return closure()


def _is_full_precision(tensor: Tensor) -> bool:
    return full_precision(tensor.dtype) == tensor.dtype


# On a CPU a stack beyond the cache is slower than its matrices one by one, each of whose temporaries stays there.
CPU_STACK = 2**18


def _stack_size(shape: torch.Size, device: torch.device) -> int:
    """How many parameters of this shape are stepped as one stack."""
    return max(1, CPU_STACK // max(1, shape.numel())) if device.type == "cpu" else 2**31


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor (n, ...), in float32 where the tensors have less; of a single tensor a view."""
    stacked = torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0].unsqueeze(0)
    return stacked.to(full_precision(stacked.dtype))
