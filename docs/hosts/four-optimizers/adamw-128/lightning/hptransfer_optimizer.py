# adamw: hptransfer 0.1.0 for lightning 2.6
# prediction 37b00f7fba72e6ee, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.0226777 (80 % interval 0.0174761 to 0.0336416; identified)
# weight_decay 0.00018432 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 16 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.127% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; the numbers below are final
# final learning rates: embedding 0.362843, attention 0.00566943, mlp_in 0.00566943, mlp_out 0.00566943, readout
#   0.0907108
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 01b70a61551e9c1d 1d2111aebfda2cf5 3c38cb442db968d3 3e0c4d925118c783 4e6fab8ed8453f8f 5c0f8fbcf7293e50
#   5df59f05aea20f20 5eee0df6f6ccc031 78432d0b0a92fc86 7a572ae4e2d0fbc7 82672e90f434d50e 9044082dcf032747
#   a6952f4c7fd16eb5 aa1f5447ff76aedb afb1b6462f3cec67 bbb28129c282daed c313c7d0f8cf3863 cc6b2466cc5466bb
#   d85a5781b143e33f e710ce60eaf5fa1b ef8fcf4f4df76b81 f2d82f715c876a1d fb690517b12f67d2 fffcee6332009a01
"""The optimizer and the schedule of a predicted run.

hptransfer_lightning.PredictedOptimizer gives both to Lightning, which clips by trainer.yaml.

Nothing may scale the learning rates again. Every trainable parameter gets a role by its module and name; where the rules do not
know yours, ``roles`` says it: {"regular expression": "embedding, hidden, readout or vector"}. print(role_table(optimizer))
shows which parameter got what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


Role = Literal["embedding", "hidden", "readout", "vector"]
ROLES: tuple[Role, ...] = get_args(Role)
# What DDP, torch.compile, FSDP1 and activation checkpointing put into a parameter's name.
WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
READOUTS = ("lm_head", "head", "readout", "unembed", "unembedding", "embed_out", "output", "output_layer", "to_logits")


@dataclass(frozen=True)
class Numbers:
    """Final numbers of one kind of weight: nothing is left to scale. ``weight_decay`` is independent of the learning rate."""

    role: Role
    d_out: int
    d_in: int
    lr: float
    weight_decay: float
    epsilons: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Assigned:
    """A parameter and its role.

    ``names``: more than one where it is tied. ``d_out`` and ``d_in`` are the role's: an embedding (V, D) has d_in = V.
    ``transposed``: a matrix that is kept (d_in, d_out), as in GPT-2's Conv1D. ``why``: which rule said so.
    """

    names: tuple[str, ...]
    role: Role
    d_out: int
    d_in: int
    parameter: nn.Parameter
    transposed: bool
    why: str

    @property
    def is_tied(self) -> bool:
        """Whether it is the embedding and the readout at once."""
        return self.why == TIED


TIED = "embedding and readout are one tensor"
Places = dict[nn.Parameter, list[tuple[str, nn.Module, str]]]  # the names of a parameter, and the modules that hold it


def assign_roles(model: nn.Module, overrides: Mapping[str, str] | None = None) -> list[Assigned]:
    """Every trainable parameter of ``model`` with its role, each once.

    A tensor of one dimension is a vector, the weight of an embedding an embedding. Of linear layers with an output for each token
    the one that is called ``lm_head``, ``readout`` and the like, else the last, is the readout; the others are hidden.
    ``overrides`` go before these rules: roles by regular expression, searched in a parameter's name; the first that is found
    counts. Raises ValueError, one line, for a parameter without a role (the router and the experts of a mixture have none yet),
    and for an override that matches nothing or names no role.
    """
    overrides = dict(overrides or {})
    for expression in overrides:
        try:
            re.compile(expression)
        except re.error as error:
            raise ValueError(f"override {expression!r} is no regular expression: {error}") from None
    held = list(_held(model))
    readout, places = _readout(held), Places()
    for name, module, local, parameter in held:
        places.setdefault(parameter, []).append((name, module, local))
    used, found = set(), []
    for parameter, found_at in places.items():
        names = tuple(name for name, _, _ in found_at)
        pattern = next((one for one in overrides if any(re.search(one, name) for name in names)), None)
        if pattern is not None:
            used.add(pattern)
            if (role := next((one for one in ROLES if one == overrides[pattern]), None)) is None:
                raise ValueError(f"override {pattern!r}: unknown role {overrides[pattern]!r}; known: {', '.join(ROLES)}")
            found.append(_assigned(names, role, parameter, found_at[0][1], f"override {pattern}"))
            continue
        said = [_by_rule(name, module, local, parameter, readout) for name, module, local in found_at]
        roles = sorted({role for role, _ in said})
        if roles == ["embedding", "readout"]:
            found.append(_assigned(names, "embedding", parameter, found_at[0][1], TIED))
        elif len(roles) == 1:
            found.append(_assigned(names, roles[0], parameter, found_at[0][1], said[0][1]))
        else:
            raise ValueError(f"{' = '.join(names)}: {' and '.join(roles)} at once; say which by an override")
    for expression in overrides.keys() - used:
        raise ValueError(f"override {expression!r} matches no parameter's name; there are {', '.join(_some(places))}")
    return found


def with_numbers(assigned: Sequence[Assigned], weights: Sequence[Numbers]) -> list[tuple[Assigned, Numbers]]:
    """Every parameter with its numbers among ``weights``. Raises ValueError for one that has none, and for an embedding without a
    readout: logits that are made of its weight, or of a layer that no rule knows, have a learning rate of their own."""
    found = [(one, _numbers_of(weights, one)) for one in assigned]
    ends = {_values(one) for one in weights if one.role in ("embedding", "readout")}
    embeddings = [one for one in assigned if one.role == "embedding" and not one.why.startswith("override")]
    if len(ends) > 1 and embeddings and not any(one.role == "readout" or one.is_tied for one in assigned):
        raise ValueError(
            "no layer is known to be the readout; say which by an override, {'its name': 'readout'}, or "
            f"{{'{embeddings[0].names[0]}': 'embedding'}} where the logits are made of that weight"
        )
    return found


def _numbers_of(weights: Sequence[Numbers], assigned: Assigned) -> Numbers:
    """The numbers of a parameter: those of its role; where these differ by shape, of its role and shape. Raises ValueError where
    there are none, where a tied tensor would need two learning rates, and for an embedding of another width: the rates are final
    ones of one width."""
    widths = sorted({one.d_out for one in weights if one.role == "embedding"})
    if assigned.role == "embedding" and widths and assigned.d_out not in widths:
        wide = f"{' = '.join(assigned.names)} is {assigned.d_out} wide"
        raise ValueError(f"{wide}, and the learning rates are final ones of width {widths[0]}")
    roles = ("embedding", "readout") if assigned.is_tied else (assigned.role,)
    found = [one for one in weights if one.role in roles]
    if len({_values(one) for one in found}) > 1 and not assigned.is_tied:
        found = [one for one in found if (one.d_out, one.d_in) == (assigned.d_out, assigned.d_in)]
    distinct = {_values(one): one for one in found}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    what = f"{' = '.join(assigned.names)} ({assigned.role}, {assigned.d_out} x {assigned.d_in})"
    if assigned.is_tied:
        raise ValueError(
            f"{what}: one tensor cannot have the learning rates of embedding and readout; untie them, or give it one role by an "
            "override"
        )
    raise ValueError(f"{what}: the prediction has {'several' if distinct else 'no'} learning rates for it")


def _values(one: Numbers) -> tuple[float, float, tuple[tuple[str, float], ...]]:
    return one.lr, one.weight_decay, tuple(one.epsilons.items())


def _held(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Every place of a trainable parameter: its name without wrappers, the module, its name there, and itself."""
    for path, module in model.named_modules(remove_duplicate=False):
        for local, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                yield WRAPPERS.sub(r"\1", f".{path}.{local}").replace("..", ".").strip("."), module, local, parameter


def _some(places: Places) -> Iterator[str]:
    names = [name for held in places.values() for name, _, _ in held]
    yield from names[:3]
    if len(names) > 3:
        yield f"... ({len(names)})"


def _is_linear(module: nn.Module) -> bool:
    kind = type(module).__name__
    return isinstance(module, nn.Linear) or "Linear" in kind or kind == "Conv1D"


def _is_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or "Embedding" in type(module).__name__


def _readout(held: Sequence[tuple[str, nn.Module, str, nn.Parameter]]) -> str | None:
    """The name of the readout's weight. Of linear layers with an output for every row of the largest embedding the one that has a
    readout's name outside numbered blocks, else the last; where there is none, whatever has such a name."""
    matrices = [(name, module, parameter) for name, module, _, parameter in held if parameter.dim() == 2]
    rows = max((parameter.size(0) for _, module, parameter in matrices if _is_embedding(module)), default=None)
    linear = [(name, parameter.size(0) == rows) for name, module, parameter in matrices if _is_linear(module)]
    named = [(name, fits) for name, fits in linear if _is_readouts(name)]
    for name, fits in (*named, *reversed(linear)):
        if fits:
            return name
    return named[0][0] if named else None


def _is_readouts(name: str) -> bool:
    *outer, last, _ = ["", *name.split(".")]
    return last in READOUTS and not any(part.isdigit() for part in outer)


def _by_rule(name: str, module: nn.Module, local: str, parameter: Tensor, readout: str | None) -> tuple[Role, str]:
    """The role of a parameter at one of its places, and the rule in words."""
    kind = type(module).__name__
    if any(word in part.lower() for part in (*name.split("."), kind) for word in ("router", "expert")):
        raise ValueError(f"{name}: the router and the experts of a mixture have no role yet; give it one by an override")
    if parameter.dim() < 2:
        if local == "weight" and (_is_linear(module) or _is_embedding(module)):
            raise ValueError(f"{name}: the weight of {kind} is flat here, as FSDP1 makes it; FSDP2 (fully_shard) keeps matrices")
        return "vector", "one dimension"
    if parameter.dim() == 2 and _is_embedding(module):
        return "embedding", f"weight of {kind}"
    if parameter.dim() == 2 and _is_linear(module):
        return ("readout", "the last linear layer, by name or size") if name == readout else ("hidden", f"{local} of {kind}")
    shape = " x ".join(map(str, parameter.shape))
    raise ValueError(f"{name} ({shape}, in {kind}): no rule gives it a role; give it one by an override")


def _assigned(names: tuple[str, ...], role: Role, parameter: nn.Parameter, module: nn.Module, why: str) -> Assigned:
    if role == "vector":
        return Assigned(names, role, parameter.numel(), 1, parameter, False, why)
    if parameter.dim() != 2:
        raise ValueError(f"{names[0]}: of {parameter.dim()} dimensions; a weight of the role {role} has two")
    rows, columns = parameter.shape
    transposed = type(module).__name__ == "Conv1D"  # transformers' of GPT-2: (inputs, outputs)
    d_out, d_in = (columns, rows) if transposed or role == "embedding" else (rows, columns)
    return Assigned(names, role, d_out, d_in, parameter, transposed, why)


def schedule_factor(step: int, *, steps: int, warmup_steps: int, shape: str, cooldown_fraction: float) -> float:
    """s(t) in [0, 1] at ``step`` (from 0): linear warm-up, then the shape over what remains; a trapezoid is flat until the last
    ``cooldown_fraction`` of that."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    remaining = (steps - step) / max(1, steps - warmup_steps)
    if shape == "trapezoid":
        return min(1.0, remaining / cooldown_fraction)
    return shaped(shape, remaining)


def decay_factor(step: int, *, steps: int, shape: str) -> float:
    """q(t) in [0, 1] at ``step`` (from 0), over the whole run."""
    return shaped(shape, 1 - step / steps)


def shaped(shape: str, remaining: float) -> float:
    """The factor with a share of ``remaining`` to go: constant, linear or cosine."""
    if shape == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * remaining)
    return remaining if shape == "linear" else 1.0


def factors(step: int, schedule: Mapping[str, Any]) -> tuple[float, float]:
    """s(t) and q(t) at ``step`` (from 0), from the arguments of `Schedule`; after the last step, those at the end."""
    step = min(step, schedule["steps"])
    shape = {name: value for name, value in schedule.items() if name != "weight_decay"}
    return schedule_factor(step, **shape), decay_factor(step, steps=schedule["steps"], shape=schedule["weight_decay"])


class Schedule(LambdaLR):
    """The run's schedule: s(t) on every learning rate, which takes weight decay along, and q(t) on weight decay besides.

    Step it after each step of the optimizer. ``schedule``: ``steps``, ``warmup_steps``, ``shape``, ``cooldown_fraction`` and
    ``weight_decay``, the shape of q.
    """

    def __init__(self, optimizer: Optimizer, schedule: dict[str, Any]) -> None:
        self._schedule = schedule
        self._decays = [group["weight_decay"] for group in optimizer.param_groups]
        super().__init__(optimizer, lambda step: factors(step, schedule)[0])

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates and weight decays of the next step of the optimizer."""
        super().step(epoch)
        _, factor = factors(self.last_epoch, self._schedule)
        for group, decay in zip(self.optimizer.param_groups, self._decays, strict=True):
            group["weight_decay"] = factor * decay


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


def role_table(optimizer: Any) -> str:
    """Which parameters each group of an optimizer holds, with role, learning rate and weight decay, numbers in names left out.

    ``optimizer``: what `hptransfer.build_optimizer` returns, or the ``build_optimizer`` of an exported module; any of
    torch's whose groups have ``role`` and ``param_names``. Weight decay is in the units of that optimizer. Raises KeyError where
    a group has no role.

    >>> print(hptransfer.role_table(hptransfer.build_optimizer(model, "predictions/quickstart/soap-128.json")))
    """
    rows = [("role", "lr", "weight_decay", "tensors", "parameters")]
    for group in optimizer.param_groups:
        names = dict.fromkeys(map(without_numbers, group["param_names"]))
        numbers = f"{group['lr']:.6g}", f"{group['weight_decay']:.6g}"
        rows.append((group["role"], *numbers, str(len(group["params"])), ", ".join(names)))
    return aligned(rows)


def without_numbers(name: str) -> str:
    """``layers.3.weight`` as ``layers.*.weight``: what the parameters of all layers are called."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with straight columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


SCHEDULE = {
    'steps': 360,
    'shape': 'linear',
    'weight_decay': 'constant',
    'cooldown_fraction': 0.2,
    'warmup_steps': 36,
}
CLIP_NORM = None
OPTIMIZER = {
    'betas': (0.9, 0.95),
}
WEIGHTS = (
    Numbers('embedding', 128, 256, lr=0.36284334417370445, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # embedding
    Numbers('hidden', 128, 128, lr=0.005669427252714132, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # attention
    Numbers('hidden', 512, 128, lr=0.005669427252714132, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # mlp_in
    Numbers('hidden', 128, 512, lr=0.005669427252714132, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # mlp_out
    Numbers('readout', 256, 128, lr=0.09071083604342611, weight_decay=0.00018431957085351716, epsilons={'eps': 1e-08}),  # readout
    Numbers('vector', 128, 1, lr=0.022677709010856528, weight_decay=0.0, epsilons={'eps': 2.5e-09}),  # vector
)


def build_optimizer(model: nn.Module, roles: Mapping[str, str] | None = None) -> torch.optim.Optimizer:
    """The optimizer over every trainable parameter of ``model``, each with the final numbers of its role. Build it after DDP,
    FSDP2 (``fully_shard``) or torch.compile. Raises ValueError for a parameter without a role, and for a
    model of another width."""
    return plain_optimizer(with_numbers(assign_roles(model, roles), WEIGHTS), **OPTIMIZER)


def build_scheduler(optimizer: torch.optim.Optimizer) -> Schedule:
    """The run's schedule, to be stepped after each step of ``optimizer``."""
    return Schedule(optimizer, SCHEDULE)


def clip_gradients(model: nn.Module) -> None:
    """Clip the global gradient norm as the searched runs were clipped."""
    if CLIP_NORM is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
