"""The simple rules and the regret, on cells whose answer can be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hptransfer.backtest.evaluate import HeldOut, calibration, evaluate, pooled
from hptransfer.backtest.regret import Regret, interpolated_regret
from hptransfer.transfer.cost import LOST
from hptransfer.transfer.forecast import fit_sweep
from hptransfer.transfer.simple import RULES, base, last, powerlaw, vertex
from hptransfer.transfer.sweep import Sweep, gather

GRID = np.linspace(-2, 2, 9)


def parabolas(centres: list[float], grid: np.ndarray = GRID) -> Sweep:
    """Cells at ln scale 0, 1, 2, ... with loss 2 + (h - centre)^2 / 100."""
    x = np.repeat(np.arange(len(centres), dtype=float), len(grid))
    h = np.tile(grid, len(centres))
    return gather(["width"], ["lr"], x[:, None], h[:, None], 2 + (h - np.array(centres)[x.astype(int)]) ** 2 / 100)[0]


def test_base_and_last_keep_a_best_run() -> None:
    sweep = parabolas([1.1, 0.4, -0.6])
    assert base(sweep, np.array([5.0])) == pytest.approx([1.0])
    assert last(sweep, np.array([5.0])) == pytest.approx([-0.5])


def test_vertex_and_line_are_exact_on_parabolas() -> None:
    sweep = parabolas([1.1, 0.4, -0.3])
    assert vertex(sweep, 0) == pytest.approx([1.1])
    assert powerlaw(sweep, np.array([3.0])) == pytest.approx([-1.0])


def test_vertex_at_the_end_of_the_grid_is_the_best_run() -> None:
    assert vertex(parabolas([5.0]), 0) == pytest.approx([2.0])


def test_regret_is_the_interpolation_over_the_minimum() -> None:
    sweep = parabolas([0.0])
    assert interpolated_regret(sweep, 0, np.array([0.0])) == Regret(0.0, edge=False, diverged=False)
    assert interpolated_regret(sweep, 0, np.array([1.0])).value == pytest.approx(0.01 / 2)
    between = interpolated_regret(sweep, 0, np.array([0.75])).value
    assert interpolated_regret(sweep, 0, np.array([0.5])).value < between < interpolated_regret(sweep, 0, np.array([1.0])).value


def test_regret_never_falls_below_the_points() -> None:
    """A cubic spline would: the point at 0 is a spike down between flat neighbours."""
    loss = np.array([2.2, 2.2, 2.0, 2.2, 2.2])
    sweep, _ = gather(["width"], ["lr"], np.zeros((5, 1)), np.arange(5.0)[:, None], loss)
    assert min(interpolated_regret(sweep, 0, np.array([at])).value for at in np.linspace(0, 4, 81)) >= 0


def test_beyond_the_range_counts_at_the_edge_and_is_flagged() -> None:
    assert interpolated_regret(parabolas([0.0]), 0, np.array([9.0])) == Regret(pytest.approx(0.02), edge=True, diverged=False)


def test_replicates_count_by_their_mean() -> None:
    h = np.array([-1.0, 0.0, 0.0, 1.0])
    sweep, _ = gather(["width"], ["lr"], np.zeros((4, 1)), h[:, None], np.array([2.2, 2.0, 2.1, 2.2]))
    assert interpolated_regret(sweep, 0, np.array([1.0])).value == pytest.approx(2.2 / 2.05 - 1)


@pytest.mark.parametrize("scattered", [False, True])
def test_regret_in_two_dimensions(scattered: bool) -> None:
    rng = np.random.default_rng(0)
    h = rng.uniform(-1, 1, (400, 2)) if scattered else np.array([(a, b) for a in GRID / 2 for b in GRID[::2] / 2])
    loss = 2 + 0.1 * (h**2).sum(axis=1)
    sweep, _ = gather(["N"], ["lr", "bs"], np.zeros((len(h), 1)), h, loss)
    expected = (2 + 0.1 * (0.3**2 + 0.4**2)) / loss.min() - 1
    assert interpolated_regret(sweep, 0, np.array([0.3, -0.4])).value == pytest.approx(expected, abs=2e-3)


def test_held_out_cells_are_predicted_and_judged() -> None:
    sweep = parabolas([0.8, 0.4, 0.0, -0.4, -0.8])
    cells = evaluate(fit_sweep(sweep.take([0, 1, 2])), sweep.take([3, 4]), RULES)
    assert [cell.x[0] for cell in cells] == [3.0, 4.0]
    for cell, centre in zip(cells, (-0.4, -0.8), strict=True):
        assert cell.predicted["hptransfer"][0] == pytest.approx(centre, abs=0.1)
        assert cell.own[0] == pytest.approx(centre, abs=0.05)
        assert cell.low[0] < centre < cell.high[0]
    summary = pooled(cells)
    assert summary["hptransfer"]["mean_regret"] < summary["last"]["mean_regret"] < summary["base"]["mean_regret"]
    assert summary["base"] == {
        "mean_regret": pytest.approx(0.0129, abs=1e-3),
        "max_regret": pytest.approx(0.016, rel=0.01),
        "robust_mean_regret": pytest.approx(0.0129, abs=1e-3),
        "robust_max_regret": pytest.approx(0.016, rel=0.01),
        "diverged": 0,
        "cells": 2,
    }


def test_regret_is_among_finished_runs_and_a_prediction_near_a_diverged_one_is_lost() -> None:
    h = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, -1.5])
    loss = np.array([2.2, 2.1, 2.0, math.nan, 9.0, math.nan])  # 9 is no loss of a run that learned; the last was bad luck
    sweep, _ = gather(["width"], ["lr"], np.zeros((6, 1)), h[:, None], loss)
    at = {value: interpolated_regret(sweep, 0, np.array([value])) for value in (-1.4, 0.0, 0.4, 0.6, 2.0, 30.0)}
    assert not at[-1.4].diverged and 0.05 < at[-1.4].value < 0.1
    assert (at[0.4].value, at[0.4].edge, at[0.4].diverged) == (0.0, True, False)
    assert all(at[value].diverged and at[value].robust == LOST for value in (0.6, 2.0, 30.0))
    assert interpolated_regret(sweep, 0, np.array([-2.0])).robust == LOST < interpolated_regret(sweep, 0, np.array([-2.0])).value


def test_in_a_plane_a_diverged_run_bounds_its_own_line() -> None:
    h = np.array([(a, b) for a in (-1.0, 0.0, 1.0) for b in (-2.0, 0.0, 2.0)])
    loss = 2 + 0.1 * (h**2).sum(axis=1)
    loss[(h[:, 0] == 1.0) & (h[:, 1] == -2.0)] = math.nan
    sweep, _ = gather(["N"], ["lr", "bs"], np.zeros((9, 1)), h, loss)
    assert interpolated_regret(sweep, 0, np.array([0.9, -1.8])).diverged
    assert not interpolated_regret(sweep, 0, np.array([0.9, 0.2])).diverged


def test_calibration_counts_known_optima_only_and_scores_a_miss_tenfold() -> None:
    def cell(own: float, sd: float = 0.0) -> HeldOut:
        ends = {"low": np.array([-1.0]), "high": np.array([1.0])}
        predicted = {"hptransfer": np.zeros(1)}
        return HeldOut(x=np.zeros(1), predicted=predicted, regrets={}, own=np.array([own]), own_sd=np.array([sd]), **ends)

    found = calibration([cell(0.5), cell(1.5), cell(math.nan)])
    assert (found["coverage_80"], found["optima"]) == (0.5, 2)
    assert found["interval_score_log2"] == pytest.approx((2 + (2 + 10 * 0.5)) / 2 / math.log(2))
    assert found["error_log2"] == pytest.approx(1 / math.log(2))
    assert calibration([cell(math.nan)])["coverage_80"] is None
    assert calibration([cell(1.5, sd=1.0)])["coverage_80"] == 1.0  # it knows its own optimum no better than that
