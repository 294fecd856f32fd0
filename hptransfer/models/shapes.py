"""Infinite-width shapes as ``mup`` sees them, by parameter name: the witness of the ratios that every learning rate comes from.

Attributes on tensors do not survive FSDP and compile, so they are read once, when a model is built.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from hptransfer.models.family import AnyFamily, Config, Shape


def mup_ratios(family: AnyFamily, target: Shape[Config], base: Shape[Config]) -> dict[str, tuple[float, float]]:
    """(d_in, d_out) ratios target/base by parameter name; both of one depth.

    An embedding's tensor is (V, D) where a linear layer's is (d_out, d_in); its role has d_in = V.
    """
    # mup brings plotting packages and a torchvision that need not import: only its shapes are wanted, and only here.
    from mup import set_base_shapes

    with torch.device("meta"):
        model, small, delta = (family.build(shape) for shape in (target, base, replace(base, width=2 * base.width)))
    # rescale_params=False: the initialisation is ours; do_assert=False: the zero readout is no MuReadout.
    set_base_shapes(model, small, delta=delta, rescale_params=False, do_assert=False)
    roles = {weight.kind: weight.role for weight in family.weights(target)}
    ratios = {}
    for name, parameter in model.named_parameters():
        rows, *columns = (dim.width_mult() for dim in parameter.infshape)  # type: ignore[attr-defined]
        column = columns[0] if columns else 1.0  # a gain's
        ratios[name] = (rows, column) if roles[family.kind(name)] == "embedding" else (column, rows)
    return ratios
