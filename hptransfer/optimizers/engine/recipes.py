"""From a run's resolved groups to an optimizer: which chain serves which kind of weight."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from hptransfer.models.gpt import GPT
from hptransfer.optimizers.engine.distributed import Sharing
from hptransfer.optimizers.engine.factors import Blocks
from hptransfer.optimizers.engine.optimizer import Chain, ChainOptimizer
from hptransfer.optimizers.engine.orthogonal import Orthogonalize
from hptransfer.optimizers.engine.schedule_free import ScheduleFreeAveraging
from hptransfer.optimizers.engine.shampoo import AdamGraft, Shampoo
from hptransfer.optimizers.engine.soap import Soap
from hptransfer.optimizers.engine.transforms import (
    Adam,
    HeavyBall,
    Momentum,
    NormalizeRms,
    NormalizeRows,
    NormalizeSpectrally,
    Sign,
    Transform,
    is_elementwise,
)
from hptransfer.optimizers.recipes import (
    AdamOptions,
    AdaMuonOptions,
    MuonOptions,
    NorMuonOptions,
    Orthogonalized,
    ScheduleFree,
    ScheduleFreeAdamOptions,
    SgdOptions,
    ShampooOptions,
    ShampooQuarterOptions,
    SignumOptions,
    SoapOptions,
)
from hptransfer.trainers.ours.spec import Group, RunSpec


def chain(spec: RunSpec, group: Group) -> Chain:
    """The chain of one group: the recipe's own for the roles it serves, Adam for the others, and under ``spectral`` what sets the
    update's norm."""
    if spec.optimizer.rules.serves(group.role):
        transforms = _own(spec, group)
    else:
        adam = spec.optimizer.rules.adam(spec.optimizer.resolved_options)
        transforms = (Adam(adam.beta1, adam.beta2, group.epsilons["eps"]),)
    if spec.parametrization != "spectral":
        return transforms
    return (*transforms, NormalizeSpectrally() if group.role in ("hidden", "readout") else NormalizeRms())


def _own(spec: RunSpec, group: Group) -> tuple[Transform, ...]:
    options, eps = spec.optimizer.resolved_options, group.epsilons
    match options:
        case AdamOptions():
            return (Adam(options.beta1, options.beta2, eps["eps"]),)
        case ScheduleFreeAdamOptions():
            return (Adam(0.0, options.beta2, eps["eps"]),)
        case SignumOptions():
            return Momentum(options.momentum), Sign()
        case SgdOptions():
            return (HeavyBall(options.momentum, options.nesterov),)
        case MuonOptions():
            return (*_orthogonalized(spec, options, eps["eps"]),)
        case NorMuonOptions():
            rows = NormalizeRows(options.beta2, eps["eps"], options.preserve_norm)
            return *_orthogonalized(spec, options, eps["ns_eps"]), rows
        case AdaMuonOptions():
            return *_orthogonalized(spec, options, eps["ns_eps"]), Adam(0.0, options.beta2, eps["eps"])
        case ShampooOptions():
            start, blocks = options.precondition_start, _blocks(spec, group)
            return (
                Momentum(options.beta1, bias_corrected=True),
                _shampoo(options, eps["matrix_eps"], blocks, start=start),
                AdamGraft(options.beta2, eps["eps"], eps["graft_eps"], start, blocks if options.graft_per_block else None),
            )
        case ShampooQuarterOptions():
            return Momentum(options.beta1, bias_corrected=True), _shampoo(options, eps["matrix_eps"], _blocks(spec, group))
        case SoapOptions():
            return (
                Soap(
                    options.beta1,
                    options.beta2,
                    eps["eps"],
                    options.precondition_frequency,
                    _blocks(spec, group),
                    options.factorised,
                    options.skip_first_step,
                ),
            )
    raise NotImplementedError(type(options))


def _orthogonalized(spec: RunSpec, options: Orthogonalized, eps: float) -> tuple[Momentum, Orthogonalize]:
    warmup = math.ceil(options.momentum_warmup_tokens / spec.batch_tokens)
    momentum = Momentum(options.momentum, options.nesterov, start=options.momentum_start, warmup_steps=warmup)
    return momentum, Orthogonalize(options.orthogonal_map, eps, options.ns_steps, options.bfloat16)


def _shampoo(options: ShampooQuarterOptions, eps: float, blocks: Blocks, *, start: int = 1) -> Shampoo:
    return Shampoo(
        options.beta2,
        options.exponent,
        eps,
        options.precondition_frequency,
        blocks,
        options.relative_eps,
        start,
    )


def _blocks(spec: RunSpec, group: Group) -> Blocks:
    left, right = group.sides
    # An embedding's tensor is (V, D): its rows are the role's inputs.
    return Blocks(spec.block_size, right, left) if group.role == "embedding" else Blocks(spec.block_size, left, right)


def build_optimizer(model: nn.Module, spec: RunSpec) -> ChainOptimizer:
    """The optimizer of a run. Every parameter is in the group of its kind, or this raises."""
    params: dict[str, list[nn.Parameter]] = {group.kind: [] for group in spec.groups()}
    for name, parameter in model.named_parameters():
        params[GPT.kind(name)].append(parameter)
    used = [group for group in spec.groups() if params[group.kind]]
    groups = [
        {"params": params[group.kind], "kind": group.kind, "role": group.role, "lr": group.lr, "weight_decay": group.weight_decay}
        for group in used
    ]
    return make_optimizer(spec, groups, {group.kind: chain(spec, group) for group in used})


def make_optimizer(spec: RunSpec, groups: list[dict[str, Any]], chains: dict[str, Chain]) -> ChainOptimizer:
    """The optimizer over ready groups, with what the recipe's options say about all of them."""
    options = spec.optimizer.resolved_options
    averaging = ScheduleFreeAveraging(options.interpolation, options.decay_at) if isinstance(options, ScheduleFree) else None
    whole = [(p, chains[group["kind"]]) for group in groups for p in group["params"] if not is_elementwise(chains[group["kind"]])]
    costs = [sum(transform.flops(len(p), p.numel() // len(p)) for transform in chain) for p, chain in whole]
    sharing = Sharing.over_ranks([p for p, _ in whole], costs)
    return ChainOptimizer(groups, chains, cautious=options.cautious_weight_decay, averaging=averaging, sharing=sharing)


def optimizer_flops(spec: RunSpec) -> float:
    """FLOPs of the optimizer over the whole run, by each transform's formula."""
    groups = {group.kind: group for group in spec.groups()}
    per_step = 0.0
    for weight in spec.model.weights():
        shape = (weight.d_in, weight.d_out) if weight.role == "embedding" else (weight.d_out, weight.d_in)
        per_step += weight.count * sum(transform.flops(*shape) for transform in chain(spec, groups[weight.kind]))
    return spec.steps * per_step


def optimizer_state_bytes(spec: RunSpec) -> int:
    """Bytes of optimizer state that a run will hold, before it starts: its state made of shapes, without memory."""
    with torch.device("meta"):
        model = GPT(spec.model).to(getattr(torch, spec.precision))
    optimizer = build_optimizer(model, spec)
    optimizer.allocate()
    return optimizer.state_bytes()
