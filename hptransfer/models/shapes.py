"""Building a model and reading its infinite-width shapes with ``mup``, kept by parameter name.

Attributes on tensors do not survive FSDP and compile, so the ratios are read once, when the model is built, and compared with
the pure ones of `RunSpec.ratios` that every learning rate comes from: a layer that does not scale as the rules assume is
refused rather than mis-scaled.
"""

from __future__ import annotations

import torch

from hptransfer.models.gpt import GPT
from hptransfer.trainers.ours.spec import ModelSpec, RunSpec


def build_model(spec: RunSpec) -> GPT:
    """The initialised model of a run, on the CPU. Deterministic in ``init_seed``."""
    _check_shapes(spec)
    model = GPT(spec.model, spec.residual_multiplier)
    model.initialize(torch.Generator().manual_seed(spec.init_seed))
    return model.to(getattr(torch, spec.precision))


def mup_ratios(model: ModelSpec, base: ModelSpec) -> dict[str, tuple[float, float]]:
    """(d_in, d_out) ratios target/base by parameter name, from ``mup``'s infinite-width shapes.

    An embedding's tensor is (V, D) where a linear layer's is (d_out, d_in); its role has d_in = V.
    """
    # mup brings plotting packages and a torchvision that need not import: only its shapes are wanted, and only here.
    from mup import set_base_shapes

    with torch.device("meta"):
        target, small = GPT(model), GPT(base)
        delta = GPT(base.model_copy(update={"width": 2 * base.width}))
    # rescale_params=False: the initialisation is ours; do_assert=False: the zero readout is no MuReadout.
    set_base_shapes(target, small, delta=delta, rescale_params=False, do_assert=False)
    ratios = {}
    for name, parameter in target.named_parameters():
        rows, *columns = (dim.width_mult() for dim in parameter.infshape)  # type: ignore[attr-defined]
        column = columns[0] if columns else 1.0  # a gain's
        embedding = GPT.kind(name) in ("embedding", "position")
        ratios[name] = (rows, column) if embedding else (column, rows)
    return ratios


def _check_shapes(spec: RunSpec) -> None:
    assumed = spec.ratios()
    # Ratios of width only: mup needs the same depth on both sides.
    base = spec.base_model.model_copy(update={"depth": spec.model.depth})
    for name, found in mup_ratios(spec.model, base).items():
        ratios = assumed[GPT.kind(name)]
        if (ratios.d_in, ratios.d_out) != found:
            raise AssertionError(f"{name} grew by {found} where the rules assume {(ratios.d_in, ratios.d_out)}")
