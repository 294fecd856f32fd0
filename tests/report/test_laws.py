"""The page of a law."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import altair as alt
import numpy as np
import polars as pl
import pytest
from ladders import TABLES, arms, checkpoints, curves
from report.pages import Elements
from report.test_browser import Opened

from hptransfer.base.errors import UsageError
from hptransfer.base.intervals import Array
from hptransfer.cli import perform
from hptransfer.experiment import Experiment
from hptransfer.laws import LAWS
from hptransfer.laws.annealing import Annealing
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.columns import D, N
from hptransfer.laws.examination import Examination, examine
from hptransfer.laws.isoflop import IsoFlop
from hptransfer.laws.law import Fitted, Law, intervals
from hptransfer.laws.plot import Along, Plot
from hptransfer.laws.progress import AlgorithmicProgress
from hptransfer.laws.series import curve_pairs
from hptransfer.laws.t2 import TrainToTest
from hptransfer.report import render
from hptransfer.report.document import Document
from hptransfer.report.laws import law_page
from hptransfer.report.series import series_page
from hptransfer.testing.ladders import TRUTH, ladder, profiles

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "</script><img src=x onerror=alert(1)>"


def page(found: Examination, budgets: tuple[float, ...] = ()) -> tuple[Document, dict[str, list[dict[str, Any]]]]:
    """The page, and the marks of its charts."""
    document, frames = law_page("runs.csv", found, budgets)
    for figure in document.figures:
        alt.LayerChart.from_dict(figure.chart, validate=True)
    assert {figure.name for figure in document.figures} <= {*frames}
    return document, {figure.name: figure.chart["data"]["values"] for figure in document.figures}


def looks(rows: list[dict[str, Any]], look: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["look"] == look]


def two_arms(other: str = "muon") -> pl.DataFrame:
    """Two arms, of which the second is best at half the tokens per parameter."""
    first = profiles(noise=1e-4)
    second = first.with_columns(N=pl.col("N") * 2**0.5, D=pl.col("D") / 2**0.5, loss=pl.col("loss") - 0.1, arm=pl.lit(other))
    return pl.concat([first.with_columns(arm=pl.lit("adamw")), second]).drop("row").with_row_index("row")


def test_a_law_of_sizes_has_its_parameters_its_optima_and_its_errors():
    found = examine(ladder(noise=1e-3), Chinchilla(draws=100), {}, hold_out="N > 1.5e9")
    document, charts = page(found, (1e21, 1e24))
    assert [row[0] for row in document.overview.rows] == ["E", "A", "B", "alpha", "beta", "a", "b"]
    table = next(table for section in document.sections if section.anchor == "optimum" for table in section.tables)
    assert [row[0] for row in table.rows] == ["1.00e21", "1.00e24"]
    best = [row["count"] for row in looks(charts["optimum"], "diamond") if row["series"] == "parameters"]
    assert best == pytest.approx([TRUTH.best_size(1e21), TRUTH.best_size(1e24)], rel=0.1)
    assert max(row["flops"] for row in looks(charts["optimum"], "line")) < 1e22  # what was measured, and what was not
    assert max(row["flops"] for row in looks(charts["optimum"], "dashed")) == pytest.approx(1e24)
    errors = {series: [row for row in charts["errors"] if row.get("series") == series] for series in ("fitted", "held out")}
    assert [len(rows) for rows in errors.values()] == [25, 5]
    assert max(abs(row["error"]) for row in errors["fitted"]) < 1
    assert all(row["low"] <= row["error"] <= row["high"] for row in errors["held out"])


def test_what_the_fit_has_seen_is_not_drawn_as_held_out():
    """Where nobody says what is held out the largest size is predicted by another fit, which is that of the errors alone."""
    found = examine(ladder(noise=1e-3), Chinchilla(draws=100), {})
    document, charts = page(found)
    assert not looks(charts["loss-against-tokens"], "hollow") and len(looks(charts["loss-against-tokens"], "point")) == 30
    assert "30 rows are fitted." in document.lead[1]
    held = [row for row in charts["errors"] if row.get("series") == "held out"]
    assert len(held) == 5 and {row["N"] for row in held} == {max(row["N"] for row in charts["errors"] if "N" in row)}
    blind = Chinchilla(draws=100).fit(found.table.filter(~pl.col("held_out"))).predict(found.table.filter("held_out"))
    assert sorted(row["predicted"] for row in held) == pytest.approx(sorted(blind[0]), rel=1e-4)
    asked = examine(ladder(noise=1e-3), Chinchilla(draws=100), {}, hold_out="N > 1.5e9")
    assert len(looks(page(asked)[1]["loss-against-tokens"], "hollow")) == 5


def test_of_many_sizes_some_are_drawn():
    charts = page(examine(ladder(sizes=20), Chinchilla(draws=100), {}))[1]
    assert len({row["series"] for row in charts["loss-against-tokens"]}) == 6
    sizes = {row["series"]: row["N"] for row in looks(charts["loss-against-tokens"], "point")}
    assert min(sizes.values()) == pytest.approx(10**7.7, rel=1e-4) and max(sizes.values()) == pytest.approx(10**9.3, rel=1e-4)


def test_isoflop_shows_losses_relative_losses_and_the_best_ratio():
    found = examine(two_arms(), IsoFlop(draws=100), {})
    document, charts = page(found)
    for name, y in (("profiles", "loss"), ("relative-profiles", "above")):
        assert len({row["series"] for row in charts[name]}) == 8  # of two arms, four budgets each
        assert len(looks(charts[name], "point")) == 56 and len(looks(charts[name], "diamond")) == 8
        for vertex in looks(charts[name], "diamond"):
            line = [row for row in looks(charts[name], "line") if row["series"] == vertex["series"]]
            assert min(row[y] for row in line) >= vertex[y] - 1e-3
            bar = next(row for row in looks(charts[name], "basin") if row["series"] == vertex["series"])
            assert bar["low"] <= vertex["ratio"] <= bar["high"]
    assert {row["above"] for row in looks(charts["relative-profiles"], "diamond")} == {0.0}
    best = looks(charts["best-ratio"], "diamond")
    assert {row["series"] for row in best} == {"adamw", "muon"} and all(row["low"] <= row["ratio"] <= row["high"] for row in best)
    ratio = found.fitted.parameters["muon/adamw.tokens_per_parameter"].value
    assert ratio == pytest.approx(0.5, rel=0.05)
    assert any(f"{ratio:.3f}" in verdict.text and "muon" in verdict.text for verdict in document.verdicts)


def test_a_budget_that_is_held_out_has_runs_and_no_parabola():
    charts = page(examine(two_arms(), IsoFlop(draws=100), {}, hold_out="flops > 2e19"))[1]
    assert len(looks(charts["profiles"], "hollow")) == 14
    assert not looks(charts["relative-profiles"], "hollow")
    assert len({row["series"] for row in looks(charts["profiles"], "line")}) == 6


def test_optima_without_losses_have_a_page():
    rows = pl.DataFrame(
        [(1e18, 1.1e8, 1.2e9), (3e18, 2e8, 2.3e9), (1e19, 3.8e8, 3.8e9)], schema=["flops", "N", "D"], orient="row"
    )
    document, charts = page(examine(rows.with_row_index("row"), IsoFlop(draws=100), {}))
    assert {*charts} == {"best-ratio", "optimum"}
    assert any("no losses" in verdict.text for verdict in document.verdicts)


def test_the_largest_budget_is_held_out_as_one():
    """Whole batches make a few of its runs cost less than the others."""
    rows = profiles()
    uneven = rows.with_columns(flops=rows["flops"] * np.tile([1, 1.03, 0.98, 1, 1.02, 0.97, 1], 4))
    assert IsoFlop().held_out(uneven).to_list() == [False] * 21 + [True] * 7


def test_names_of_arms_stay_text(tmp_path: Path):
    document, _ = law_page("<b>.csv", examine(two_arms(HOSTILE), IsoFlop(draws=100), {}))
    html = render.html(document)
    assert HOSTILE not in html and HOSTILE in Elements(html).words
    assert not [tag for tag, _ in Elements(html).found if tag in ("img", "b") and "onerror" in str(tag)]
    assert "<img" not in render.markdown(document)
    assert all(figure.svg.count("<img") == 0 for figure in document.figures)


@dataclass(frozen=True)
class Mean(Fitted):
    """Of a law from outside: the mean of the losses."""

    level: Array

    def predict(self, table: pl.DataFrame) -> Array:
        return np.repeat(self.level[:, None], len(table), axis=1)


class Shown(Mean):
    """One that shows something of itself."""

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        rows = table.select("D", "loss", series=pl.lit("runs"), look=pl.lit("point"))
        return (Plot("mine", "My own", Along("D", "training tokens"), Along("loss", "loss", False), rows, "As I see it."),)


class Constant(Law):
    name = "constant"
    summary = "the mean loss"
    needs = (N, D)
    result: ClassVar[type[Mean]] = Mean

    def fit(self, table: pl.DataFrame) -> Mean:
        loss = table["loss"].to_numpy()
        draws = np.random.default_rng(self.seed).choice(loss, (self.draws, len(loss))).mean(axis=1)
        level = np.array([loss.mean(), *draws])
        return self.result(self, intervals({"level": level}), len(table), findings=("It is constant.",), level=level)


class ShownConstant(Constant):
    result = Shown


def test_a_law_from_outside_has_its_errors_shown():
    document, charts = page(examine(ladder(), Constant(draws=100), {}))
    assert {*charts} == {"errors"} and len(charts["errors"]) == 31
    assert {row["look"] for row in charts["errors"]} == {"dot", "reference"}
    assert max(row["error"] for row in charts["errors"] if "N" in row) > 1 > 0 > min(row["error"] for row in charts["errors"])
    assert document.verdicts[0].text == "It is constant."
    assert [figure.name for figure in page(examine(ladder(), ShownConstant(draws=100), {}))[0].figures] == ["mine", "errors"]


FIGURES = {
    "chinchilla": {"loss-against-tokens", "optimum", "errors"},
    "isoflop": {"profiles", "relative-profiles", "best-ratio", "optimum", "errors"},
    "envelope": {"optimum"},  # which says no loss
    "annealing": {"loss-against-step", "learning-rate", "errors"},
    "t2": {"budgets", "errors"},
    "progress": {"ladders", "gain", "errors"},
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_law_shows_what_it_is(name: str) -> None:
    charts = page(examine(TABLES[name], LAWS.get(name)(draws=100), {}))[1]
    assert {*charts} == FIGURES[name]
    assert all(rows for rows in charts.values())


def test_schedules_that_the_fit_has_not_seen_are_dashed() -> None:
    charts = page(examine(curves(), Annealing(draws=100), {}, hold_out="run <> 'cosine' and run <> 'constant'"))[1]
    drawn = {look: {row["series"] for row in looks(charts["loss-against-step"], look)} for look in ("line", "dashed", "faint")}
    assert drawn["line"] == {"cosine", "constant"} and drawn["dashed"] and not drawn["line"] & drawn["dashed"]
    assert drawn["faint"] == drawn["line"] | drawn["dashed"] == {row["series"] for row in charts["learning-rate"]}


def test_gains_are_over_the_baseline() -> None:
    gains = page(examine(arms(), AlgorithmicProgress(draws=100, E=1.9), {}))[1]["gain"]
    assert {row["series"] for row in gains if "series" in row} == {"new"}
    solid, beyond = (looks(gains, look) for look in ("line", "dashed"))
    assert solid[0]["gain"] < solid[-1]["gain"] < beyond[-1]["gain"]
    assert solid[-1]["flops"] == pytest.approx(arms()["flops"].max())


def test_more_served_tokens_buy_samples() -> None:
    rows = page(examine(checkpoints(1), TrainToTest(draws=100), {}))[1]["budgets"]
    samples = [row["count"] for row in looks(rows, "line") if row["series"] == "samples"]
    assert samples[-1] > samples[0] >= 1


def test_the_page_of_a_series_says_what_crosses(experiment: Experiment) -> None:
    compute = [1e9 * 2**place for place in range(6)]
    small = [(c, 3.0 - 0.01 * place) for place, c in enumerate(compute)]
    curves = {"adamw": {"width 16": small, "width 32": [(c, loss + 0.1) for c, loss in small[3:]]}}
    curves["muon"] = {"width 16": small, "width 32": [(c, 3.1 - 0.05 * place) for place, c in enumerate(compute)]}
    document, frames = series_page(experiment, curves, {arm: curve_pairs(found) for arm, found in curves.items()}, experiment="a")
    apart, crossing = (verdict.text for verdict in document.verdicts)
    assert "adamw: no two curves cross" in apart and "muon: width 16 and width 32 cross" in crossing
    (figure,) = document.figures
    assert {row["series"] for row in figure.chart["data"]["values"]} == {f"{a}, width {w}" for a in curves for w in (16, 32)}
    assert frames["pairs"]["cross"].to_list()[0] == "no" and len(frames["training-curves"]) == 21
    without, _ = series_page(experiment, {}, {})
    assert not without.figures


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("laws")
    two_arms("muon, which has a long name that a legend must hold").drop("row").write_csv(folder / "arms.csv")
    table = str(folder / "arms.csv")
    perform("laws", ["plot", "isoflop", "--table", table, "--option", "draws=100", "--output", str(folder / "iso")])
    perform("laws", ["plot", "chinchilla", "--table", table, "--option", "draws=100", "--output", str(folder / "size")])
    return folder


def test_the_command_writes_the_page(written: Path) -> None:
    for name, figures in (("iso", {"profiles", "relative-profiles", "best-ratio", "errors"}), ("size", {"loss-against-tokens"})):
        assert figures <= {path.stem for path in (written / name / "figures").iterdir()}
        assert (written / name / "law.md").is_file() and (written / name / "tables" / "predictions.csv").is_file()
    predictions = pl.read_csv(written / "size" / "tables" / "predictions.csv")
    assert {"N", "D", "loss", "held_out", "predicted", "predicted_low", "predicted_high"} == {*predictions.columns}
    with pytest.raises(UsageError, match="another kind of report"):
        perform("report", ["--output", str(written / "iso")])


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["iso", "size"])
def test_the_page_fits_every_screen(browser: Browser, written: Path, name: str, width: int, scheme: str) -> None:
    with Opened(browser, written / name / "index.html", width, color_scheme=scheme) as opened:
        assert len(opened.charts) == len(list((written / name / "figures").glob("*.svg"))) > 0
        assert opened.complaints == [] and opened.asked == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        for chart in opened.charts:
            assert "NaN" not in chart.inner_html()
            frame = chart.locator("svg").first.bounding_box()
            for text in chart.locator("svg text").all():
                box = text.bounding_box()
                if frame and box and box["width"]:
                    assert box["x"] >= frame["x"] - 2 and box["x"] + box["width"] <= frame["x"] + frame["width"] + 2
