"""Real situations (`tests/cases`) that the fit answers or refuses; lr* = 0.01 (width/128)^-0.15 where nothing else is said."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hptransfer.api import predict
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refused
from hptransfer.cli import perform
from hptransfer.transfer.prediction import Estimate, read_prediction

CASES = Path(__file__).parents[1] / "cases"
AT = {"width": 2048.0}


def reach(interval: Interval) -> float:
    """Half the width of an interval, ln."""
    assert interval.low is not None and interval.high is not None
    return math.log(interval.high / interval.low) / 2


def answer(case: str, options: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``transfer --json`` says of a case."""
    perform("transfer", ["--table", str(CASES / case), *shlex.split(options), "--json"])
    return dict(json.loads(capsys.readouterr().out))


# -- optima without losses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "step"), [("02_three_optima.csv", 2.0), ("02_grid_flat.csv", 2.0)])
def test_optima_that_were_read_off_a_grid_have_half_a_step_of_error(case: str, step: float) -> None:
    found = predict(CASES / case, AT, loss=None)
    assert all(reach(optimum.lr) >= math.log(step) / 2 for optimum in found.optima)
    assert reach(found.lr) >= math.log(step) / 2
    assert found.lr.holds({"02_three_optima.csv": 0.0005, "02_grid_flat.csv": 0.001953125}[case])


def test_a_grid_that_is_not_known_is_said() -> None:
    assert predict(CASES / "02_three_optima.csv", AT, loss=None).notes == ()
    (note,) = predict(CASES / "02_grid_flat.csv", AT, loss=None).notes
    assert "lr" in note and "steps of 2" in note


# -- one cell ----------------------------------------------------------------------------------------------------------


def test_of_one_width_the_optimum_is_told_and_no_prediction_made(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer("21_one_width.csv", "--group optimizer --at width=2048", capsys)
    (adamw,) = found["predictions"]
    assert adamw["name"] == "adamw" and "muon" in found["refused"]
    (own,) = found["refused"]["muon"]["optima"]
    assert 0.0085 < own["best"]["lr"]["low"] < own["best"]["lr"]["high"] < 0.0115
    assert "second" in found["refused"]["muon"]["text"]


def test_of_one_scale_each_group_has_its_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--group attention --scale d_model --hp lr_mult --loss macro_loss"
    for target in ("", " --at d_model=2048"):
        found = answer("26_marin7381.csv", options + target, capsys)
        told = found["refused"] if target else {one["name"]: one for one in found["predictions"]}
        assert set(told) == {"GQA", "MLA"} and bool(found["predictions"]) != bool(target)
        for one in told.values():
            (optimum,) = one["optima"]
            best = Interval(**optimum["best"]["lr_mult"])
            assert best.holds(0.95) and reach(best) < 0.15
    assert all(not one["drifts"] for one in answer("26_marin7381.csv", options, capsys)["predictions"])


def test_two_hyperparameters_of_one_width_whose_best_is_on_the_edge() -> None:
    runs = pl.read_csv(CASES / "03_nanochat644.csv").filter(pl.col("wd") > 0)
    with pytest.raises(Refused) as caught:
        predict(runs, hp=("lr", "wd"), loss="val_loss")
    assert caught.value.refusal.code == "upper_edge"


def test_two_hyperparameters() -> None:
    runs = pl.read_csv(CASES / "03_wd_zero.csv").filter(pl.col("weight_decay") > 0)
    found = predict(runs, AT, hp=("lr", "weight_decay"))
    assert found.lr.holds(0.0066) and reach(found.lr) < 0.3
    assert found.hyperparameters["weight_decay"].value == pytest.approx(0.12, rel=0.1)


# -- the edge of stability ---------------------------------------------------------------------------------------------

EDGES = {128: (0.0110485, 0.015625), 256: (0.0078125, 0.0110485), 512: (0.0055243, 0.0078125)}  # last finished, first diverged


def test_an_optimum_next_to_the_first_lr_that_diverged_is_bounded_by_it() -> None:
    found = predict(CASES / "24_edge_of_stability.csv", AT)
    for optimum in found.optima:
        low, high = EDGES[int(optimum.width)]
        assert optimum.lr.low is not None and optimum.lr.high is not None
        assert low < optimum.lr.low < optimum.lr.value < optimum.lr.high < high
        (note,) = [note for note in found.notes if note.startswith(optimum.cell)]
        assert "bounded by divergence" in note and f"{high:.4g}" in note
    # Stability ends where width^-.5 has it; what is predicted keeps below.
    edge = 0.0078125 * 4**-0.5
    assert found.lr.low is not None and edge / 2 < found.lr.low <= found.lr.value < edge
    assert found.lr.holds(edge * 2**-0.25)
    assert found.hold_out is not None and found.hold_out.regret < 0.01


def test_where_the_sweep_has_a_gap_below_the_first_lr_that_diverged_runs_in_between_are_asked_for() -> None:
    ends = [pl.col("lr").is_between(low * 0.99, high * 0.99) & (pl.col("width") == width) for width, (low, high) in EDGES.items()]
    runs = pl.read_csv(CASES / "24_edge_of_stability.csv").filter(~ends[0], ~ends[1], ~ends[2])
    with pytest.raises(Refused) as caught:
        predict(runs, AT)
    assert caught.value.refusal.code == "divergence_bounds" and "add runs in between" in caught.value.refusal.text


def test_an_optimum_on_the_edge_of_one_width_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        predict(CASES / "17_edge_one.csv", AT)
    assert caught.value.refusal.code == "lower_edge" and "width 512" in caught.value.refusal.text


def test_a_width_that_diverged_everywhere_is_left_out_and_said() -> None:
    found = predict(CASES / "24_all_diverged_width.csv", AT)
    assert [optimum.width for optimum in found.optima] == [128, 256]
    assert any("width 512" in note for note in found.notes)


# -- what stands beside, and how wide the interval is ------------------------------------------------------------------


@pytest.mark.parametrize("case", ["plain.csv", "18_nonmonotone.csv", "24_all_diverged_width.csv"])
def test_the_largest_cell_is_held_out_beside_the_simple_rules(case: str) -> None:
    held = predict(CASES / case, AT).hold_out
    assert held is not None and set(held.simple) == {"base", "last", "powerlaw"}
    assert all(math.isfinite(regret) and regret >= 0 for regret in held.simple.values())


def test_scatter_widens_the_interval() -> None:
    clean, scattered = predict(CASES / "plain.csv", AT).lr, predict(CASES / "18_nonmonotone.csv", AT).lr
    assert clean.holds(0.0066) and reach(clean) < 0.3
    assert reach(scattered) > 3 * reach(clean)


def scattered(seed: int, scatter: float) -> tuple[pl.DataFrame, float]:
    """A sweep over widths 128 to 1024 whose optima scatter about a line, ln, and the best LR of 4096."""
    rng = np.random.default_rng(seed)
    widths = np.array([128, 256, 512, 1024, 4096.0])
    optimum = math.log(0.01) - 0.2 * np.log(widths / widths[0]) + scatter * rng.standard_normal(5)
    rows = []
    for i in range(4):
        for lr in 2.0 ** -np.arange(3, 12):
            bowl = 1 + 0.0075 * ((math.log(lr) - optimum[i]) / math.log(2)) ** 2
            loss = (3 + 2 * (widths[i] / 128) ** -0.5) * bowl * (1 + 0.0005 * rng.standard_normal())
            rows.append({"width": widths[i], "lr": lr, "loss": loss})
    return pl.DataFrame(rows), math.exp(optimum[4])


@pytest.mark.slow
@pytest.mark.parametrize("scatter", [0.0, 0.1, 0.3, 0.5])
def test_intervals_hold_however_much_optima_scatter(scatter: float) -> None:
    """40 worlds each: 80 % is 32, and 28 to 37 of them is what chance leaves. Optima on a line leave it narrow."""
    held, reaches = 0, []
    for seed in range(40):
        frame, truth = scattered(seed, scatter)
        lr: Estimate = predict(frame, {"width": 4096.0}).lr
        held += lr.holds(truth)
        reaches.append(reach(lr))
    if scatter:
        assert 28 <= held <= 37
    else:
        assert held >= 28 and np.median(reaches) <= 0.27


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["--at width=nan", "--at width=inf", "--width 0", "--width -3"])
def test_a_target_that_is_no_size_is_one_line(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        perform("transfer", ["--table", str(CASES / "plain.csv"), *options.split()])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "width" in said and said.count("\n") == 1


def test_a_target_far_below_the_runs_is_refused_and_the_optima_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    refused = answer("plain.csv", "--at width=1", capsys)["refused"]["all"]
    assert refused["code"] == "precondition" and "128x" in refused["text"]
    assert [optimum["scales"]["width"] for optimum in refused["optima"]] == [128, 256, 512]


def test_what_comes_next_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my lr.json"
    assert perform("transfer", ["--table", str(CASES / "plain.csv"), "--at", "width=2048", "--output", str(file)]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next:")]
    assert perform("export", [*shlex.split(line)[3:], "--output", str(tmp_path / "out")]) == 0
    assert read_prediction(file).lr.holds(0.0066)
