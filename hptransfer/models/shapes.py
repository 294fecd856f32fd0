"""Infinite-width shapes as ``mup`` sees them, by parameter name: the witness of the ratios that every learning rate comes from.

Attributes on tensors do not survive FSDP and compile, so they are read once, when a model is built.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from hptransfer.models.family import AnyFamily, Config, Shape


def dimension_ratios(target: nn.Module, base: nn.Module, delta: nn.Module | None = None) -> dict[str, tuple[float, ...]]:
    """Ratios target/base of each dimension of each parameter, by name. ``delta``: the model at a third width, which tells the
    dimensions that grow from those that do not."""
    # mup brings plotting packages and a torchvision that need not import: only its shapes are wanted, and only here.
    from mup import set_base_shapes

    # rescale_params=False: the initialisation is ours; do_assert=False: the zero readout is no MuReadout.
    set_base_shapes(target, base, delta=delta, rescale_params=False, do_assert=False)
    return {
        name: tuple(dim.width_mult() for dim in parameter.infshape)  # type: ignore[attr-defined]
        for name, parameter in target.named_parameters()
    }


def mup_ratios(family: AnyFamily, target: Shape[Config], base: Shape[Config]) -> dict[str, tuple[float, float]]:
    """(d_in, d_out) ratios target/base by parameter name; both of one depth.

    An embedding's tensor is (V, D) where a linear layer's is (d_out, d_in); its role has d_in = V.
    """
    with torch.device("meta"):
        models = [family.build(shape) for shape in (target, base, replace(base, width=2 * base.width))]
    roles = {weight.kind: weight.role for weight in family.weights(target)}
    ratios = {}
    for name, (rows, *columns) in dimension_ratios(*models).items():
        column = columns[0] if columns else 1.0  # a gain's
        ratios[name] = (rows, column) if roles[family.kind(name)] == "embedding" else (column, rows)
    return ratios
