"""The LSTM family: the suite of all families, the cell against its equations, and what its rules are for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from tiny import VOCAB, tiny_corpus, tiny_spec
from torch import Tensor

from hptransfer.coordcheck.check import check
from hptransfer.coordcheck.measure import measure_run
from hptransfer.models.family import Family, FamilyConfig, Shape
from hptransfer.models.lstm.family import GATES, LSTM_FAMILY
from hptransfer.models.lstm.model import LSTM, Layer
from hptransfer.testing.families import FAMILY_CHECKS
from hptransfer.trainers.ours.build import build_model
from hptransfer.trainers.ours.points import job_of
from hptransfer.trainers.ours.spec import ModelSpec, RunSpec

STEPS = [3, 10]


def lstm_spec(recipe: str = "adamw", width: int = 16, depth: int = 2, **changes: object) -> RunSpec:
    model = {"family": "lstm", "width": width, "depth": depth, "context": 16, "vocab": VOCAB}
    return tiny_spec(recipe, model=model, **{"base.width": 16, "base.depth": 2, **changes})


@pytest.mark.parametrize("check_one", FAMILY_CHECKS, ids=lambda one: one.__name__)
def test_conformance(check_one: Callable[[Family, Shape], None]) -> None:
    check_one(LSTM_FAMILY, Shape(16, 2, VOCAB, FamilyConfig(context=16)))


def reference(layer: Layer, x: Tensor) -> Tensor:
    """Token by token, gate by gate."""
    h = c = torch.zeros_like(x[:, 0])
    states = []
    for t in range(x.size(1)):
        i, f, g, o = (x[:, t] @ layer.input[gate].T + h @ layer.recurrent[gate].T + layer.bias[gate] for gate in GATES)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    return torch.stack(states, 1)


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_layer_is_its_equations(precision: torch.dtype, tolerance: float) -> None:
    """States, and the gradient of every weight: of torch's kernel and, in float32 on a CPU, of oneDNN's."""
    generator, layer = torch.Generator().manual_seed(0), Layer(8).to(precision)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    x = torch.randn(3, 11, 8, generator=generator, dtype=torch.float64).to(precision)
    weight = torch.randn(3, 11, 8, generator=generator, dtype=torch.float64).to(precision)
    parameters = list(layer.parameters())
    found, wanted = layer(x), reference(layer, x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), parameters),
        torch.autograd.grad((wanted * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=10 * tolerance)


def test_initialisation() -> None:
    """Embedding 1, gates 1/sqrt(width), the forget gate's bias 1, other biases and the readout 0."""
    model = build_model(lstm_spec(width=64, **{"model.depth": 2}))
    assert isinstance(model, LSTM)
    assert model.embedding.weight.std().item() == pytest.approx(1, rel=0.05)
    assert not model.readout.weight.any()
    for layer in model.layers:
        for gate in GATES:
            for matrices in (layer.input, layer.recurrent):
                assert matrices[gate].std().item() == pytest.approx(64**-0.5, rel=0.05)
            assert torch.equal(layer.bias[gate], torch.full((64,), float(gate == "forget")))


def test_it_remembers_what_it_has_seen() -> None:
    """The first token tells in the last logits, and a sequence says nothing of the one before."""
    model = build_model(lstm_spec(precision="float64"))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    one = torch.randint(VOCAB, (2, 16), generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[0, 0] = (other[0, 0] + 1) % VOCAB
    moved = (model(one) - model(other)).abs()
    assert moved[0, -1].max() > 1e-9
    assert not moved[1].any()


def test_two_passes_are_the_same_to_the_bit() -> None:
    model, tokens = build_model(lstm_spec(width=32)), torch.arange(64).view(4, 16) % VOCAB

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(tokens, tokens.roll(1)).backward()
        return [parameter.grad for parameter in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(gradients(), gradients(), strict=True))


def test_sizes_by_hand() -> None:
    spec = ModelSpec.model_validate({"family": "lstm", "width": 24, "depth": 3, "vocab": 40})
    matrices = 3 * 8 * 24 * 24
    assert spec.parameters("matrices_and_readout") == matrices + 24 * 40
    assert spec.parameters("all") == matrices + 3 * 4 * 24 + 2 * 24 * 40
    assert spec.flops_per_token == 6 * (matrices + 24 * 40)


def test_matrices_of_every_gate_get_the_hidden_rate() -> None:
    """Adam's 1/d_in on what comes from the layer below and from the state; biases and embedding keep theirs."""
    base = {group.kind: group.lr for group in lstm_spec().groups()}
    wide = {group.kind: group.lr for group in lstm_spec(width=64).groups()}
    assert {kind: wide[kind] / base[kind] for kind in base} == {
        "embedding": 1,
        "input": 0.25,
        "recurrent": 0.25,
        "readout": 0.25,
        "vector": 1,
    }


@pytest.mark.parametrize("parametrization", ["mup", "spectral"])
def test_another_depth_has_no_rule(parametrization: str) -> None:
    """The rules along the depth are of residual branches, and there are none; under sp there is no rule to miss."""
    with pytest.raises(ValidationError, match="no depth rule: the layers of lstm are no residual branches"):
        lstm_spec(depth=3, parametrization=parametrization)
    assert lstm_spec(depth=3, parametrization="sp").model.depth == 3


@pytest.mark.slow
@pytest.mark.parametrize(("parametrization", "passes"), [("mup", True), ("sp", False)])
def test_coordinate_check(parametrization: str, passes: bool) -> None:
    """Activations move as far at every width under muP's rule, and do not without one. Below width 128 seeds differ too much."""
    corpus = tiny_corpus()
    rates = {"optimizer.lr": 0.005, "optimizer.embedding_lr_ratio": 4, "optimizer.weight_decay": 0}
    specs = [
        lstm_spec(width=width, parametrization=parametrization, init_seed=seed, data_seed=seed, **rates)
        for width in (128, 256, 512)
        for seed in range(5)
    ]
    assert check([measure_run(job_of(spec), corpus, STEPS) for spec in specs], STEPS).passed == passes
