"""The page of a table of sweeps, which need no store: curves, optimum against scale, rules beside each other, intervals, and what
was left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hptransfer.backtest.evaluate import OURS, calibration, pooled
from hptransfer.backtest.splits import Backtest, Split
from hptransfer.base.refusals import Refusal, Refused
from hptransfer.base.words import known, percent, plain, signed, within
from hptransfer.experiment.arm import colour_of_place
from hptransfer.report import page
from hptransfer.report.charts import Series, draw, linear_axis, log_axis, name_axis
from hptransfer.report.document import Document, Figure, Section, Table
from hptransfer.report.figures import OPTIMA, known_of, looking, lr_figures, optimum_figures, stack
from hptransfer.report.frames import OF_SEARCHES, Frames
from hptransfer.report.frames.searched import Searched, plain_name, plain_number
from hptransfer.transfer.axes import cell_words, from_ln, logarithm
from hptransfer.transfer.cost import LOST
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group, sweep_of
from hptransfer.transfer.prediction import Estimate, Optimum, Prediction
from hptransfer.transfer.simple import RULES
from hptransfer.transfer.target import bare_job
from hptransfer.validate.sentences import Verdict

GROUP = {"arm": ("group", ""), "rule": ("rule", "")}
FEW_SCALES = 8  # that each have a tick
TOGETHER = 6  # groups that one chart tells apart; of more it shows the pool
REGRETS = "Dots are means over the held-out cells. Bars reach from the smallest regret to the largest."
RATIOS = (
    "The prediction over the optimum that the held-out runs show, with its 80 % interval. A bar that crosses 1 holds the optimum."
)


@dataclass(frozen=True)
class Swept:
    """A group of a table with what was predicted from it, or why nothing was."""

    group: Group
    prediction: Prediction | None = None
    refusal: Refusal | None = None

    @property
    def values(self) -> dict[str, Estimate]:
        """The predicted hyperparameters."""
        return self.prediction.hyperparameters if self.prediction else {}

    @property
    def optima(self) -> tuple[Optimum, ...]:
        """Of the cells that were fitted."""
        return self.prediction.optima if self.prediction else ()

    @classmethod
    def of(cls, group: Group) -> Swept:
        """What its optima are, without a target."""
        try:
            return cls(group, predict_group(group, None, bare_job))
        except Refused as refused:
            return cls(group, refusal=refused.refusal)


def predicted(source: str, outcomes: Sequence[Swept]) -> tuple[Document, Frames]:
    """The page of ``transfer --table``, and the tables behind its charts."""
    searched, names = _searched(outcomes), outcomes[0].group.hyperparameters
    frames = _frames(searched)
    overview = Table.of(
        {"group": one.group.name}
        | {f"predicted {name}": within(one.values[name]) if name in one.values else "-" for name in names}
        | {"expected regret": known(one.prediction.expected_regret if one.prediction else None, percent)}
        | {"cells fitted": str(len(one.optima)), "runs": f"{len(one.group.records):,}"}
        for one in outcomes
    )
    verdicts = [verdict for one in outcomes for verdict in _verdicts(one)]
    sections = (
        *_evidence(frames, searched, outcomes),
        _rules(outcomes),
        _checks(outcomes),
        _left_out([note for one in outcomes for note in one.group.notes]),
        _origin(source, outcomes),
    )
    return _document(source, "Predicted from a table.", overview, verdicts, sections), frames


def backtested(source: str, outcomes: Sequence[Swept], found: Backtest) -> tuple[Document, Frames]:
    """The page of ``backtest``, and the tables behind its charts. ``outcomes``: the whole groups, without a target."""
    searched, best = _searched(outcomes), found.regret
    frames = _frames(searched)
    held = found.calibration
    coverage = "No held-out cell shows its optimum."
    if held["coverage_80"] is not None:
        coverage = f"The 80 % interval holds {held['coverage_80']:.0%} of {held['optima']} optima."
    lowest = min(best, key=lambda rule: best[rule]["robust_mean_regret"])
    mean = {rule: percent(one["robust_mean_regret"]) for rule, one in best.items()}
    lead = f"{lowest} has the lowest robust mean regret, {mean[lowest]} over {best[lowest]['cells']} cells."
    ours = f"hptransfer's is {mean[OURS]}, at most {percent(best[OURS]['robust_max_regret'])}."
    verdicts = [Verdict(text=text) for text in (lead, ours, coverage)]
    overview = Table.of(
        {
            "rule": name,
            "robust mean regret": percent(one["robust_mean_regret"]),
            "mean regret": percent(one["mean_regret"]),
            "largest regret": percent(one["max_regret"]),
            "diverged": str(one["diverged"]),
            "cells": str(one["cells"]),
        }
        for name, one in best.items()
    )
    sections = (
        _regrets(found),
        _intervals(found),
        *_evidence(frames, searched, outcomes),
        _left_out([*found.notes, *found.failed, *(one.refusal.text for one in outcomes if one.refusal)]),
        _origin(source, outcomes),
    )
    lead = "A part of every group was held out, and predicted from the rest."
    return _document(source, lead, overview, verdicts, sections), frames


def _document(source: str, what: str, overview: Table, verdicts: Sequence[Verdict], sections: Sequence[Section]) -> Document:
    lead = f"{what} Intervals are 80 %. Charts show plain numbers; tables have the columns' own terms."
    return Document(Path(source).name, (lead,), overview, tuple(verdicts), (), tuple(filter(None, sections)))


def _verdicts(one: Swept) -> Iterator[Verdict]:
    told = one.prediction
    if one.refusal:
        yield Verdict(text=f"{one.refusal.text}.", tone="bad")
    elif told and told.job:
        where = cell_words(told.point.scales)
        values = ", ".join(f"{name} {within(estimate)}" for name, estimate in told.hyperparameters.items())
        yield Verdict(text=f"{one.group.name}: {values} at {where}.")
    for check in told.checks if told else ():
        if not check.ok:
            yield Verdict(text=f"{one.group.name}: check failed: {check.name} ({check.detail}).", tone="bad")


# -- frames and their charts -------------------------------------------------------------------------------------------


def _searched(outcomes: Sequence[Swept]) -> list[Searched]:
    found = []
    for place, one in enumerate(outcomes):
        scales, begun = tuple(one.optima[0].scales) if one.optima else one.group.scales, _begin(place, one.group.name)
        found.append(Searched(begun, one.group.used, one.prediction, scales, one.group.hyperparameters[0]))
    return found


def _frames(searched: Sequence[Searched]) -> Frames:
    return {make.__name__: make(searched) for make in OF_SEARCHES if make.__name__ != "weight_decay_curves"}


def _evidence(frames: Frames, searched: Sequence[Searched], outcomes: Sequence[Swept]) -> Iterator[Section]:
    hyperparameter, names = plain_name(searched[0].hyperparameter), [[one.group.name] for one in outcomes]
    intro = "Every run. Lines are the fitted bowl. Thick bars are the values that cannot be told from the best, by two standard "
    intro += "deviations of the noise. Diamonds are the lowest loss of each cell. Crosses at the top are runs that diverged."
    curves = tuple(lr_figures(frames, hyperparameter, "", "loss"))
    yield Section("curves", f"Loss against {hyperparameter}", intro, curves)
    figures = tuple(optimum_figures(frames["optimum_against_width"], names, hyperparameter, ""))
    tables = tuple(
        filter(
            None,
            (
                _drifts(outcomes),
                page.rule_table(((one.group.name, one.prediction.drifts) for one in outcomes if one.prediction), "group"),
                _optima(outcomes),
            ),
        )
    )
    remarks = () if tables else ("No optimum was fitted.",)
    yield Section("scale", "The optimum against scale", OPTIMA, figures, tables, remarks=remarks)


def _drifts(outcomes: Sequence[Swept]) -> Table:
    rows = (
        {
            "group": one.group.name,
            "exponent of": f"{drift.hyperparameter} ~ {drift.scale}^",
            "theory": known(drift.theory, signed),
            "fit alone": page.fit_alone(drift),
            "used": signed(drift.used),
            "why": drift.reason,
        }
        for one in outcomes
        for drift in (one.prediction.drifts if one.prediction else ())
    )
    return Table.of(rows, "How the optimum moves.")


def _optima(outcomes: Sequence[Swept]) -> Table:
    names = outcomes[0].group.hyperparameters
    rows = (
        {"group": one.group.name, "cell": best.cell}
        | {f"best {name}": within(best.best[name]) if name in best.best else "-" for name in names}
        | {"loss there": known(best.loss, lambda loss: f"{loss:.4f}")}
        | {"runs": str(best.runs), "diverged": str(best.diverged)}
        for one in outcomes
        for best in one.optima
    )
    return Table.of(rows, "The optimum of every cell.")


def _rules(outcomes: Sequence[Swept]) -> Section:
    """What simple rules predict beside ours."""
    rows: list[dict[str, Any]] = []
    for place, one in enumerate(outcomes):
        told, group = one.prediction, one.group
        if not told or not told.job or group.gives_optima:
            continue
        scales = tuple(told.optima[0].scales)
        sweep, _ = sweep_of(group.used, scales, group.hyperparameters)
        target = np.array([logarithm(name, told.point.scales[name]) for name in scales])
        for k, name in enumerate(group.hyperparameters):
            own = told.hyperparameters[name]
            found = {rule: (from_ln(name, float(predict(sweep, target)[k])), None, None) for rule, predict in RULES.items()}
            for rule, values in (found | {OURS: (own.value, own.low, own.high)}).items():
                shown = (None if number is None else plain_number(name, number) for number in values)
                row = _begin(place, group.name) | {"rule": rule, "name": name, "own": values[0]}
                rows.append(row | dict(zip(("x", "low", "high"), shown, strict=True)))
    figures = []
    for name in dict.fromkeys(row["name"] for row in rows):
        frame, words = _frame([row for row in rows if row["name"] == name]), plain_name(name)
        x, y = log_axis("x", words, known_of(frame, "x", "low", "high")), name_axis("rule", (*RULES, OURS))
        chart = draw(frame, x, y, Series.arms(frame), "arm rule x low high", GROUP | {"x": (words, ".3~g")})
        figures.append(Figure(f"rules-{name}", f"Predicted {words} by rule", "", chart))
    table = Table.of(
        {"group": row["arm"], "hyperparameter": row["name"], "rule": row["rule"], "value": plain(row["own"])} for row in rows
    )
    intro = "base keeps the best run of the smallest cell, last that of the largest. powerlaw is the line through all parabolas."
    return Section("rules", "Rules beside each other", intro, tuple(figures), tuple(filter(None, [table])))


def _regrets(found: Backtest) -> Section:
    rows = [
        _begin(place, name)
        | {"rule": rule, "x": float(np.mean(values)), "low": min(values), "high": max(values), "cells": len(values)}
        for place, (name, cells) in enumerate(_by_group(found).items())
        for rule in found.regret
        for values in [[100 * cell.regrets[rule].robust for cell in cells]]
    ]
    frame = _frame(rows)
    x = linear_axis("x", "regret (%)", 0.0, 1.05 * max(*frame["high"], 1e-3))
    own = {"x": ("mean regret, %", ".3f"), "cells": ("cells", "")}
    chart = draw(frame, x, name_axis("rule", found.regret), Series.arms(frame), "arm rule x low high cells", GROUP | own)
    table = Table.of(map(_split_row, found.splits), "Robust mean and largest regret.")
    intro = (
        "Regret is the loss at the predicted values over the cell's lowest, minus 1, interpolated between its finished runs. "
        f"In the robust one no cell counts more than {LOST:.0%}; a prediction nearer to a diverged run than to a finished one "
        "counts as that."
    )
    figure = Figure("regret-by-rule", "Regret of every rule", REGRETS, chart)
    return Section("rules", "Rules beside each other", intro, (figure,), (table,))


def _split_row(split: Split) -> dict[str, str]:
    held, regrets = calibration(split.cells), pooled(split.cells)
    coverage = "-" if held["coverage_80"] is None else f"{held['coverage_80']:.0%} of {held['optima']}"
    octaves = "-" if held["error_log2"] is None else f"{held['error_log2']:.2f}"
    both = {rule: f"{percent(one['robust_mean_regret'])}, {percent(one['robust_max_regret'])}" for rule, one in regrets.items()}
    where = {"group": split.group, "held out": split.hold_out, "cells": str(len(split.cells))}
    return where | both | {"optima held by the interval": coverage, "error, octaves": octaves}


def _intervals(found: Backtest) -> Section:
    scale, figures = found.columns.scale[0], []
    for k, name in enumerate(found.columns.hp):
        rows = [
            _begin(place, group) | {"width": math.exp(float(cell.x[0]))} | dict(zip(("y", "low", "high"), over, strict=True))
            for place, (group, cells) in enumerate(_by_group(found).items())
            for cell in cells
            for over in [[math.exp(float(one[k] - cell.own[k])) for one in (cell.predicted[OURS], cell.low, cell.high)]]
            if not math.isnan(over[0])
        ]
        if not rows:
            continue
        frame, words = _frame(rows), plain_name(name)
        series, scales = Series.arms(frame), sorted(frame["width"].unique())
        form = ".3~s" if scales[-1] >= 1e5 else "~g"
        x = log_axis("x", plain_name(scale), scales, ticks=scales if len(scales) < FEW_SCALES else (), format=form)
        y = log_axis("y", f"{words}: predicted over best", known_of(frame, "y", "low", "high"), least=1.5)
        place = pl.int_range(pl.len()).over("width") - (pl.len().over("width") - 1) / 2  # cells of one scale beside each other
        beside = (place * pl.min_horizontal(0.03, 0.3 / pl.len().over("width"))).exp()
        rows_of = stack(frame.with_columns(x=pl.col("width") * beside), looking(pl.DataFrame({"y": [1.0]}), "reference"))
        own = {"width": (plain_name(scale), ".4~g"), "y": ("over the best", ".3f")}
        chart = draw(rows_of, x, y, series, "arm width y low high", GROUP | own)
        figures.append(Figure(f"intervals-{name}", f"{words}: prediction against the held-out optimum", "", chart))
    nothing = () if figures else ("No held-out cell shows its optimum inside its sweep.",)
    return Section("intervals", "Intervals", RATIOS, tuple(figures), remarks=nothing)


def _by_group(found: Backtest) -> dict[str, list[Any]]:
    """The held-out cells of every group, or of all together where groups are many."""
    groups: dict[str, list[Any]] = {}
    for split in found.splits:
        groups.setdefault(split.group, []).extend(split.cells)
    return groups if len(groups) <= TOGETHER else {"all groups": found.cells}


def _begin(place: int, group: str) -> dict[str, Any]:
    """How a row of a group begins."""
    return {"arm": group, "optimizer": None, "parametrization": "unknown", "colour": colour_of_place(place)}


def _frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The rows of a chart whose series are groups."""
    return looking(pl.DataFrame(rows, infer_schema_length=None), "point")


# -- what it rests on --------------------------------------------------------------------------------------------------


def _checks(outcomes: Sequence[Swept]) -> Section:
    found = [(one, told) for one in outcomes if (told := one.prediction)]
    table = page.check_table(((one.group.name, told.checks, _grounds(one, told)) for one, told in found), "group")
    return Section("checks", "Checks", page.CHECKS, tables=tuple(filter(None, [table])))


def _grounds(one: Swept, told: Prediction) -> Iterator[tuple[str, str]]:
    yield "noise of the loss", "" if told.noise is None else percent(told.noise)
    yield from (("note", note) for note in told.notes if note not in one.group.notes)
    yield from page.held_out(told.hold_out)


def _left_out(notes: Sequence[str]) -> Section:
    words = tuple(dict.fromkeys(notes)) or ("Nothing was left out.",)
    return Section("left-out", "What was left out", remarks=words)


def _origin(source: str, outcomes: Sequence[Swept]) -> Section:
    groups = [one.group for one in outcomes]
    terms = [("Table", source), ("Groups", str(len(groups))), ("Runs", f"{sum(len(group.records) for group in groups):,}")]
    terms += [("Scales", ", ".join(groups[0].scales)), ("Hyperparameters", ", ".join(groups[0].hyperparameters))]
    versions: dict[str, str] = next((one.prediction.provenance.get("versions", {}) for one in outcomes if one.prediction), {})
    terms += [("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not said")]
    return Section("provenance", "Provenance", "Where the numbers come from.", terms=tuple(terms))
