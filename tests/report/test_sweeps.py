"""The page of a table, which has no store."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import altair as alt
import pytest

from hptransfer.backtest.splits import Hold, backtest_intake
from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.report import sweeps
from hptransfer.report.sweeps import Swept
from hptransfer.runs.sources.intake import Intake, intake
from hptransfer.runs.sources.meanings import Asked
from hptransfer.runs.sources.reading import read_rows
from hptransfer.transfer import table
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.target import bare_job, table_target

BEST = 0.01


@pytest.fixture
def sweep(folder: Path) -> Path:
    """Two groups of runs at four widths, whose best LR falls as width^-0.5; of one group the LR is a logarithm to base 2."""
    file = Path("sweep.csv")
    with file.open("w") as out:
        writer = csv.writer(out)
        writer.writerow(("recipe", "width", "log2_lr", "loss"))
        for recipe in ("mine", "<b>"):
            for width in (64, 128, 256, 512):
                for step in range(-4, 5):
                    lr, best = BEST * 2**step, BEST * (width / 128) ** -0.5
                    loss = 3 * (width / 64) ** -0.1 * (1 + 0.02 * math.log(lr / best) ** 2 + 1e-4 * math.sin(9 * step + width))
                    writer.writerow((recipe, width, math.log2(lr), "" if step == 4 else loss))
    return file


def groups(sweep: Path) -> tuple[Intake, list[Swept]]:
    found = intake(read_rows(sweep), Asked(("recipe",), ("width",), ("log2_lr",), "loss"))
    target = table_target(found.columns, {"width": 2048})
    return found, [Swept(group, predict_group(group, target, bare_job)) for group in table.groups_of(found).values()]


def test_a_prediction_has_curves_optima_rules_and_what_was_left_out(sweep: Path) -> None:
    document, frames = sweeps.predicted(str(sweep), groups(sweep)[1])
    parts = {part.anchor: part for part in document.sections}
    assert {"curves", "scale", "rules", "checks", "left-out", "provenance"} == set(parts)
    for figure in document.figures:
        alt.LayerChart.from_dict(figure.chart, validate=True)
    curves = frames["lr_curves"].filter(arm="mine", width=128)  # plain numbers, whatever the column holds
    assert curves.filter("is_minimum")["lr"].to_list() == pytest.approx([BEST])
    told = frames["predictions"].filter(arm="mine")["lr"][0]
    assert told == pytest.approx(BEST * (2048 / 128) ** -0.5, rel=0.1)
    shown = next(part for part in parts["rules"].figures).spec["data"]["values"]
    rules = {row["rule"]: row["x"] for row in shown if row["arm"] == "mine"}
    assert rules["base"] > rules["last"] > rules["hptransfer"] and rules["hptransfer"] == pytest.approx(told, rel=1e-3)
    assert math.log2(told) == pytest.approx(float(document.overview.rows[0][1].split(" ")[0]), abs=0.01)


def test_a_backtest_sets_the_rules_beside_each_other(sweep: Path) -> None:
    taken, told = groups(sweep)
    found = backtest_intake(taken, Hold(rows="width > 256"))
    document, _ = sweeps.backtested(str(sweep), [Swept.of(one.group) for one in told], found)
    assert {row[0] for row in document.overview.rows} == {"base", "last", "powerlaw", "hptransfer"}
    parts = {part.anchor: part for part in document.sections}
    (regrets,) = (figure.spec["data"]["values"] for figure in parts["rules"].figures)
    by_rule = {row["rule"]: row["x"] for row in regrets if row["arm"] == "mine"}
    assert by_rule["base"] > by_rule["last"] > by_rule["hptransfer"] >= 0
    (ratios,) = (figure.spec["data"]["values"] for figure in parts["intervals"].figures)
    held = [row for row in ratios if row["look"] == "point"]
    assert len(held) == 2 and all(row["low"] < row["y"] < row["high"] for row in held)


@pytest.mark.parametrize(
    "command",
    [
        ["transfer", "--table", "sweep.csv", "--width", "2048"],
        ["backtest", "sweep.csv", "--hold-out", "width > 256"],
    ],
)
def test_the_commands_write_the_page(sweep: Path, command: list[str]) -> None:
    perform(command[0], [*command[1:], "--group", "recipe", "--hp", "log2_lr", "--report", "page"])
    page = Path("page/index.html").read_text()
    assert "<b>: loss" not in page and "&lt;b&gt;" in page
    names = {path.name for path in Path("page/figures").iterdir()}
    assert len([name for name in names if name.startswith("lr-curves")]) == 2
    assert Path("page/sweeps.md").is_file() and Path("page/tables/lr_curves.csv").is_file()
    with pytest.raises(UsageError, match="another kind of report"):
        perform("report", ["--output", "page"])


def test_the_page_of_a_store_is_the_reports(folder: Path) -> None:
    with pytest.raises(UsageError, match="--report page is not heeded without --table"):
        perform("transfer", ["--report", "page"])
