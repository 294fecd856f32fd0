"""Verdicts on survival, in worlds whose multiplier holds, grows or shrinks with compute."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from benchmarks.multipliers import draw_world
from hptransfer.experiment import ValidationSettings
from hptransfer.validate.speedup import Spent
from hptransfer.validate.survival import ScaleRuns, survival, to_tell

SEEDS, LADDER = 3, (0.5, 1.0, 2.0)
SETTINGS = ValidationSettings(seeds=SEEDS, ladder=(0.5, 2.0))
COMPUTE = tuple(np.geomspace(1.0, 30.0, 4))  # three searched scales and the held-out one
TUNING = 0.0003  # mean regret of a fitted optimum, relative: it lowers no loss


def measured(rng: np.random.Generator, *, slope: float, noise: float, multiplier: float = 1.25) -> list[ScaleRuns]:
    """A world at every scale: losses of the baseline's ladder and of the challenger, each a mean over seeds, with the noise that
    they themselves and the search's replicates say."""
    found = []
    for compute in COMPUTE:
        world = draw_world(rng, noise)
        factor = multiplier * math.exp(slope * math.log(compute / math.sqrt(COMPUTE[-1])))
        tuned = rng.exponential(TUNING, 2)

        def spent(cost: float, loss: float, runs: int, compute: float = compute) -> Spent:
            freedom = 3 + runs * (SEEDS - 1)
            seen = noise * math.sqrt(rng.chisquare(freedom) / freedom)
            drawn = loss * (1 + noise * rng.standard_normal() / math.sqrt(SEEDS))
            return Spent(cost * compute, drawn, seen * loss / math.sqrt(SEEDS), freedom)

        ladder = [spent(horizon, world.loss(horizon) * (1 + tuned[0]), len(LADDER)) for horizon in LADDER]
        found.append(ScaleRuns(int(64 * compute**0.25), ladder, spent(1.0, world.loss(factor) * (1 + tuned[1]), 1)))
    return found


def verdicts(slope: float, noise: float, count: int) -> Counter[str]:
    rng = np.random.default_rng(round(1000 * slope + 1e6 * noise) + 500)
    return Counter(survival(measured(rng, slope=slope, noise=noise)).verdict for _ in range(count))


RIGHT = {0.0: "holds", 0.1: "grows", -0.1: "shrinks"}


@pytest.mark.parametrize("slope", list(RIGHT))
def test_most_verdicts_are_right(slope: float) -> None:
    assert verdicts(slope, 0.001, 30)[RIGHT[slope]] >= 24


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.001, 0.005])
@pytest.mark.parametrize("slope", list(RIGHT))
def test_verdicts_are_seldom_wrong_and_mostly_told_where_noise_is_low(slope: float, noise: float) -> None:
    found = verdicts(slope, noise, 200)
    wrong = sum(count for verdict, count in found.items() if verdict not in (RIGHT[slope], "cannot_tell"))
    print(f"slope {slope:+}, noise {noise:.1%}: {dict(found)}")
    assert wrong <= 20
    assert noise > 0.001 or found[RIGHT[slope]] >= 140


def test_two_scales_tell_nothing() -> None:
    found = survival(measured(np.random.default_rng(0), slope=0.0, noise=0.001)[:2])
    assert found.verdict == "cannot_tell" and found.slope is None
    assert found.reason is not None and found.reason.code == "few_scales"
    assert to_tell(found, SETTINGS) is None


def test_more_seeds_tell_as_often_as_not_where_that_is_what_is_advised() -> None:
    advised = told = 0
    for number in range(60):
        rng = np.random.default_rng(number)
        found = survival(measured(rng, slope=0.0, noise=0.004))
        if found.verdict != "cannot_tell" or (settings := to_tell(found, SETTINGS)) is None:
            continue
        assert settings.seeds > SEEDS and settings.ladder == SETTINGS.ladder
        again = survival(measured(rng, slope=0.0, noise=0.004 * math.sqrt(SEEDS / settings.seeds)))
        advised, told = advised + 1, told + (again.verdict == "holds")
    assert advised > 10 and told >= advised / 2


def test_a_scale_that_is_not_bracketed_does_not_count() -> None:
    scales = measured(np.random.default_rng(0), slope=0.0, noise=0.001)
    far = scales[-1]
    unbracketed = ScaleRuns(far.width, far.ladder, Spent(far.challenger.cost, 0.5, 0.001, 5), is_held_out=True)
    found = survival([*scales[:2], unbracketed])
    assert found.reason is not None and found.reason.values["bracketed"] == 2
    assert [one.multiplier.bracketed for one in found.scales] == [True, True, False]
    assert found.scales[-1].is_held_out
    further = to_tell(found, SETTINGS)
    assert further is not None and further.ladder == (0.5, 2.0, 4.0) and further.seeds == SEEDS
