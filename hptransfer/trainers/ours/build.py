"""From a `RunSpec` to its model and its optimizer, and what the optimizer will cost."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from hptransfer.models.model import Model
from hptransfer.models.shapes import mup_ratios
from hptransfer.optimizers.engine import Chain, ChainOptimizer, make_optimizer
from hptransfer.optimizers.recipe import Setting
from hptransfer.trainers.ours.spec import ParameterGroup, RunSpec


def build_model(spec: RunSpec) -> Model:
    """The initialised model of a run, on the CPU. Deterministic in ``init_seed``.

    A layer that does not scale as the rules assume is refused, by an AssertionError, rather than mis-scaled.
    """
    _check_shapes(spec)
    model = spec.model.of.build(spec.model.shape, spec.residual_multiplier)
    generator = torch.Generator().manual_seed(spec.init_seed)
    model.initialize(generator)
    if spec.optimizer.rules.keeps_norms:
        _draw_zeros(model, spec, generator)
    return model.to(getattr(torch, spec.precision))


@torch.no_grad()
def _draw_zeros(model: Model, spec: RunSpec, generator: torch.Generator) -> None:
    """Draw the matrices that would start at zero as the other hidden ones are: the norm that is to be kept is that of the width
    rule's init. Published runs do so, marin's AdamH (zero_init_proj off) and modded-nanogpt's MuonH."""
    served = {group.kind for group in spec.groups() if spec.optimizer.rules.serves(group.role)}
    for name, weight in model.named_parameters():
        if spec.model.of.kind(name) in served and not weight.any():
            nn.init.normal_(weight, std=weight.size(1) ** -0.5, generator=generator)


def _check_shapes(spec: RunSpec) -> None:
    assumed, target = spec.ratios(), spec.model.shape
    # Ratios of width only: mup needs the same depth on both sides.
    for name, found in mup_ratios(spec.model.of, target, replace(target, width=spec.base.width)).items():
        ratios = assumed[spec.model.of.kind(name)]
        if (ratios.d_in, ratios.d_out) != found:
            raise AssertionError(f"{name} grew by {found} where the rules assume {(ratios.d_in, ratios.d_out)}")


def chain(spec: RunSpec, group: ParameterGroup) -> Chain:
    """The transforms of one group of a run."""
    setting = Setting(
        role=group.role,
        sides=group.sides,
        epsilons=group.epsilons,
        batch_tokens=spec.batch_tokens,
        block_size=spec.block_size,
        spectral=spec.parametrization == "spectral",
    )
    return spec.optimizer.rules.chain(spec.optimizer.resolved_options, setting)


def build_optimizer(model: nn.Module, spec: RunSpec) -> ChainOptimizer:
    """The optimizer of a run. Every parameter is in the group of its kind, or this raises."""
    params: dict[str, list[nn.Parameter]] = {group.kind: [] for group in spec.groups()}
    for name, parameter in model.named_parameters():
        params[spec.model.of.kind(name)].append(parameter)
    used = [group for group in spec.groups() if params[group.kind]]
    groups = [
        {"params": params[group.kind], "kind": group.kind, "role": group.role, "lr": group.lr, "weight_decay": group.weight_decay}
        for group in used
    ]
    return make_optimizer(spec.optimizer.resolved_options, groups, {group.kind: chain(spec, group) for group in used})


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
        model = spec.model.of.build(spec.model.shape).to(getattr(torch, spec.precision))
    optimizer = build_optimizer(model, spec)
    optimizer.allocate()
    return optimizer.state_bytes()
