"""Shapes as `mup` sees them against the ratios that every learning rate comes from."""

import pytest
import torch
from mup import set_base_shapes
from mup.optim import MuAdam
from tiny import tiny_spec
from torch import nn

from hptransfer.models import shapes
from hptransfer.models.gpt.family import GPT_FAMILY, GptFamily
from hptransfer.models.gpt.model import GPT
from hptransfer.trainers.ours.build import build_model
from hptransfer.trainers.ours.spec import RunSpec


def at_width(width: int, activation: str = "gelu", positions: str = "rope") -> RunSpec:
    """Width ``width`` from base width 32, two layers on both sides."""
    return tiny_spec(
        **{
            "model.width": width,
            "model.depth": 2,
            "model.activation": activation,
            "model.positions": positions,
            "model.norm_gains": True,
            "base.width": 32,
            "base.depth": 2,
        }
    )


VARIANTS = pytest.mark.parametrize(("activation", "positions"), [("gelu", "rope"), ("relu2", "learned"), ("swiglu", "learned")])


@pytest.mark.parametrize("width", [32, 64, 128, 256])
@VARIANTS
def test_mup_reads_the_ratios_that_the_rules_assume(width: int, activation: str, positions: str) -> None:
    spec = at_width(width, activation, positions)
    found = shapes.mup_ratios(GPT_FAMILY, spec.model.shape, spec.base_model.shape)
    assumed = spec.ratios()
    assert found == {name: (assumed[GPT_FAMILY.kind(name)].d_in, assumed[GPT_FAMILY.kind(name)].d_out) for name in found}
    assert {GPT_FAMILY.kind(name) for name in found} == set(assumed)
    grown = width / 32
    assert found["embedding.weight"] == (1, grown) and found["readout.weight"] == (grown, 1)
    assert found["blocks.1.mlp.input.weight"] == (grown, grown)
    assert found["blocks.1.mlp_norm.weight"] == found["norm.weight"] == (1, grown)


def test_depth_is_not_mistaken_for_width() -> None:
    """A run deeper than its base builds: mup compares at the run's depth."""
    spec = tiny_spec(**{"model.depth": 3, "model.width": 32})
    assert len(build_model(spec).blocks) == 3


def test_a_layer_that_does_not_scale_as_assumed_is_refused(monkeypatch) -> None:
    class Bottleneck(GPT):
        def __init__(self, shape, residual_multiplier=1.0):
            super().__init__(shape, residual_multiplier)
            self.blocks[0].mlp.input = nn.Linear(shape.width, 64, bias=False)

    monkeypatch.setattr(GptFamily, "build", lambda self, *args: Bottleneck(*args))
    with pytest.raises(AssertionError, match=r"blocks\.0\.mlp\.input\.weight grew by \(2\.0, 1\)"):
        build_model(at_width(64))


@pytest.mark.parametrize("width", [32, 64, 256])
@VARIANTS
def test_embedding_and_hidden_lrs_are_those_of_mup(width: int, activation: str, positions: str) -> None:
    """mup's own MuAdam is the oracle. Not for the readout: mup's has a forward multiplier 1/width and so keeps its LR, ours
    has none and scales the LR instead."""
    spec = at_width(width, activation, positions)
    base = spec.base_model
    model, small, delta = (GPT(one.shape) for one in (spec.model, base, base.model_copy(update={"width": 64})))
    set_base_shapes(model, small, delta=delta, rescale_params=False, do_assert=False)
    oracle = MuAdam(model.parameters(), lr=spec.optimizer.lr)
    mup_lr = {parameter: group["lr"] for group in oracle.param_groups for parameter in group["params"]}
    ours = {group.kind: group.lr for group in spec.groups()}
    compared = {name: parameter for name, parameter in model.named_parameters() if name != "readout.weight"}
    assert len(compared) > 12
    assert {name: mup_lr[parameter] for name, parameter in compared.items()} == pytest.approx(
        {name: ours[GPT_FAMILY.kind(name)] for name in compared}
    )
    assert ours["readout"] == pytest.approx(spec.optimizer.lr * 32 / width)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_model_has_the_precision_of_its_run(precision: str) -> None:
    model = build_model(tiny_spec(precision=precision))
    assert {tensor.dtype for tensor in (*model.parameters(), *model.buffers())} == {getattr(torch, precision)}
