"""What is measured, on models small enough to measure here."""

import math

import pytest
import torch
from tiny import DATA, tiny_corpus, tiny_spec

from hptransfer.coordcheck.check import Run, check
from hptransfer.coordcheck.measure import measure_run
from hptransfer.coordcheck.runs import CONTEXT, SEQUENCES, shortened
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.settings import Horizon
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.data.batches import batch, validation_batches
from hptransfer.trainers.ours.points import job_of, resolve

CORPUS = tiny_corpus()
SPEC = tiny_spec(**{"optimizer.weight_decay": 0.0})
TOKENS = torch.arange(32).view(2, 16)


def measured(spec, steps) -> Run:
    return measure_run(job_of(spec), CORPUS, steps)


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_activations_are_the_model_s(positions):
    model = build_model(tiny_spec(**{"model.positions": positions, "model.depth": 2, "base.depth": 2}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
        expected = model.embedding(TOKENS)
        if positions == "learned":
            expected = expected + model.position.weight
        seen = model.activations(TOKENS)
        assert torch.equal(seen["embedding"], expected)
        assert torch.equal(seen["readout"], model(TOKENS))
        normed = torch.nn.functional.rms_norm(seen["hidden"], (16,))
        assert torch.equal(model.readout(normed), seen["readout"])
    assert not torch.allclose(seen["hidden"], seen["embedding"])
    assert not model.blocks[0]._forward_pre_hooks and not model.blocks[-1]._forward_hooks


def test_only_the_readout_moves_at_the_first_step():
    run = measured(SPEC, [1, 2, 3])
    assert [run.rms[name, 1] for name in ("embedding", "hidden")] == [0, 0]
    assert run.rms["readout", 1] > 0
    assert all(run.rms[name, 2] > 0 for name in ("embedding", "hidden", "readout"))
    assert run.diverged is None


def test_movement_by_hand():
    """Two steps of Adam move an embedding by lr (0.1 / 0.19) / sqrt(0.05 / 0.0975), the first gradient being zero, and this where
    its token was in the second batch; the third step moves it on."""
    run = measured(SPEC, [2, 3])
    fixed, _ = next(validation_batches(CORPUS.val, tokens=8 * 16, context=16))
    seen, _ = batch(CORPUS.train, seed=0, step=1, sequences=8, context=16)
    share = torch.isin(fixed, seen).float().mean().item()
    assert run.rms["embedding", 2] == pytest.approx(0.02 * (0.1 / 0.19) / math.sqrt(0.05 / 0.0975) * math.sqrt(share), rel=1e-3)
    assert run.rms["embedding", 3] > run.rms["embedding", 2]


def test_the_same_run_measures_the_same():
    spec = tiny_spec("muon")
    assert measured(spec, [1, 3]) == measured(spec, [3, 1])
    assert measured(spec.at(init_seed=1), [3]).rms != measured(spec, [3]).rms
    assert measured(spec.at(data_seed=1), [3]).rms != measured(spec, [3]).rms


def test_steps_are_those_of_training():
    """Gradients are clipped as there, and a schedule-free model is read at its average."""
    plain, clipped = (tiny_spec("sgd", {"clip_norm": norm}) for norm in (None, 1e-6))
    assert measured(clipped, [3]).rms["readout", 3] < 1e-4 * measured(plain, [3]).rms["readout", 3]

    spec = tiny_spec("schedulefree-adamw", **{"schedule.shape": "constant"})
    model = build_model(spec)
    optimizer = build_optimizer(model, spec)
    fixed, _ = next(validation_batches(CORPUS.val, tokens=8 * 16, context=16))
    start = model.activations(fixed)["hidden"]
    for step in range(3):
        model(*batch(CORPUS.train, seed=0, step=step, sequences=8, context=16)).backward()
        optimizer.step()
        optimizer.zero_grad()
    raw = model.activations(fixed)["hidden"]
    with optimizer.averaged():
        averaged = model.activations(fixed)["hidden"]
    assert not torch.equal(raw, averaged)
    assert measured(spec, [3]).rms["hidden", 3] == (averaged - start).square().mean().sqrt().item()


def test_a_run_that_is_not_finite_ends_and_says_so():
    """The first step leaves a readout whose logits overflow: seen in the activations there, else in the next loss."""
    spec = SPEC.at(**{"optimizer.lr": 1e38})
    run = measured(spec, [1, 10])
    assert (run.diverged, run.rms) == ("activations not finite at t = 1", {})
    run = measured(spec, [10])
    assert run.diverged is not None and run.diverged.startswith("loss nan, gradient norm ") and run.diverged.endswith("at t = 1")


def test_a_shortened_run_keeps_the_rules(experiment):
    """Small batches and a constant schedule; widths, base shape and ratios are those of training."""
    config = experiment.model.config.model_copy(update={"context": 512})
    wide = experiment.model_copy(update={"model": experiment.model.model_copy(update={"config": config})})
    point = wide.point(Arm.of("muon", "mup"), DATA, width=64, lr=0.01, weight_decay=0.0, embedding_lr_ratio=4)
    short, full = resolve(shortened(point, steps=50)), resolve(point)
    assert (short.steps, short.point["batch_tokens"]) == (50, SEQUENCES * CONTEXT)
    assert short.point.settings["model"] == full.point.settings["model"] | {"context": CONTEXT}
    assert (short.point.settings["schedule"]["shape"], short.point.settings["schedule"]["warmup_tokens"]) == ("constant", 0)
    assert short.kinds == full.kinds
    assert short.details == full.details
    narrow = shortened(experiment.point(Arm.of("muon", "mup"), DATA, width=64, lr=0.01, weight_decay=0.0), 3)
    assert narrow.settings["model"]["context"] == experiment.model.context  # not longer than it was


def test_a_run_of_tokens_per_parameter_is_shortened_to_steps(experiment):
    relative = experiment.model_copy(update={"horizon": Horizon(policy="tpp", tpp=2)})
    point = relative.point(Arm.of("adamw", "mup"), DATA, width=64, lr=0.01, weight_decay=0.0)
    assert resolve(shortened(point, 7)).steps == 7


@pytest.mark.parametrize(("parametrization", "low", "high"), [("mup", -0.1, 0.1), ("sp", 0.5, 1.5)])
def test_hidden_features_of_adamw_grow_with_width_under_sp_alone(experiment, parametrization, low, high):
    arm = Arm.of("adamw", parametrization)
    runs = []
    for width in (32, 64, 128):
        point = experiment.point(arm, DATA, width=width, lr=0.004, weight_decay=0.0, embedding_lr_ratio=4)
        runs += [measure_run(resolve(shortened(point, 3).replicate(seed)), CORPUS, [3]) for seed in range(3)]
    result = check(runs, [3])
    slopes = {line.activation: line.slope for line in result.lines}
    assert low < slopes["hidden"] < high
    assert slopes["embedding"] == pytest.approx(0, abs=0.08)  # d_in is the vocabulary, which does not grow
