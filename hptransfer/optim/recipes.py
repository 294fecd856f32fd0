"""From a run's resolved groups to an optimizer: which chain serves which kind of weight."""

from __future__ import annotations

from torch import nn

from hptransfer.models.gpt import GPT
from hptransfer.optim.blocks import Blocks
from hptransfer.optim.optimizer import Chain, ChainOptimizer
from hptransfer.optim.transforms import Adam, AdamGraft, Momentum, Orthogonalize, Shampoo, Soap
from hptransfer.rules.recipes import AdamOptions, MuonOptions, ShampooOptions, SoapOptions
from hptransfer.spec import Group, RunSpec


def chain(spec: RunSpec, group: Group) -> Chain:
    """The chain of one group. Embedding, readout and vectors are Adam's in every recipe here."""
    options = spec.optimizer.resolved_options
    if group.role != "hidden" or isinstance(options, AdamOptions):
        adam = options if isinstance(options, AdamOptions) else options.adam
        return (Adam(adam.beta1, adam.beta2, group.eps),)
    match options:
        case MuonOptions():
            return Momentum(options.momentum, options.nesterov), Orthogonalize(options.ns_steps, group.eps)
        case ShampooOptions():
            return (
                Momentum(options.beta1),
                Shampoo(
                    options.beta2, options.exponent, options.matrix_eps, options.precondition_frequency, Blocks(spec.block_size)
                ),
                AdamGraft(options.beta2, group.eps, group.graft_eps),
            )
        case SoapOptions():
            return (
                Soap(
                    options.beta1,
                    options.beta2,
                    group.eps,
                    options.precondition_frequency,
                    Blocks(spec.block_size),
                    options.skip_first_step,
                ),
            )


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
    return ChainOptimizer(groups, {group.kind: chain(spec, group) for group in used})


def optimizer_flops(spec: RunSpec) -> float:
    """FLOPs of the optimizer over the whole run, by each transform's formula."""
    weights = {weight.kind: weight for weight in spec.model.weights()}
    per_step = sum(
        weight.count * transform.flops(weight.d_out, weight.d_in)
        for group in spec.groups()
        if (weight := weights.get(group.kind))
        for transform in chain(spec, group)
    )
    return spec.steps * per_step
