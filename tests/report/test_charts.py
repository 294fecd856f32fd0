from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from hptransfer.report import charts, frames
from hptransfer.report.figures import sections
from hptransfer.report.results import Results
from hptransfer.report.summary import summarize


def marks(spec: dict[str, Any]) -> list[str]:
    return [layer["mark"]["type"] for layer in spec["layer"]]


def encodings(spec: dict[str, Any], channel: str) -> list[dict[str, Any]]:
    return [layer["encoding"][channel] for layer in spec["layer"] if channel in layer["encoding"]]


def selections(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [param for layer in [spec, *spec["layer"]] for param in layer.get("params", []) if "select" in param]


@pytest.fixture
def made(full: Results) -> dict[str, pl.DataFrame]:
    return {name: make(full) for name, make in frames.FRAMES.items()}


def of(frame: pl.DataFrame, optimizer: str) -> pl.DataFrame:
    return frame.filter(pl.col("optimizer") == optimizer)


def test_lr_curves_mark_minima_and_diverged_runs(made: dict[str, pl.DataFrame]) -> None:
    spec = charts.lr_curves(of(made["lr_curves"], "muon"), of(made["lr_fit"], "muon")).to_dict()
    assert marks(spec) == ["line", "circle", "point", "point"]
    assert spec["layer"][2]["mark"]["shape"] == "diamond"
    assert spec["layer"][3]["mark"]["shape"] == "cross"
    assert encodings(spec, "x")[0]["scale"]["type"] == "log"
    assert "nats per token" in encodings(spec, "y")[0]["title"]
    widths = encodings(spec, "color")[0]
    assert widths["scale"]["domain"] == [32, 64, 128]
    assert widths["scale"]["range"][-1] == charts.colour("muon").lower()
    assert spec["layer"][1]["encoding"]["tooltip"]


def test_optimum_against_width_shows_intervals_and_tells_the_lines_apart(made: dict[str, pl.DataFrame]) -> None:
    spec = charts.optimum_against_width(of(made["optimum_against_width"], "muon")).to_dict()
    assert marks(spec) == ["line", "rule", "point"]
    assert encodings(spec, "strokeDash")[0]["scale"]["domain"] == ["fit", "theory"]
    assert encodings(spec, "shape")[0]["scale"]["domain"] == ["optimum", "prediction"]
    assert encodings(spec, "x")[0]["axis"]["values"] == [32, 64, 128, 256]
    assert {y["field"] for y in encodings(spec, "y")} == {"lr", "low"}


@pytest.mark.parametrize(("against", "unit"), [("tokens", "tokens"), ("wall_seconds", "seconds")])
def test_training_curves_name_their_unit(made: dict[str, pl.DataFrame], against: str, unit: str) -> None:
    spec = charts.training_curves(made["training_curves"], against).to_dict()
    assert marks(spec) == ["line", "circle"]
    assert encodings(spec, "x")[0]["field"] == against
    assert unit in encodings(spec, "x")[0]["title"]


def test_multipliers_point_where_only_a_bound_is_known(made: dict[str, pl.DataFrame]) -> None:
    spec = charts.multipliers(made["multipliers"]).to_dict()
    shape = encodings(spec, "shape")[0]["scale"]
    assert dict(zip(shape["domain"], shape["range"], strict=True))[">"] == "triangle-right"
    assert marks(spec) == ["rule", "rule", "point"]


def test_an_optimizer_has_one_colour_in_every_chart(made: dict[str, pl.DataFrame]) -> None:
    for chart in (charts.training_curves(made["training_curves"], "tokens"), charts.regret(made["regret"])):
        scale = encodings(chart.to_dict(), "color")[0]["scale"]
        assert dict(zip(scale["domain"], scale["range"], strict=True))["muon"] == charts.COLOURS["muon"]
    assert len(set(charts.COLOURS.values()) | set(charts.OTHER_COLOURS)) == len(charts.COLOURS) + len(charts.OTHER_COLOURS)


def test_every_chart_has_data_and_a_legend_that_filters(full: Results, made: dict[str, pl.DataFrame]) -> None:
    figures = [figure for section in sections(made, summarize(full), "") for figure in section.figures]
    assert [figure.name for figure in figures] == [
        "lr-curves-adamw",
        "lr-curves-muon",
        "optimum-against-width-adamw",
        "optimum-against-width-muon",
        "regret",
        "compute-multiplier",
        "training-by-tokens",
        "training-by-wall-clock",
    ]
    for figure in figures:
        spec = figure.spec()
        assert all(spec["datasets"].values()), figure.name
        assert any(param.get("bind") == "legend" for param in selections(spec)), figure.name


def test_log_ticks_are_round_and_inside() -> None:
    assert charts.log_ticks(0.0008, 0.05) == [0.001, 0.003, 0.01, 0.03]
    assert charts.log_ticks(0.004, 0.012) == [0.004, 0.006, 0.008, 0.01]
    assert charts.log_ticks(1e-6, 1) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]
