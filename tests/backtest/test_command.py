"""``python -m hptransfer.backtest`` as a user meets it, and on public sweeps where they are at hand."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from synthetic import Truth, make_experiment, make_records

from hptransfer.backtest import splits
from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.runs import Store
from hptransfer.transfer.sweep import Sweep

DATA = Path(__file__).parents[3] / "shared" / "data"
public = pytest.mark.skipif(not DATA.is_dir(), reason="the public sweeps are not at hand")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two groups over four widths, one drifting; a diverged run, and a width with too few runs."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for recipe, gamma in (("adamw", -0.5), ("muon", 0.0)):
        for width in (64, 128, 256, 512):
            for step in np.arange(-3, 3.5, 0.5):
                u = step * math.log(2) - gamma * math.log(width / 64)
                loss = 3 * math.exp(0.02 * u**2 + 0.0005 * rng.standard_normal())
                rows.append({"recipe": recipe, "width": width, "log2_lr": step, "loss": loss})
        rows.append({"recipe": recipe, "width": 512, "log2_lr": 4.0, "loss": None})
        rows.append({"recipe": recipe, "width": 1024, "log2_lr": 0.0, "loss": 2.9})
    path = tmp_path / "table.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


REGRET = {"mean_regret", "max_regret", "robust_mean_regret", "robust_max_regret", "diverged", "cells"}


def backtest(path: Path | str, *arguments: str) -> int:
    return perform("backtest", [str(path), "--group", "recipe", "--hp", "log2_lr", *arguments])


def test_json_contract(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(table, "--hold-out", "width > 256", "--json") == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert set(printed["rules"]) == {"base", "last", "powerlaw", "hptransfer"}
    assert all(set(rule) == REGRET for rule in printed["rules"].values())
    assert printed["rules"]["hptransfer"]["cells"] == 2
    assert printed["rules"]["hptransfer"]["mean_regret"] < 0.002 < printed["rules"]["base"]["mean_regret"]
    assert printed["coverage_80"] in (0.5, 1.0) and printed["optima"] == 2
    assert [group["group"] for group in printed["groups"]] == ["adamw", "muon"]
    cell = printed["groups"][0]["cells"][0]
    assert cell["scale"] == {"width": 512}
    assert cell["predicted"]["hptransfer"]["log2_lr"] == pytest.approx(-1.5, abs=0.3)
    assert cell["low"]["log2_lr"] < cell["predicted"]["hptransfer"]["log2_lr"] < cell["high"]["log2_lr"]
    assert set(cell) == {
        *("scale", "predicted", "regret", "outside_range", "diverged", "optimum", "low", "high", "covered", "error_log2")
    }  # fmt: skip
    assert "width 1024: fewer than 3 finished runs" in captured.err


def test_nested_runs_every_split_and_the_default_is_the_largest(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--where", "width < 1000", "--json")
    assert backtest(table, "--nested", *small) == 0
    nested = json.loads(capsys.readouterr().out)
    assert [group["hold_out"] for group in nested["groups"]] == ["width > 128", "width > 256"] * 2
    assert nested["rules"]["last"]["cells"] == 6
    assert backtest(table, *small) == 0
    assert [group["hold_out"] for group in json.loads(capsys.readouterr().out)["groups"]] == ["width > 256"] * 2


def test_a_group_without_a_finished_run_costs_the_others_nothing(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pl.read_csv(table, infer_schema_length=None)
    wrong = frame.filter(pl.col("recipe") == "muon").with_columns(
        pl.lit("wrong").alias("recipe"), pl.lit(None, pl.Float64).alias("loss")
    )
    pl.concat([frame, wrong]).write_csv(table)
    assert backtest(table, "--hold-out", "width > 256", "--json") == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert [group["group"] for group in printed["groups"]] == ["adamw", "muon"]
    assert any(note.startswith("wrong, width > 256") for note in printed["notes"]) and "wrong, width > 256" in captured.err


def test_leave_one_out_predicts_in_between_too(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(table, "--leave-one-out", "width", "--where", "width < 1000", "--json") == 0
    held = [group["hold_out"] for group in json.loads(capsys.readouterr().out)["groups"]]
    assert held == [f"width = {width}" for width in (64, 128, 256, 512)] * 2


def test_a_published_law_is_one_more_rule(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    law = "mine:log2_lr=-0.5*LOG2(width/64)"
    assert backtest(table, "--hold-out", "width > 256", "--where", "recipe = 'adamw'", "--rule", law, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["groups"][0]["cells"][0]["predicted"]["mine"]["log2_lr"] == pytest.approx(-1.5)
    assert printed["rules"]["mine"]["mean_regret"] < 0.002


@pytest.mark.parametrize("horizon", [{"policy": "tokens", "tokens": 131_072}, {"policy": "tpp", "tpp": 2.0}])
def test_the_runs_of_a_store(horizon: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "runs"))
    for record in make_records(Truth(noise=0.001), make_experiment(widths=[64, 128, 256], horizon=horizon)):
        store.add(record)
    assert perform("backtest", ["--store", str(tmp_path / "runs"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["groups"][0]["hold_out"] == "width > 128"
    assert printed["rules"]["hptransfer"]["mean_regret"] < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--hp beta", "unknown column 'beta'"),
        ("--hold-out 'widht > 3'", "widht"),
        ("--hold-out 'width + 3'", "is not true or false"),
        ("--hold-out 'width >'", "expression 'width >'"),
        ("--hold-out 'width > 5000'", "nothing to predict"),
        ("--where 'width > 5000'", "keeps none of the 108 rows"),
        ("--hp log2_lr,width --scale width", "cannot be two things at once"),
        ("--rule x:lr=3", "a formula for each of log2_lr"),
        ("--rule base:log2_lr=3", "'base' is to have a name of its own"),
        ("--rule \"x:log2_lr='abc'\"", "rule 'x': log2_lr='abc' is 'abc', no value of log2_lr"),
        ("--rule x:log2_lr=null", "no value of log2_lr"),
        ("--rule x:log2_lr=1/0", "no value of log2_lr"),
        ("--rule :log2_lr=1", "is not NAME:HP=SQL"),
        ("--rule x:log2_lr=1 --rule x:log2_lr=2", "says again what is said already"),
        ("--rule x:log2_lr=1;log2_lr=2", "says again what is said already"),
        ("--hp ,", "--hp names no column"),
        ("--hp log2_lr,log2_lr", "cannot be two things at once"),
        ("--leave-one-out nothing", "unknown column 'nothing'"),
        ("--group width --scale width", "cannot be two things at once"),
        ("--hp log2_lr --scale log2_lr,width --loss log2_lr", "cannot be two things at once"),
    ],
)
def test_mistakes_are_one_line(table: Path, arguments: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        backtest(table, *shlex.split(arguments))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_or_broken_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        backtest(tmp_path / "none.csv")
    broken = tmp_path / "broken.parquet"
    broken.write_text("no parquet")
    with pytest.raises(UsageError, match=r"broken\.parquet cannot be read"):
        backtest(broken)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert perform("backtest", [*arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


PAPER = (str(DATA / "paper_lr_sweeps.csv"), "--group", "parametrization,optimizer", "--hp", "log2_lr_multiplier")
STEPLAW = (str(DATA / "steplaw_dense.csv"), "--scale", "N,D", "--hp", "lr,bs", "--loss", "smooth_loss")
PUBLISHED = "steplaw:lr=1.79*POW(N,-0.713)*POW(D,0.307);bs=0.58*POW(D,0.571)/2048"  # arXiv 2503.04715, eq. 1; bs in sequences


@public
def test_eight_times_the_width_of_the_papers_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, *PAPER, "--hold-out", "width > 512")["rules"]
    ours = found["hptransfer"]
    assert ours["cells"] == 24
    assert ours["mean_regret"] < min(found[name]["mean_regret"] for name in ("base", "last", "powerlaw"))
    assert ours["mean_regret"] <= 0.0017 and ours["max_regret"] <= 0.009


@public
def test_steplaws_largest_model_from_the_smaller_ones(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, *STEPLAW, "--hold-out", "N > 1e9", "--rule", PUBLISHED)["rules"]
    assert found["hptransfer"]["mean_regret"] < min(found[name]["mean_regret"] for name in found if name != "hptransfer")


@public
@pytest.mark.slow
def test_every_size_of_steplaw_from_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, *STEPLAW, "--leave-one-out", "N", "--rule", PUBLISHED)["rules"]
    assert found["hptransfer"]["mean_regret"] < min(found[name]["mean_regret"] for name in found if name != "hptransfer")


@public
@pytest.mark.slow
def test_intervals_hold_as_often_as_they_say_over_all_nested_splits(capsys: pytest.CaptureFixture[str]) -> None:
    paper, steplaw = run(capsys, *PAPER, "--nested"), run(capsys, *STEPLAW, "--nested")
    optima = paper["optima"] + steplaw["optima"]
    covered = paper["coverage_80"] * paper["optima"] + steplaw["coverage_80"] * steplaw["optima"]
    assert 0.72 <= covered / optima <= 0.88


def test_a_group_that_no_fit_can_take_is_said_and_the_others_are_judged(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As numbers that overflow, in each of its nested parts."""
    odd: list[Sweep] = []
    sweep_of, fit_sweeps = splits._Known._sweep, splits.fit_sweeps

    def sweep(known: Any, name: str, rows: Any) -> Sweep | None:
        found = sweep_of(known, name, rows)
        odd.extend([found] if found and name == "muon" else [])
        return found

    def fit(sweeps: list[Sweep]) -> Any:
        if any(one.ln_loss is other.ln_loss for one in sweeps for other in odd):
            raise OverflowError("math range error")
        return fit_sweeps(sweeps)

    def alone(sweep: Sweep) -> Any:
        raise OverflowError("math range error")

    monkeypatch.setattr(splits._Known, "_sweep", sweep)
    monkeypatch.setattr(splits, "fit_sweeps", fit)
    monkeypatch.setattr(splits, "fit_sweep", alone)
    assert backtest(table, "--nested", "--json") == 0
    captured = capsys.readouterr()
    assert {group["group"] for group in json.loads(captured.out)["groups"]} == {"adamw"}
    assert "muon, " in captured.err and "no fit, OverflowError" in captured.err
