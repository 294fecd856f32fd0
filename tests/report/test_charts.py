from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import pytest
from report.factory import at_constant_lr, edited, experiment, results, validated, with_records

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment.membership import Members
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.report import charts, frames, palette
from hptransfer.report.charts import parts
from hptransfer.report.figures import Figure, Section, sections
from hptransfer.report.results import Results
from hptransfer.report.summary import summarize
from hptransfer.transfer.prediction import Bowl
from hptransfer.validate.result import Multiplier, Speedup

Frames = dict[str, pl.DataFrame]
FAMILIES = (  # recipes that are related, and have related colours
    ("adamw", "schedulefree-adamw", "signum", "sgd"),
    ("muon", "muon-all", "normuon", "adamuon", "sf-normuon"),
    ("shampoo", "shampoo-quarter", "shampoo-quarter-all"),
    ("soap", "soap-all"),
)


RELATED = (
    ("adamw", "schedulefree-adamw", "signum", "sgd"),
    ("muon", "muon-all", "normuon", "adamuon", "sf-normuon"),
    ("shampoo", "shampoo-quarter", "shampoo-quarter-all"),
    ("soap", "soap-all"),
)
COLOURS = {name: get_recipe(name).colour for name in RECIPES.names()}


def data(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The one data set of a chart."""
    (rows,) = spec["datasets"].values()
    return list(rows)


def marks(spec: dict[str, Any]) -> list[str]:
    return [layer["mark"]["type"] for layer in spec["layer"]]


def layer(spec: dict[str, Any], mark: str, filtered: str) -> dict[str, Any]:
    """The one layer with that mark whose filters contain ``filtered``."""
    (found,) = (
        one
        for one in spec["layer"]
        if one["mark"]["type"] == mark and any(filtered in str(step.get("filter")) for step in one["transform"])
    )
    return dict(found)


def encodings(spec: dict[str, Any], channel: str) -> list[dict[str, Any]]:
    return [one["encoding"][channel] for one in spec["layer"] if channel in one["encoding"]]


def scale(spec: dict[str, Any], channel: str) -> dict[Any, Any]:
    """Value to mark or colour, of the first layer that says so."""
    found = next(e["scale"] for e in encodings(spec, channel) if "scale" in e)
    return dict(zip(found["domain"], map(str, found["range"]), strict=True))


def selections(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [param for one in [spec, *spec["layer"]] for param in one.get("params", []) if "select" in param]


def make(results: Results) -> Frames:
    return {name: build(results) for name, build in frames.FRAMES.items()}


def evidence(results: Results) -> tuple[Section, ...]:
    return sections(make(results), summarize(results), " --experiment sample")


def section(results: Results, anchor: str) -> Section:
    return next(one for one in evidence(results) if one.anchor == anchor)


def figures(results: Results) -> dict[str, Figure]:
    return {figure.name: figure for one in evidence(results) for figure in one.figures}


def words(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a specification, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from words(value)
    elif isinstance(node, list):
        for value in node:
            yield from words(value)


@pytest.fixture
def made(full: Results) -> Frames:
    return make(full)


def of(frame: pl.DataFrame, optimizer: str) -> pl.DataFrame:
    return frame.filter(pl.col("optimizer") == optimizer)


def drawn(chart: charts.Chart) -> dict[str, Any]:
    """A chart's specification, as a report has it."""
    return Figure("one", "One", "", chart).spec()


# ------------------------------------------------------------------ all charts


def test_every_specification_is_valid(full: Results) -> None:
    """A figure does not check the whole of it again: it takes a third of the time of a report."""
    for figure in figures(full).values():
        figure.chart.to_dict(validate=True)


def test_the_figures_stand_in_reading_order(full: Results) -> None:
    assert list(figures(full)) == [
        *("lr-curves-adamw", "lr-curves-muon"),
        *("weight-decay-adamw", "weight-decay-muon"),
        *("optimum-against-width-adamw", "optimum-against-width-muon"),
        "coordinate-check",
        *("regret-learning-rate", "regret-weight-decay", "perturbations", "transfers"),
        "loss-against-compute",
        *("compute-multiplier", "multiplier-over-scale"),
        *("training-by-tokens", "training-by-wall-clock"),
    ]


def test_every_chart_has_one_data_set_of_its_own_columns_a_legend_filter_and_tooltips(full: Results) -> None:
    for name, figure in figures(full).items():
        spec = figure.spec()
        rows = data(spec)
        used = json.dumps(spec["layer"])
        for column in {column for row in rows for column in row}:
            assert f'"{column}"' in used or f"datum.{column}" in used, (name, column)
        assert any(param.get("bind") == "legend" for param in selections(spec)), name
        assert any("tooltip" in one["encoding"] for one in spec["layer"]), name
        assert all(value is not None for row in rows for value in row.values()), name


def test_numbers_in_charts_have_five_significant_digits(full: Results) -> None:
    for name, figure in figures(full).items():
        for row in data(figure.spec()):
            for value in row.values():
                if isinstance(value, float) and value:
                    assert math.isclose(value, float(f"{value:.4e}"), rel_tol=1e-12), (name, value)


def test_every_axis_is_titled_or_names_its_rows(full: Results) -> None:
    for name, figure in figures(full).items():
        spec = figure.spec()
        for axis in ("x", "y"):
            described = [e for e in encodings(spec, axis) if "axis" in e or "title" in e]
            assert described, name
            for encoding in described:
                assert encoding.get("title") or encoding["type"] == "nominal", (name, axis)


def test_text_of_charts_does_not_need_the_code(full: Results) -> None:
    for name, figure in figures(full).items():
        for key, value in words(figure.spec()["layer"]):
            if key == "title" and value is not None:
                assert "_" not in str(value), (name, value)


def test_an_optimizer_has_one_colour_in_every_chart(full: Results) -> None:
    coloured = 0
    for figure in figures(full).values():
        found = next(("scale" in e and scale(figure.spec(), "color") for e in encodings(figure.spec(), "color")), {})
        if found and "muon" in found:
            coloured += 1
            assert found["muon"] == COLOURS["muon"]
    assert coloured == 10


@pytest.mark.parametrize("rows", [5000])
def test_thousands_of_runs_make_a_small_chart(made: Frames, rows: int) -> None:
    one = of(made["lr_curves"], "muon").filter(state="complete")
    many = pl.concat([one] * (rows // len(one) + 1)).head(rows)
    others = [of(made[name], "muon") for name in ("lr_fit", "lr_basins", "predictions")]
    spec = Figure("many", "Many", "", charts.lr_curves(many, *others)).spec()
    assert sum("run" in row for row in data(spec)) == rows
    assert len(json.dumps(spec)) < 170 * rows


def test_figures_are_drawn_without_a_network(full: Results) -> None:
    figure = figures(full)["perturbations"]
    svg = figure.svg()
    assert svg.startswith("<svg") and figure.title in svg and "NaN" not in svg


# ------------------------------------------------------------------ colours

# Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_every_recipe_has_a_colour() -> None:
    assert len(COLOURS) == len(set(COLOURS.values()))


@pytest.mark.parametrize("eyes", EYES)
def test_any_two_recipes_are_told_apart(eyes: str) -> None:
    seen = {name: lab(np.array(EYES[eyes]) @ linear(colour)) for name, colour in COLOURS.items()}
    closest = min(combinations(seen, 2), key=lambda pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])))
    assert np.linalg.norm(seen[closest[0]] - seen[closest[1]]) >= 16, closest


@pytest.mark.parametrize("paper", ["#ffffff", "#1b1d21"])
def test_every_colour_stands_out_from_light_and_dark_paper(paper: str) -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    ground = float(linear(paper) @ weights)
    for name, colour in COLOURS.items():
        light, dark = sorted((float(linear(colour) @ weights), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 2, name


def test_mark_and_line_differ_within_a_family_and_between_parametrizations() -> None:
    for family in FAMILIES:
        alone = [palette.places([(name, "mup")])[0] for name in family]
        assert len(set(map(palette.shape, alone))) == len({str(palette.dash(place)) for place in alone}) == len(family)
    for name in RECIPES.names():
        kinds = palette.places((name, parametrization) for parametrization in PARAMETRIZATIONS)
        assert len(set(map(palette.shape, kinds))) == 3


def test_arms_of_one_recipe_and_parametrization_differ_in_mark_too() -> None:
    places = palette.places([("muon", "mup"), ("muon", "sp"), ("muon", "mup"), ("muon", "sp")])
    assert len(set(places)) == 4 and places[:2] == palette.places([("muon", "mup"), ("muon", "sp")])
    assert len(palette.places([("muon", "mup")] * 9)) == 9  # more than there are marks


# ------------------------------------------------------------------ single charts


def lr_chart(made: Frames, optimizer: str = "muon") -> dict[str, Any]:
    parts = [of(made[name], optimizer) for name in ("lr_curves", "lr_fit", "lr_basins", "predictions")]
    return dict(drawn(charts.lr_curves(*parts)))


def test_lr_curves_mark_minima_basins_the_prediction_and_what_does_not_fit(made: Frames) -> None:
    spec = lr_chart(made)
    kinds = pl.Series([row["kind"] for row in data(spec)]).value_counts().rows()
    assert dict(kinds)["basin"] == 3 and dict(kinds)["prediction"] == 1
    assert dict(kinds)["diverged"] == 3
    assert sum(row.get("lowest", False) for row in data(spec)) == 3
    top = encodings(spec, "y")[1]["scale"]["domain"][1]
    above = [row for row in data(spec) if row["kind"] == "above"]
    assert above and all(row["loss"] > top for row in above)
    assert all(row["loss"] <= top for row in data(spec) if row["kind"] == "run")
    assert layer(spec, "point", "datum.lowest")["mark"]["shape"] == "diamond"
    assert (
        layer(spec, "point", "'above'")["encoding"]["y"]["value"] > layer(spec, "point", "'diverged'")["encoding"]["y"]["value"]
    )
    x = layer(spec, "circle", "'run'")["encoding"]["x"]
    assert x["scale"]["type"] == "log" and x["title"] == "learning rate (base coordinates)"
    assert scale(spec, "color")[128] == COLOURS["muon"].lower()


def test_runs_at_another_ratio_are_faint(made: Frames) -> None:
    curves = of(made["lr_curves"], "muon").with_columns((pl.col("width") > 32).alias("is_at_ratio"))
    others = [of(made[name], "muon") for name in ("lr_fit", "lr_basins", "predictions")]
    spec = drawn(charts.lr_curves(curves, *others))
    apart = [row for row in data(spec) if row.get("apart")]
    assert apart and {row["width"] for row in apart} == {32}
    assert layer(spec, "circle", "'run'")["encoding"]["opacity"]["condition"] == [{"test": "datum.apart", "value": 0.25}]


def test_lr_curves_without_a_prediction_are_runs_alone(unfinished: Results) -> None:
    found = make(unfinished)
    spec = lr_chart(found)
    assert {row["kind"] for row in data(spec)} == {"run", "above", "diverged"}
    assert "text" not in marks(spec)


def test_weight_decay_shows_excess_in_percent_over_the_band_of_the_noise(made: Frames) -> None:
    parts = [of(made[name], "muon") for name in ("weight_decay_curves", "predictions")]
    spec = drawn(charts.weight_decay_curves(*parts))
    (band,) = (row for row in data(spec) if row["kind"] == "noise")
    assert (band["band_low"], band["band_high"]) == (0, pytest.approx(0.2))
    runs = [row for row in data(spec) if row["kind"] in ("run", "above")]
    assert max(row["excess"] for row in runs) == pytest.approx(100 * parts[0]["excess"].max(), rel=1e-4)
    assert sum(row.get("lowest", False) for row in runs) == 3
    assert next(row for row in data(spec) if row["kind"] == "prediction") == {"kind": "prediction", "decay": 0.001}
    assert "%" in layer(spec, "circle", "'run'")["encoding"]["y"]["title"]


def test_the_note_says_whether_weight_decay_was_identified(full: Results) -> None:
    assert "not identified, rule used" in figures(full)["weight-decay-muon"].note


def test_one_weight_decay_is_no_curve_and_that_is_said(full: Results) -> None:
    one = with_records(full, (r for r in full.records if r.point["weight_decay"] == 0.001))
    found = section(one, "weight-decay")
    assert found.figures == () and found.missing == ()
    assert found.remarks[1] == "muon: fewer than two weight decays were tried near the best learning rate."


def test_optimum_against_width_shows_the_band_and_tells_the_lines_apart(made: Frames) -> None:
    spec = drawn(charts.optimum_against_width(of(made["optimum_against_width"], "muon")))
    assert marks(spec) == ["area", "line", "rule", "point"]
    assert scale(spec, "strokeDash") == {"fit": "[1, 0]", "theory": "[5, 4]"}
    assert scale(spec, "shape") == {"optimum": "circle", "prediction": "diamond"}
    assert encodings(spec, "x")[0]["axis"]["values"] == [32, 64, 128, 256]


def test_an_unbounded_optimum_is_drawn_to_the_edge(made: Frames) -> None:
    frame = of(made["optimum_against_width"], "muon")
    is_first = (pl.col("kind") == "optimum") & (pl.col("width") == 32)
    spec = drawn(charts.optimum_against_width(frame.with_columns(pl.when(~is_first).then("low").alias("low"))))
    (row,) = (row for row in data(spec) if row["kind"] == "optimum" and row["width"] == 32)
    assert "low" not in row
    assert row["drawn_low"] == pytest.approx(encodings(spec, "y")[1]["scale"]["domain"][0], rel=1e-4)


def test_the_coordinate_check_names_its_conditions_and_what_fails(full: Results) -> None:
    figure = figures(full)["coordinate-check"]
    assert "width 32, 64 and 128 (base 32), 3 seeds, corpus stdlib, constant LR: adamw 0.00200 and muon 0.00500" in figure.note
    assert figure.note.endswith("muon fails: hidden at t = 10.")
    spec = figure.spec()
    assert [row for row in data(spec) if "band_low" in row] == [{"band_low": -0.08, "band_high": 0.08}]
    assert {row["title"] for row in data(spec) if row.get("aside")} == {
        f"{r}, t = 50" for r in ("embedding", "hidden", "readout")
    }
    low, high = encodings(spec, "x")[-1]["scale"]["domain"]
    assert low < -0.12 and high > 0.12


def test_a_missing_coordinate_check_is_named_with_its_command(full: Results) -> None:
    found = section(replace(full, coordinate_checks={"adamw": full.coordinate_checks["adamw"]}), "coordinates")
    assert len(found.figures) == 1
    (missing,) = found.missing
    assert missing.sentence == "There is no coordinate check of muon."
    assert missing.command == "python -m hptransfer.coordcheck --experiment sample --optimizer muon"


def test_regret_is_on_a_log_axis_of_factors(made: Frames) -> None:
    spec = drawn(charts.regret(made["regret"], "lr_probe"))
    x = layer(spec, "line", "isValid")["encoding"]["x"]
    assert x["scale"]["type"] == "log"
    assert x["axis"]["values"] == pytest.approx([0.5, 0.707, 1, 1.414, 2])
    assert "learning rate" in x["title"]
    assert {row["title"] for row in data(spec)} == {"LR / 2", "LR / 1.4", "predicted", "1.4x LR", "2x LR"}


def test_diverged_probes_are_shown_as_such(full: Results) -> None:
    validation, _ = validated(full.experiment, "muon")
    lost = {"loss": None, "standard_error": None, "losses": (None,)}
    runs = tuple(run.model_copy(update=lost) if run.factor == 2.0 else run for run in validation.runs)
    found = figures(replace(full, validations={"muon": validation.model_copy(update={"runs": runs})}))
    spec = found["regret-learning-rate"].spec()
    assert [row["title"] for row in data(spec) if "regret" not in row] == ["2x LR"]
    assert layer(spec, "point", "=== 'diverged'")["encoding"]["y"] == {"value": 4}
    spec = found["perturbations"].spec()
    assert {row["title"]: row["state"] for row in data(spec) if "change" not in row} == {"2x LR": "diverged", "2x WD": "diverged"}
    text = layer(spec, "text", "=== 'diverged'")
    assert text["encoding"]["text"]["field"] == "state"
    assert "diverged</text>" in found["perturbations"].svg()


def test_nothing_is_drawn_against_a_prediction_of_which_one_seed_diverged(full: Results) -> None:
    first, *others = full.validations[MUON].runs
    half = first.model_copy(update={"losses": (first.losses[0], None), "loss": None, "standard_error": None})
    validation = full.validations[MUON].model_copy(update={"runs": (half, *others), "regret": None})
    lost = replace(full, validations=full.validations | {MUON: validation})
    found = section(lost, "held-out")
    assert found.remarks == ("muon: its predicted run diverged on some seed, so that nothing is compared with it.",)
    drawn = {figure.name: figure.spec() for figure in found.figures}
    assert set(drawn) == {"regret-learning-rate", "regret-weight-decay", "perturbations", "transfers"}  # of AdamW
    crosses = [row for row in data(drawn["regret-learning-rate"]) if row["arm"] == "muon" and row["state"] == "diverged"]
    assert [row["title"] for row in crosses] == ["predicted"]
    assert {row["arm"] for name in ("perturbations", "transfers") for row in data(drawn[name])} == {"adamw"}
    alone = section(replace(lost, validations={MUON: validation}), "held-out")
    assert alone.figures == alone.missing == () and alone.remarks == found.remarks


def test_perturbations_and_transfers_are_bars_in_percent(made: Frames, full: Results) -> None:
    found = figures(full)
    spec = found["perturbations"].spec()
    assert encodings(spec, "y")[0]["sort"] == ["2x LR", "1.4x LR", "LR / 1.4", "LR / 2", "2x WD", "WD / 2"]
    changes = {(row["arm"], row["title"]): row["change"] for row in data(spec)}
    expected = of(made["perturbations"], "muon").filter(title="2x LR")["change"][0]
    assert changes["muon", "2x LR"] == pytest.approx(100 * expected, rel=1e-4)
    assert {row["title"] for row in data(found["transfers"].spec())} == {"muP alone", "same hyperparameters"}


def test_loss_against_compute_has_the_ladder_as_a_line_of_its_own(made: Frames) -> None:
    spec = drawn(charts.loss_against_compute(made["loss_against_compute"]))
    rungs = [row for row in data(spec) if row.get("rung")]
    assert {row["arm"] for row in rungs} == {"adamw"}
    assert [row["tokens"] for row in rungs] == [1_048_576, 2_097_152, 4_194_304, 8_388_608]
    x, y = (layer(spec, "line", "datum.rung")["encoding"][axis] for axis in "xy")
    assert x["title"] == "compute with the optimizer's (TFLOP)"
    assert x["scale"]["type"] == y["scale"]["type"] == "log"
    most = made["loss_against_compute"]["compute"].max()
    assert max(row["compute"] for row in data(spec)) == pytest.approx(most / 1e12, rel=1e-4)


def test_losses_at_a_constant_learning_rate_are_not_called_annealed(full: Results) -> None:
    flat = edited(full, lambda run: at_constant_lr(run) if run.point.settings["optimizer"] == "muon" else run)
    before, after = figures(full), figures(flat)
    for name in ("loss-against-compute", "training-by-tokens"):
        assert before[name].note == "Final losses are annealed."
        assert after[name].note == "At a constant LR, not annealed, and not to be compared with annealed losses: muon."
    intros = "".join(section.intro for section in evidence(full))
    assert "anneal" not in intros and "end of a schedule" not in intros


def test_multipliers_point_where_only_a_bound_is_known(made: Frames) -> None:
    spec = drawn(charts.multipliers(made["multipliers"]))
    assert layer(spec, "point", "== '>'")["mark"]["shape"] == "triangle-right"
    assert layer(spec, "point", "== '<'")["mark"]["shape"] == "triangle-left"
    assert {row["row"] for row in data(spec) if row.get("bound") == ">"} == {"wall-clock", "tokens, within the run"}
    assert "p_value_in_words" in {tip["field"] for tip in layer(spec, "rule", "isValid(datum.low)")["encoding"]["tooltip"]}
    assert encodings(spec, "y")[0]["sort"][-2:] == ["FLOPs, power law", "tokens, within the run"]


def test_the_multiplier_over_scale_is_hollow_where_it_is_extrapolated(made: Frames) -> None:
    spec = drawn(charts.multiplier_over_scale(made["multiplier_over_scale"]))
    assert {(row["width"], row["method"]) for row in data(spec) if row.get("open")} == {(256, "sizes"), (256, "law")}
    assert layer(spec, "point", "!datum.open")["mark"]["filled"] is True
    (ladder,) = (row for row in data(spec) if row.get("method") == "ladder")
    assert (ladder["width"], ladder["value"]) == (256, 1.56)


def test_bounds_over_scale_point_to_where_the_multiplier_is_and_no_line_goes_through_them(made: Frames) -> None:
    """AdamW's best size did not reach the loss of the smallest one."""
    smallest = pl.when(pl.col("width") == 32, pl.col("method") == "sizes")
    frame = made["multiplier_over_scale"].with_columns(smallest.then(pl.lit(">")).alias("bound"))
    spec = drawn(charts.multiplier_over_scale(frame))
    assert {row["width"] for row in data(spec) if row.get("bound")} == {32}
    assert layer(spec, "point", "== '>'")["mark"]["shape"] == "triangle-up"
    for mark, words in (("line", "'sizes'"), ("line", "'law'"), ("point", "!datum.open")):
        assert "!datum.bound" in str(layer(spec, mark, words)["transform"])


@pytest.mark.parametrize(("against", "unit"), [("tokens", "tokens"), ("wall_seconds", "seconds")])
def test_training_curves_name_their_unit(made: Frames, against: str, unit: str) -> None:
    spec = drawn(charts.training_curves(made["training_curves"], against))
    assert marks(spec) == ["line", "point"]
    assert encodings(spec, "x")[0]["field"] == against
    assert unit in encodings(spec, "x")[0]["title"]


def test_long_training_curves_are_thinned_and_keep_their_ends(made: Frames) -> None:
    one = made["training_curves"].filter(pl.col("run_id") == made["training_curves"]["run_id"][0])
    long = pl.concat([one.filter(~pl.col("is_final"))] * 100 + [one.filter("is_final")])
    assert len(long) > 1000
    rows = data(drawn(charts.training_curves(long, "tokens")))
    assert 75 <= len(rows) <= 151
    assert sum(row.get("final", False) for row in rows) == 1


# ------------------------------------------------------------------ nothing to show


def test_an_empty_experiment_says_in_every_section_what_is_missing(full: Results) -> None:
    empty = replace(full, members=Members(), predictions={}, validations={}, coordinate_checks={})
    for one in evidence(empty):
        assert one.figures == () and len(one.missing) == 1, one.anchor
        assert one.missing[0].sentence.endswith(".")
        assert one.missing[0].command.startswith("python -m hptransfer.")


MUON = "muon"
LOST = {"loss": None, "standard_error": None, "losses": (None,)}


def _one_run(full: Results) -> Results:
    first = next(record for record in full.searched(MUON) if record.loss is not None)
    return replace(with_records(full, [first]), predictions={}, validations={})


def _all_diverged(full: Results) -> Results:
    validation = full.validations[MUON]
    runs = tuple(run.model_copy(update=LOST) for run in validation.runs)
    return replace(full, validations={MUON: validation.model_copy(update={"runs": runs})})


def _no_interval(full: Results) -> Results:
    told = full.predictions[MUON]
    lr = told.lr.model_copy(update={"low": None, "high": None})
    best = {"lr": Interval(value=lr.value, low=None, high=None)}
    optima = tuple(optimum.model_copy(update={"best": best}) for optimum in told.optima[:1])
    numbers = told.hyperparameters | {"lr": lr}
    flat = {"optima": optima, "hyperparameters": numbers, "bowl": Bowl(curvature=0.0, skew=1.0), "noise": 0.0}
    return replace(full, predictions={MUON: told.model_copy(update=flat)}, validations={})


def _bound_only(full: Results) -> Results:
    validation, bound = full.validations[MUON], Multiplier(value=0.8, low=None, high=None, bracketed=False, bound="<")
    speedup = Speedup(compute_multiplier={"flops": bound}, law=None, within_run=None, sizes=(), trend=None)
    return replace(full, validations={MUON: validation.model_copy(update={"speedup": speedup})})


@pytest.mark.parametrize(
    ("make", "drawn"), [(lambda full: full, 16), (_one_run, 3), (_all_diverged, 14), (_no_interval, 8), (_bound_only, 15)]
)
def test_little_or_odd_results_draw_valid_charts_without_nan(full: Results, make: Any, drawn: int) -> None:
    shown = figures(make(full))
    assert len(shown) == drawn, list(shown)
    for name, figure in shown.items():
        figure.chart.to_dict(validate=True)
        svg = figure.svg()
        assert "NaN" not in svg and "undefined" not in svg and "Infinity" not in svg, name


def test_a_refusal_stands_where_the_multiplier_would(full: Results) -> None:
    refusal = Refusal.of("unequal_budgets", budgets="9 and 8")
    validation, _ = validated(full.experiment, "muon", refusal=refusal)
    found = section(replace(full, validations={"muon": validation}), "multiplier")
    assert (found.figures, found.missing, found.remarks) == ((), (), (f"muon: {refusal.text}",))


def test_two_parametrizations_of_an_optimizer_are_told_apart() -> None:
    found = results(experiment(("muon",)), tested=False)
    rows = make(found)["loss_against_compute"]
    both = pl.concat([rows, rows.with_columns(arm=pl.lit("muon-sp"), parametrization=pl.lit("sp"))])
    spec = drawn(charts.loss_against_compute(both))
    assert set(scale(spec, "color")) == {"muon", "muon-sp"}
    assert len(set(scale(spec, "color").values())) == 1
    assert len(set(scale(spec, "shape").values())) == 2


def test_log_ticks_are_round_and_inside() -> None:
    assert parts.log_ticks(0.0008, 0.05) == [0.001, 0.003, 0.01, 0.03]
    assert parts.log_ticks(0.004, 0.012) == [0.004, 0.006, 0.008, 0.01]
    assert parts.log_ticks(1e-6, 1) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]
    assert parts.log_ticks(1.47, 2.01) == [1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    assert parts.log_ticks(2.051, 2.069) == [2.055, 2.06, 2.065]
