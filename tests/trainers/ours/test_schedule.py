import math

import pytest
from tiny import BATCH_TOKENS, tiny_corpus, tiny_spec

from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.trainers.ours.loop import train
from hptransfer.trainers.ours.schedule import decay_factor, schedule_factor
from hptransfer.trainers.ours.spec import RunSpec

SHAPES = pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "trapezoid"])


def factors(spec: RunSpec) -> list[float]:
    return [schedule_factor(spec, step) for step in range(spec.steps)]


def spec_of(shape: str, *, steps: int = 30, warmup: int = 3, **changes) -> RunSpec:
    tokens = {"horizon.tokens": steps * BATCH_TOKENS, "schedule.warmup_tokens": warmup * BATCH_TOKENS}
    return tiny_spec(**{"schedule.shape": shape, **tokens, **changes})


@SHAPES
@pytest.mark.parametrize("warmup", [0, 1, 3, 29])
def test_between_0_and_1_with_its_peak_where_the_warmup_ends(shape: str, warmup: int) -> None:
    values = factors(spec_of(shape, warmup=warmup))
    assert all(0 < value <= 1 for value in values)
    assert values[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    assert values[warmup] == 1
    assert values[warmup:] == sorted(values[warmup:], reverse=True)


@SHAPES
def test_the_warmup_is_a_fixed_number_of_tokens(shape: str) -> None:
    """Whatever the horizon; with twice the batch it is half the steps."""
    assert factors(spec_of(shape, steps=30))[:3] == factors(spec_of(shape, steps=300))[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors(spec_of(shape, warmup=6, **{"batch_sequences": 16}))[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_shapes() -> None:
    """At x of the way from the end of the warm-up to the end of the run; the last step is one step from the end."""
    steps, warmup = 103, 3
    values = {
        shape: factors(spec_of(shape, steps=steps, warmup=warmup))[warmup:]
        for shape in ("constant", "linear", "cosine", "trapezoid")
    }
    x = [step / 100 for step in range(100)]
    assert values["constant"] == [1] * 100
    assert values["linear"] == pytest.approx([1 - t for t in x])
    assert values["cosine"] == pytest.approx([(1 + math.cos(math.pi * t)) / 2 for t in x])
    assert values["trapezoid"] == pytest.approx([min(1, (1 - t) / 0.2) for t in x])


def test_the_cooldown_of_a_trapezoid() -> None:
    values = factors(spec_of("trapezoid", steps=100, warmup=0, **{"schedule.cooldown_fraction": 0.5}))
    assert values[50] == 1 and values[51] == pytest.approx(0.98) and values[-1] == pytest.approx(0.02)


def test_a_warmup_that_rounds_to_the_whole_run() -> None:
    values = factors(tiny_spec(**{"horizon.tokens": 2 * BATCH_TOKENS, "schedule.warmup_tokens": 2 * BATCH_TOKENS - 1}))
    assert values == [0.5, 1.0]


DECAY_SHAPES = pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])


def decays(spec: RunSpec) -> list[float]:
    return [decay_factor(spec, step) for step in range(spec.steps)]


@DECAY_SHAPES
@pytest.mark.parametrize("warmup", [0, 3, 29])
def test_weight_decay_goes_from_1_towards_0_over_the_whole_run(shape: str, warmup: int) -> None:
    """q(t) knows nothing of the warm-up nor of the learning rate's shape."""
    values = decays(spec_of("constant", warmup=warmup, **{"schedule.weight_decay": shape}))
    assert values[0] == 1 and all(0 < value <= 1 for value in values)
    assert values == sorted(values, reverse=True)
    assert values == decays(spec_of("cosine", **{"schedule.weight_decay": shape}))
    share = [step / 30 for step in range(30)]
    wanted = {
        "constant": [1.0] * 30,
        "linear": [1 - t for t in share],
        "cosine": [(1 + math.cos(math.pi * t)) / 2 for t in share],
    }
    assert values == pytest.approx(wanted[shape])


def test_weight_decay_is_constant_unless_asked() -> None:
    assert tiny_spec().schedule.weight_decay == "constant"


@DECAY_SHAPES
def test_both_schedules_reach_the_optimizer_at_every_step(shape: str, monkeypatch) -> None:
    seen: list[tuple[float, float]] = []
    plain = ChainOptimizer.set_schedule

    def noting(self: ChainOptimizer, factor: float, decay: float = 1.0) -> None:
        seen.append((factor, decay))
        plain(self, factor, decay)

    monkeypatch.setattr(ChainOptimizer, "set_schedule", noting)
    spec = spec_of("linear", **{"schedule.weight_decay": shape, "optimizer.weight_decay": 0.1})
    record = train(spec, tiny_corpus())
    assert seen == list(zip(factors(spec), decays(spec), strict=True))
    monkeypatch.undo()
    other = train(spec.at(**{"schedule.weight_decay": "constant"}), tiny_corpus())
    assert (record.loss == other.loss) == (shape == "constant")
    assert (record.run_id == other.run_id) == (shape == "constant")
