"""What is measured, on models small enough to measure here."""

import math

import pytest
import torch
from tiny import DATA, tiny_corpus, tiny_spec

from hptransfer.coordcheck.check import check
from hptransfer.coordcheck.measure import CONTEXT, SEQUENCES, measure_run, shortened
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.data.batches import batch, validation_batches
from hptransfer.trainers.ours.spec import OptimizerSpec

CORPUS = tiny_corpus()
SPEC = tiny_spec(**{"optimizer.weight_decay": 0.0})
TOKENS = torch.arange(32).view(2, 16)


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
    run = measure_run(SPEC, CORPUS, [1, 2, 3])
    assert [run.rms[name, 1] for name in ("embedding", "hidden")] == [0, 0]
    assert run.rms["readout", 1] > 0
    assert all(run.rms[name, 2] > 0 for name in ("embedding", "hidden", "readout"))
    assert run.diverged is None


def test_movement_by_hand():
    """Two steps of Adam move an embedding by lr (0.1 / 0.19) / sqrt(0.05 / 0.0975), the first gradient being zero, and this where
    its token was in the second batch; the third step moves it on."""
    run = measure_run(SPEC, CORPUS, [2, 3])
    fixed, _ = next(validation_batches(CORPUS.val, tokens=8 * 16, context=16))
    seen, _ = batch(CORPUS.train, seed=0, step=1, sequences=8, context=16)
    share = torch.isin(fixed, seen).float().mean().item()
    assert run.rms["embedding", 2] == pytest.approx(0.02 * (0.1 / 0.19) / math.sqrt(0.05 / 0.0975) * math.sqrt(share), rel=1e-3)
    assert run.rms["embedding", 3] > run.rms["embedding", 2]


def test_the_same_run_measures_the_same():
    spec = tiny_spec("muon")
    assert measure_run(spec, CORPUS, [1, 3]) == measure_run(spec, CORPUS, [3, 1])
    assert measure_run(spec.at(init_seed=1), CORPUS, [3]).rms != measure_run(spec, CORPUS, [3]).rms
    assert measure_run(spec.at(data_seed=1), CORPUS, [3]).rms != measure_run(spec, CORPUS, [3]).rms


def test_steps_are_those_of_training():
    """Gradients are clipped as there, and a schedule-free model is read at its average."""
    plain, clipped = (tiny_spec("sgd", {"clip_norm": norm}) for norm in (None, 1e-6))
    assert measure_run(clipped, CORPUS, [3]).rms["readout", 3] < 1e-4 * measure_run(plain, CORPUS, [3]).rms["readout", 3]

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
    assert measure_run(spec, CORPUS, [3]).rms["hidden", 3] == (averaged - start).square().mean().sqrt().item()


def test_a_run_that_is_not_finite_ends_and_says_so():
    """The first step leaves a readout whose logits overflow: seen in the activations there, else in the next loss."""
    spec = SPEC.at(**{"optimizer.lr": 1e38})
    run = measure_run(spec, CORPUS, [1, 10])
    assert (run.diverged, run.rms) == ("activations not finite at t = 1", {})
    run = measure_run(spec, CORPUS, [10])
    assert run.diverged is not None and run.diverged.startswith("loss nan, gradient norm ") and run.diverged.endswith("at t = 1")


def test_a_shortened_experiment_keeps_the_rules(experiment):
    """Small batches and a constant schedule; widths, base shape and ratios are those of training."""
    wide = experiment.model_copy(update={"model": experiment.model.with_context(512)})
    optimizer = OptimizerSpec(recipe="muon", lr=0.01, embedding_lr_ratio=4)
    short = shortened(wide, steps=50).run_spec(DATA, optimizer, width=64, parametrization="mup")
    full = wide.run_spec(DATA, optimizer, width=64, parametrization="mup")
    assert (short.steps, short.batch_sequences, short.model.context) == (50, SEQUENCES, CONTEXT)
    assert (short.schedule.shape, short.schedule.warmup_tokens) == ("constant", 0)
    assert short.groups() == full.groups()
    assert short.residual_multiplier == full.residual_multiplier
    assert shortened(experiment, 3).model.context == experiment.model.context  # not longer than it was


@pytest.mark.parametrize(("parametrization", "low", "high"), [("mup", -0.1, 0.1), ("sp", 0.5, 1.5)])
def test_hidden_features_of_adamw_grow_with_width_under_sp_alone(experiment, parametrization, low, high):
    optimizer = OptimizerSpec(recipe="adamw", lr=0.004, embedding_lr_ratio=4)
    short = shortened(experiment, steps=3)
    runs = [
        measure_run(short.run_spec(DATA, optimizer, width=width, parametrization=parametrization, seed=seed), CORPUS, [3])
        for width in (32, 64, 128)
        for seed in range(3)
    ]
    result = check(runs, [3])
    slopes = {line.activation: line.slope for line in result.lines}
    assert low < slopes["hidden"] < high
    assert slopes["embedding"] == pytest.approx(0, abs=0.08)  # d_in is the vocabulary, which does not grow
