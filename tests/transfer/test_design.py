"""The runs that are chosen are those that tell most, by formula and on records of known truth."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from records import DATA, record_of
from scipy import stats
from synthetic import Truth, make_experiment, make_records

from hptransfer.experiment.arm import Arm
from hptransfer.runs import Job, Record
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.design import BEND_SD, LEVEL_SD, MISFIT, design, next_runs
from hptransfer.transfer.surface import SKEW_SD, TIE_SD, Surface
from hptransfer.transfer.sweep import Array, Noise, gather

NONE = np.empty((0, 1))
RANGES = {"lr": (1e-4, 1.0), "weight_decay": (1e-5, 0.1)}


def bowl(noise: float = 0.002, curvature: float = 0.01, skew: float = 1.0) -> Surface:
    """A surface about 0 in one hyperparameter; whose runs do not matter."""
    empty, _ = gather(["width"], ["lr"], np.zeros((3, 1)), np.arange(3.0)[:, None], np.ones(3))
    return Surface(
        sweep=empty,
        misfit=0.5,
        optimum=np.zeros((1, 1)),
        offset=np.zeros(1),
        scale=np.ones(1),
        root=np.array([[math.sqrt(curvature)]]),
        skew=np.array([skew]),
        noise=Noise(noise, 1e6),  # known, so that no quartile widens it
        error_cell=np.zeros(0, dtype=np.intp),
        own=np.zeros((0, 1)),
        shared=np.zeros((0, 3)),
        lever=np.zeros((1, 1, 3)),
        cost=0.0,
        dof=1.0,
    )


def chosen(surface: Surface, ran: Array = NONE, *, spread: float = 0.0, count: int = 8, high: float = 6.0) -> Array:
    """ln distances from the optimum of the next runs, which is known up to ``spread``."""
    optima = spread * np.random.default_rng(0).standard_normal((1000, 1))
    return next_runs(surface, optima, ran, np.array([-6.0]), np.array([high]), count)[:, 0]


def expected_regret(surface: Surface, u: Array, spread: float) -> float:
    """Of the optimum fitted to runs at u, by finite differences of the bowl, over optima known up to ``spread``."""
    curvature, skew = surface.curvature, math.log(surface.skew[0])

    def ln_loss(p: Array) -> Array:
        d = u - p[0]
        return p[1] + np.exp(2 * p[2]) * curvature * np.where(d > 0, np.exp(p[3]) * d, d) ** 2

    regrets = []
    for optimum in spread * stats.norm.ppf((np.arange(32) + 0.5) / 32):
        at = np.array([optimum, 0.0, 0.0, skew])
        slopes = np.array([(ln_loss(at + step) - ln_loss(at - step)) / 2e-5 for step in 1e-5 * np.eye(4)]).T
        slopes /= np.hypot(surface.noise.sd, MISFIT * ln_loss(at))[:, None]
        priors = np.diag([TIE_SD**-2.0, LEVEL_SD**-2.0, BEND_SD**-2.0, SKEW_SD**-2.0])
        regrets.append(curvature * np.linalg.inv(priors + slopes.T @ slopes)[0, 0])
    return float(np.mean(regrets))


@pytest.mark.parametrize("surface", [bowl(), bowl(noise=0.01), bowl(curvature=0.003, skew=2.0)])
@pytest.mark.parametrize("spread", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_no_other_runs_tell_more(surface, spread):
    """Not by much, of a thousand sets that are drawn where the chosen ones may lie."""
    rng = np.random.default_rng(0)
    found = chosen(surface, spread=spread, count=4)
    ours = expected_regret(surface, found, spread)
    inside = np.linspace(-6, 6, 500)
    inside = inside[[surface.regret(np.array([u]))[()] < 0.1 for u in inside]]
    drawn = [expected_regret(surface, rng.choice(inside, 4), spread) for _ in range(1000)]
    assert ours < 1.03 * min(drawn)
    assert ours < 0.7 * np.median(drawn)


def test_runs_lie_farther_out_where_noise_is_larger():
    """Noise and misfit are alike at sqrt(noise / (misfit curvature)), which is 1 and 2 here."""
    near, far = (np.median(np.abs(chosen(bowl(noise=noise), high=6.0))) for noise in (0.001, 0.004))
    assert far > 1.2 * near


def test_runs_balance_those_that_are_there():
    below = np.array([[-1.2], [-1.4], [-1.6]])
    assert chosen(bowl(), below, count=1)[0] > 0.5
    assert chosen(bowl(), -below, count=1)[0] < -0.5


def test_a_steep_side_is_sampled_nearer():
    u = chosen(bowl(skew=2.0))
    assert np.median(u[u > 0]) < 0.75 * -np.median(u[u < 0])


def test_runs_stay_inside_and_none_is_repeated():
    there = chosen(bowl(), high=0.3)
    more = chosen(bowl(), there[:, None], high=0.3)
    assert max(*there, *more) <= 0.3
    assert len({*there, *more}) == 16


def test_of_a_noise_that_is_hardly_known_the_upper_quartile_counts():
    """Two degrees of freedom: chi-squared is below 0.575 in a quarter of all cases."""
    hardly = Surface(**{**vars(bowl()), "noise": Noise(0.001, 2.0)})
    assert list(chosen(hardly)) == list(chosen(bowl(noise=0.001 * math.sqrt(2 / 0.5754))))
    assert list(chosen(hardly)) != list(chosen(bowl(noise=0.001)))


EXPERIMENT = make_experiment()


def target(width: int) -> Job:
    return resolve(EXPERIMENT.point(Arm.of("muon", "mup"), DATA, width=width, lr=1.0, weight_decay=0.0))


def records(truth: Truth, width: int = 64, runs: int = 6) -> list[Record]:
    return [run for run in make_records(truth, EXPERIMENT, runs=runs) if run.point["width"] == width]


def test_a_wider_width_starts_about_the_prediction_of_the_narrower():
    """Its first runs lie on both sides of it, nearer than the range goes, and tell of no weight decay where there is nothing."""
    truth = Truth(lr=0.02, noise=0.002)
    points = design(records(truth), target(128), RANGES, 4)
    u = np.log([point["lr"] / truth.best_lr(128) for point in points])
    assert u.min() < -0.3
    assert u.max() > 0.3
    assert np.abs(u).max() < 2.0
    assert all(set(point) == {"lr"} for point in points)


@pytest.mark.parametrize("factor", [2, 8])
@pytest.mark.parametrize("recipe", ["shampoo", "muon"])
def test_a_theory_that_is_wrong_costs_one_batch(recipe, factor):
    """Under sp theory expects 1 / width of Shampoo, and of Muon with Adam that or nothing; here the optimum stays. The first runs
    of a wider cell reach from where theory has it to where it is, and the next lie on both sides of it."""
    width, truth, quiet = 64 * factor, Truth(lr=0.02, curvature=0.01, noise=0.0005), np.random.default_rng(0)
    experiment = make_experiment(widths=[64, width], target_width=2 * width, optimizers=[recipe], parametrizations=["sp"])
    runs = make_records(truth, experiment, recipe=recipe, parametrization="sp", runs=6)
    seen = [run for run in runs if run.point["width"] == 64]

    def job(lr: float) -> Job:
        return resolve(experiment.point(Arm.of(recipe, "sp"), DATA, width=width, lr=lr, weight_decay=truth.wd))

    batches = []
    for _ in range(2):
        lrs = [point["lr"] for point in design(seen, job(1.0), RANGES, 4)]
        losses = [math.exp(truth.ln_loss(width, lr, truth.wd) + truth.noise * quiet.standard_normal()) for lr in lrs]
        seen += [record_of(job(lr), loss) for lr, loss in zip(lrs, losses, strict=True)]
        batches.append(np.log(lrs) - math.log(truth.lr))
    first, second = batches
    assert first.min() < -math.log(factor) and first.max() > -0.5
    assert -2.0 < second[1:].min() < -0.3 and second[1:].max() > 0.3  # the first of them is the nearest run again


def test_a_cell_is_of_all_scales() -> None:
    """Runs of the same width at another horizon are of another cell: what is known there is where this one begins."""
    truth = Truth(lr=0.02, noise=0.002)
    longer = resolve(target(64).point.at(tokens=524_288))
    points = design(records(truth), longer, RANGES, 4)
    u = np.log([point["lr"] / 0.02 for point in points])
    assert u.min() < -0.3 and u.max() > 0.3 and np.abs(u).max() < 2.5
    assert all(set(point) == {"lr"} for point in points)  # none of its own that could be repeated


def test_weight_decay_is_designed_where_it_matters():
    truth = Truth(lr=0.02, wd=2e-3, wd_curvature=0.02, noise=0.001)
    points = design(records(truth, runs=24), target(128), RANGES, 6)
    v = np.log([point["weight_decay"] / truth.wd for point in points])
    assert v.min() < -0.3
    assert v.max() > 0.3


def test_once_the_run_nearest_to_the_optimum_is_repeated():
    truth = Truth(lr=0.02)
    runs = records(truth)
    first, *others = design(runs, target(64), RANGES, 4)
    nearest = min(runs, key=lambda run: abs(math.log(run.point["lr"] / truth.lr)))
    assert first == {name: nearest.point[name] for name in RANGES}
    assert all(set(point) == {"lr"} for point in others)
    repeated = [*runs, *records(truth, runs=6)[:1]]
    assert all(set(point) == {"lr"} for point in design(repeated, target(64), RANGES, 4))


def test_nothing_is_tried_where_runs_diverged():
    truth = Truth(lr=0.02, ceiling=0.05)
    runs = records(truth, runs=10)
    highest = max(run.point["lr"] for run in runs if run.loss is not None)
    lowest = min(run.point["lr"] for run in runs if run.loss is None)
    points = design(runs, target(64), RANGES, 8)
    assert max(point["lr"] for point in points) <= math.sqrt(highest * lowest) * 1.0001


def test_too_few_runs_say_nothing():
    assert Counter(run.point["width"] for run in records(Truth(), runs=3)) == {64: 3}
    assert design(records(Truth(), runs=3), target(128), RANGES, 4) == []
    assert design(records(Truth(ceiling=0.0)), target(128), RANGES, 4) == []


def test_the_same_runs_give_the_same_points():
    runs = records(Truth())
    assert design(runs, target(128), RANGES, 4) == design(runs[::-1], target(128), RANGES, 4)


def test_a_repeat_that_diverged_is_not_asked_for_again():
    truth = Truth(lr=0.02)
    runs = records(truth)
    first, *_ = design(runs, target(64), RANGES, 4)
    nearest = next(run for run in runs if run.point["lr"] == first["lr"])
    lost = record_of(resolve(nearest.point.at(init_seed=7, data_seed=7)), None)
    assert all(set(point) == {"lr"} for point in design([*runs, lost], target(64), RANGES, 4))


def test_a_weight_decay_range_may_begin_at_zero():
    truth = Truth(lr=0.02, wd=2e-3, wd_curvature=0.02, noise=0.001)
    points = design(records(truth, runs=24), target(128), RANGES | {"weight_decay": (0.0, 0.1)}, 6)
    assert all(0 < point["weight_decay"] <= 0.1 for point in points)
