"""What is drawn, what is not, and what is said in its place."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import altair as alt
import polars as pl
import pytest
from report.factory import (
    at_constant_lr,
    edited,
    experiment,
    lost,
    results,
    validated,
    with_records,
    with_validation,
    with_winner,
)
from report.pages import document_of, encoding, figures, layers, rows, section

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment.membership import Members
from hptransfer.optimizers import get_recipe
from hptransfer.report.charts import log_ticks
from hptransfer.report.figures import (
    CELL_RUNS,
    METHODS,
    ROWS,
    RUN_KINDS,
    compute_figures,
    lr_figures,
    optimum_figures,
    saving_figures,
    training_figures,
)
from hptransfer.report.frames import Frames, all_frames
from hptransfer.transfer.prediction import Bowl
from hptransfer.validate.result import AXES, Multiplier, Speedup
from hptransfer.validate.results import Results

MUON = "muon"
FULL = {
    *(f"{name}-{arm}" for name in ("lr-curves", "weight-decay", "optimum-against-width") for arm in ("adamw", MUON)),
    *("coordinate-check", "regret-learning-rate", "regret-weight-decay", "perturbations", "transfers", "loss-against-compute"),
    *("compute-multiplier", "multiplier-over-scale", "training-by-tokens", "training-by-wall-clock"),
}
OF_THE_TEST = {"regret-learning-rate", "regret-weight-decay", "perturbations", "transfers"}


@pytest.fixture
def made(full: Results) -> Frames:
    """The frames of Muon."""
    return {name: frame.filter(arm=MUON) for name, frame in all_frames(full).items()}


def titles(node: Any) -> Iterator[str]:
    """Every title in a specification, at any depth."""
    if isinstance(node, dict):
        yield from (str(value) for key, value in node.items() if key == "title" and value)
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from titles(value)


# -- all charts --------------------------------------------------------------------------------------------------------


def test_every_chart_is_clean(full: Results) -> None:
    """One data set without nulls, of five digits; a legend that filters, tooltips, titles without code; an arm has one colour."""
    found = figures(full)
    assert set(found) == FULL
    for name, figure in found.items():
        spec, values = figure.spec, [value for row in rows(figure) for value in row.values()]
        assert None not in values, name
        numbers = [value for value in values if isinstance(value, float) and value]
        assert numbers and all(math.isclose(one, float(f"{one:.4e}"), rel_tol=1e-12) for one in numbers), name
        assert any(param.get("bind") == "legend" for layer in (spec, *spec["layer"]) for param in layer.get("params", [])), name
        assert any("tooltip" in layer["encoding"] for layer in spec["layer"]), name
        for axis in ("x", "y"):
            assert encoding(figure, axis).get("title") or encoding(figure, axis)["type"] == "nominal", (name, axis)
        assert [title for title in titles(spec["layer"]) if "_" in title] == [], name
        colours = dict(zip(*(encoding(figure, "color")["scale"][part] for part in ("domain", "range")), strict=True))
        assert colours.get(MUON, get_recipe(MUON).colour) == get_recipe(MUON).colour, name


def _one_run(full: Results) -> Results:
    first = next(record for record in full.searched(MUON) if record.loss is not None)
    return replace(with_records(full, [first]), predictions={}, validations={})


def _no_interval(full: Results) -> Results:
    told = full.predictions[MUON]
    lr = told.lr.model_copy(update={"low": None, "high": None})
    best = {"lr": Interval(value=lr.value, low=None, high=None)}
    optima = tuple(optimum.model_copy(update={"best": best}) for optimum in told.optima[:1])
    flat = {"optima": optima, "bowl": Bowl(curvature=0.0, skew=1.0), "noise": 0.0}
    numbers = {"hyperparameters": told.hyperparameters | {"lr": lr}}
    return replace(full, predictions={MUON: told.model_copy(update=flat | numbers)}, validations={})


def _all_diverged(full: Results) -> Results:
    found = with_validation(full, runs=lost(full, lambda run: True))
    return replace(found, validations={MUON: found.validations[MUON]})


def _bound_only(full: Results) -> Results:
    bound = Multiplier(value=0.8, low=None, high=None, bracketed=False, bound="<")
    speedup = Speedup(compute_multiplier={"flops": bound}, law=None, within_run=None, sizes=(), trend=None)
    return with_validation(full, speedup=speedup)


@pytest.mark.parametrize(
    ("make", "drawn"),
    [
        (lambda full: full, FULL),
        (lambda full: with_winner(full)[0], FULL),
        (_one_run, {"coordinate-check", "lr-curves-muon", "loss-against-compute"}),
        (_all_diverged, FULL - {"regret-learning-rate", "regret-weight-decay"}),
        (_no_interval, FULL - OF_THE_TEST - {"weight-decay-adamw", "optimum-against-width-adamw"}
         - {"compute-multiplier", "multiplier-over-scale"}),
        (_bound_only, FULL - {"multiplier-over-scale"}),
    ],
)  # fmt: skip
def test_little_or_odd_results_draw_valid_charts_without_nan(
    full: Results, make: Callable[[Results], Results], drawn: set[str]
) -> None:
    shown = figures(make(full))
    assert set(shown) == drawn
    for name, figure in shown.items():
        alt.LayerChart.from_dict(figure.spec, validate=True)  # a report does not: it takes a third of its time
        svg = figure.svg
        assert svg.startswith("<svg") and figure.title in svg, name
        assert not any(word in svg for word in ("NaN", "undefined", "Infinity")), name


def test_thousands_of_runs_make_a_small_chart(made: Frames) -> None:
    one = made["lr_curves"].filter(state="complete")
    many = pl.concat([one] * (5000 // len(one) + 1)).head(5000)
    (figure,) = lr_figures(made | {"lr_curves": many})
    drawn, cells = [row for row in rows(figure) if "run_id" in row], many["cell"].n_unique()
    assert len(drawn) == CELL_RUNS * cells < 5000 and f"{len(drawn):,} of 5,000 runs are drawn" in figure.note
    assert len(json.dumps(figure.spec)) < 200 * len(drawn)
    for cell, runs in many.partition_by("cell", as_dict=True).items():
        lowest = runs.sort("loss").head(CELL_RUNS // 2)["loss"].max()
        assert sum(row["cell"] == cell[0] and row["loss"] <= lowest * 1.0001 for row in drawn) >= CELL_RUNS // 2


# -- the search --------------------------------------------------------------------------------------------------------


def test_lr_curves_mark_minima_basins_the_prediction_and_what_does_not_fit(full: Results, made: Frames) -> None:
    figure = figures(full)["lr-curves-muon"]
    looks, top = Counter(row["look"] for row in rows(figure)), encoding(figure, "y")["scale"]["domain"][1]
    assert (looks["diamond"], looks["basin"], looks["prediction"], looks["diverged"]) == (3, 3, 1, 3)
    assert looks["above"] and all(row["loss"] > top for row in rows(figure, "above"))
    assert all(row["loss"] <= top for row in rows(figure, "dot"))
    assert sum("run_id" in row for row in rows(figure)) == len(made["lr_curves"])
    places = [layer["encoding"]["y"]["value"] for look in ("diverged", "above") for layer in layers(figure, look)]
    assert places == sorted(places) and len(set(places)) == 2
    assert encoding(figure, "x")["scale"]["type"] == "log" and "base coordinates" in encoding(figure, "x")["title"]
    assert encoding(figure, "color")["scale"]["range"][-1] == get_recipe(MUON).colour.lower()


def test_runs_at_another_ratio_are_faint_and_without_a_prediction_there_are_runs_alone(made: Frames, unfinished: Results) -> None:
    curves = made["lr_curves"].with_columns(is_at_ratio=pl.col("width") > 32)
    (figure,) = lr_figures(made | {"lr_curves": curves})
    assert {row["cell"] for row in rows(figure, "faint")} == {"width 32"}
    assert {row["cell"] for row in rows(figure, "dot")} == {"width 64", "width 128"}
    looks = {row["look"] for row in rows(figures(unfinished)["lr-curves-muon"])}
    assert looks == {"dot", "diamond", "above", "diverged"}


def test_weight_decay_shows_excess_in_percent_over_the_band_of_the_noise(full: Results, made: Frames) -> None:
    figure = figures(full)["weight-decay-muon"]
    assert [(row["low"], row["high"]) for row in rows(figure, "band")] == [(0, pytest.approx(0.2))]
    shown = [row["above"] for row in rows(figure) if "run_id" in row]
    assert max(shown) == pytest.approx(100 * made["weight_decay_curves"]["excess"].max(), rel=1e-4)
    assert "%" in encoding(figure, "y")["title"]
    assert len(rows(figure, "diamond")) == 3 and [row["weight_decay"] for row in rows(figure, "prediction")] == [0.001]
    assert "not identified, rule used" in figure.note


def test_one_weight_decay_is_no_curve_and_that_is_said(full: Results) -> None:
    found = section(with_records(full, (r for r in full.records if r.point["weight_decay"] == 0.001)), "weight-decay")
    assert found.figures == found.missing == () and [remark.partition(":")[0] for remark in found.remarks] == ["adamw", MUON]


def test_the_optimum_has_a_band_two_lines_and_an_open_end_that_reaches_the_edge(made: Frames) -> None:
    is_first = (pl.col("kind") == "optimum") & (pl.col("width") == 32)
    frame = made["optimum_against_width"].with_columns(low=pl.when(~is_first).then("low"))
    (figure,) = optimum_figures(frame, [[MUON]], "width")
    assert {row["look"]: row["kind"] for row in rows(figure)} == {
        **{"area": "fit", "line": "fit", "dashed": "theory"},
        **{"point": "optimum", "diamond": "prediction"},
    }
    assert encoding(figure, "x")["axis"]["values"] == [32, 64, 128, 256]
    edge, (first, second, _) = encoding(figure, "y")["scale"]["domain"][0], rows(figure, "point")
    assert first["low"] == pytest.approx(edge, rel=1e-4) and second["low"] > 1.1 * edge


# -- the tests ---------------------------------------------------------------------------------------------------------


def test_the_coordinate_check_names_its_conditions_and_what_fails(full: Results) -> None:
    figure = figures(full)["coordinate-check"]
    for said in (
        "width 32, 64 and 128 (base 32)",
        "3 seeds",
        "stdlib",
        "adamw 0.00200 and muon 0.00500",
        "muon fails: hidden",
    ):
        assert said in figure.note
    assert [(row["low"], row["high"]) for row in rows(figure, "band")] == [(-0.08, 0.08)]
    assert {row["where"] for row in rows(figure, "aside")} == {f"{role}, t = 50" for role in ("embedding", "hidden", "readout")}
    low, high = encoding(figure, "x")["scale"]["domain"]
    assert low < -0.12 and high > 0.12
    found = section(replace(full, coordinate_checks={"adamw": full.coordinate_checks["adamw"]}), "coordinates")
    assert len(found.figures) == 1 and MUON in found.missing[0].sentence
    assert found.missing[0].command == "hptransfer coordcheck --experiment sample --optimizer muon"


def test_regret_is_on_a_log_axis_of_factors(full: Results) -> None:
    figure = figures(full)["regret-learning-rate"]
    assert encoding(figure, "x")["scale"]["type"] == "log"
    assert encoding(figure, "x")["axis"]["values"] == pytest.approx([0.5, 0.707, 1, 1.414, 2])
    assert {row["title"] for row in rows(figure, "diamond")} == {"predicted"}
    assert {row["title"] for row in rows(figure, "point")} == {"LR / 2", "LR / 1.4", "1.4x LR", "2x LR"}


def test_diverged_probes_are_shown_as_such(full: Results) -> None:
    found = figures(with_validation(full, runs=lost(full, lambda run: run.factor == 2.0)))
    assert [(row["title"], "over" in row) for row in rows(found["regret-learning-rate"], "diverged")] == [("2x LR", False)]
    (cross,) = layers(found["regret-learning-rate"], "diverged")
    assert cross["encoding"]["y"]["value"] < 10
    crosses = rows(found["perturbations"], "diverged")
    assert {row["title"] for row in crosses} == {"2x LR", "2x WD"} and not any("percent" in row for row in crosses)
    assert "diverged</text>" in found["perturbations"].svg


def test_nothing_is_drawn_against_a_prediction_of_which_one_seed_diverged(full: Results) -> None:
    first, *others = full.validations[MUON].runs
    half = first.model_copy(update={"losses": (first.losses[0], None), "loss": None, "standard_error": None})
    found = with_validation(full, runs=(half, *others), regret=None)
    shown = section(found, "held-out")
    assert len(shown.remarks) == 1 and shown.remarks[0].startswith("muon: its predicted run diverged")
    drawn = {figure.name: figure for figure in shown.figures}
    assert set(drawn) == OF_THE_TEST  # of AdamW
    crosses = rows(drawn["regret-learning-rate"], "diverged")
    assert [row["title"] for row in crosses if row["arm"] == MUON and row["title"] == "predicted"] == ["predicted"]
    assert not any("over" in row for row in crosses)
    assert {row["arm"] for name in ("perturbations", "transfers") for row in rows(drawn[name])} == {"adamw"}
    alone = section(replace(found, validations={MUON: found.validations[MUON]}), "held-out")
    assert alone.figures == alone.missing == () and alone.remarks == shown.remarks


def test_perturbations_and_transfers_are_bars_in_percent(full: Results, made: Frames) -> None:
    found = figures(full)
    assert encoding(found["perturbations"], "y")["sort"] == ["2x LR", "1.4x LR", "LR / 1.4", "LR / 2", "2x WD", "WD / 2"]
    changes = {(row["arm"], row["title"]): row["percent"] for row in rows(found["perturbations"], "bar")}
    expected = made["perturbations"].filter(title="2x LR")["change"][0]
    assert changes[MUON, "2x LR"] == pytest.approx(100 * expected, rel=1e-4)
    assert {row["title"] for row in rows(found["transfers"])} == {"muP alone", "same hyperparameters"}


# -- compute -----------------------------------------------------------------------------------------------------------


def test_loss_against_compute_has_the_ladder_as_a_line_of_its_own(full: Results) -> None:
    figure, frame = figures(full)["loss-against-compute"], all_frames(full)["loss_against_compute"]
    rungs = rows(figure, "dotted")
    assert {row["arm"] for row in rungs} == {"adamw"}
    assert [row["tokens"] for row in rungs] == [1_048_576, 2_097_152, 4_194_304, 8_388_608]
    assert [row["run"] == RUN_KINDS["predicted"] for row in rungs] == [False, True, False, False]
    assert {row["run"] for row in rows(figure, "diamond")} == {RUN_KINDS["predicted"]}
    assert "optimizer" in encoding(figure, "x")["title"] and "TFLOP" in encoding(figure, "x")["title"]
    assert encoding(figure, "x")["scale"]["type"] == encoding(figure, "y")["scale"]["type"] == "log"
    assert max(row["spent"] for row in rows(figure)) == pytest.approx(frame["compute"].max() / 1e12, rel=1e-4)
    won = figures(with_winner(full)[0])["loss-against-compute"]  # the prediction that lost lies beside the line
    assert Counter(row["run"] for row in rows(won, "dotted")) == {RUN_KINDS["horizon"]: 3, RUN_KINDS["chosen"]: 1}
    assert won.note.replace(figure.note, "") != ""


def test_losses_at_a_constant_learning_rate_are_not_called_annealed(full: Results) -> None:
    flat = edited(full, lambda run: at_constant_lr(run) if run.point.settings["optimizer"] == MUON else run)
    for name in ("loss-against-compute", "training-by-tokens"):
        before, after = figures(full)[name].note, figures(flat)[name].note
        assert "not" not in before and after.endswith("muon.") and "not annealed" in after and "adamw" not in after


def test_multipliers_point_where_only_a_bound_is_known(made: Frames) -> None:
    under = pl.when(pl.col("axis") == "tokens", pl.col("method") == "ladder").then(pl.lit("<")).otherwise("bound")
    figure, _ = saving_figures(made["multipliers"].with_columns(bound=under), made["multiplier_over_scale"])
    assert {row["run"] for row in rows(figure, "right")} == {AXES["wall_clock"], ROWS["tokens", "within_run"]}
    assert [row["run"] for row in rows(figure, "left")] == [AXES["tokens"]]
    for look, mark in (("right", "triangle-right"), ("left", "triangle-left")):
        assert layers(figure, look)[-1]["mark"]["shape"] == mark
    assert {row["run"] for row in rows(figure, "point")} == {AXES["flops"], AXES["flops_with_optimizer"], ROWS["flops", "law"]}
    assert len(encoding(figure, "y")["sort"]) == 6  # the bounds and the law in rows of their own
    assert "p_value_" in {tip["field"] for tip in layers(figure, "point")[-1]["encoding"]["tooltip"]}


def test_the_multiplier_over_scale_is_hollow_where_extrapolated_and_no_line_goes_through_bounds(made: Frames) -> None:
    _, figure = saving_figures(made["multipliers"], made["multiplier_over_scale"])
    assert [(row["width"], row["run"]) for row in rows(figure, "hollow")] == [(256, METHODS["sizes"])]
    assert [(row["width"], row["value"]) for row in rows(figure, "diamond")] == [(256, 1.56)]
    smallest = pl.when(pl.col("width") == 32, pl.col("method") == "sizes").then(pl.lit(">")).otherwise("bound")
    _, bounded = saving_figures(made["multipliers"], made["multiplier_over_scale"].with_columns(bound=smallest))
    assert [row["width"] for row in rows(bounded, "up")] == [32] and layers(bounded, "up")[-1]["mark"]["shape"] == "triangle-up"
    assert [row["width"] for row in rows(bounded, "between")] == [64, 128, 256]
    assert 32 not in {row["width"] for row in rows(bounded, "point") + rows(bounded, "hollow")}


def test_training_curves_name_their_unit_are_thinned_and_keep_their_ends(made: Frames) -> None:
    one = made["training_curves"].filter(run_id=made["training_curves"]["run_id"][0])
    long = pl.concat([one.filter(~pl.col("is_final"))] * 100 + [one.filter("is_final")])
    assert len(long) > 1000
    for figure, unit in zip(training_figures(long), ("tokens", "seconds"), strict=True):
        assert unit in encoding(figure, "x")["title"]
        assert 75 <= len(rows(figure, "curve")) <= 151 and len(rows(figure, "point")) == 1
        assert rows(figure, "curve")[-1]["loss"] == rows(figure, "point")[0]["loss"]


# -- nothing to show ---------------------------------------------------------------------------------------------------


def test_an_empty_experiment_says_in_every_section_what_is_missing(full: Results) -> None:
    empty = document_of(replace(full, members=Members(), predictions={}, validations={}, coordinate_checks={}))
    assert empty.figures == ()
    commands = {one.anchor: [missing.command.split()[1] for missing in one.missing] for one in empty.sections if one.missing}
    stages = ("search", "transfer", "transfer", "coordcheck", "validate", "search", "validate", "validate")
    parts = ("learning-rate", "weight-decay", "width", "coordinates", "held-out", "compute", "multiplier", "training")
    assert commands == {part: [stage] for part, stage in zip(parts, stages, strict=True)}


def test_a_refusal_stands_where_the_multiplier_would(full: Results) -> None:
    refusal = Refusal.of("unequal_budgets", budgets="9 and 8")
    found = section(replace(full, validations={MUON: validated(full.experiment, MUON, refusal=refusal)[0]}), "multiplier")
    assert (found.figures, found.missing, found.remarks) == ((), (), (f"muon: {refusal.text}",))


def test_two_parametrizations_of_an_optimizer_are_told_apart() -> None:
    frame = all_frames(results(experiment((MUON,)), tested=False))["loss_against_compute"]
    (figure,) = compute_figures(pl.concat([frame, frame.with_columns(arm=pl.lit("muon-sp"), parametrization=pl.lit("sp"))]))
    assert encoding(figure, "color")["scale"]["domain"] == [MUON, "muon-sp"]
    (point,) = layers(figure, "point")
    assert len(set(point["encoding"]["shape"]["scale"]["range"])) == 2


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0008, 0.05, [0.001, 0.003, 0.01, 0.03]),
        (0.004, 0.012, [0.004, 0.006, 0.008, 0.01]),
        (1e-6, 1, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]),
        (1.47, 2.01, [1.5, 1.6, 1.7, 1.8, 1.9, 2.0]),
        (2.051, 2.069, [2.055, 2.06, 2.065]),
    ],
)
def test_log_ticks_are_round_and_inside(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks
