"""Tidy frames of a comparison, one per chart or table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from hptransfer.report import frames
from hptransfer.report.compare.result import Comparison
from hptransfer.report.results import Results

Frame = Callable[[Results, Results, Comparison], pl.DataFrame]


def settings(a: Results, b: Results, comparison: Comparison) -> pl.DataFrame:
    """The settings that differ."""
    return _frame((setting.model_dump() for setting in comparison.settings), ("name", "a", "b"), ())


def predictions(a: Results, b: Results, comparison: Comparison) -> pl.DataFrame:
    """Predicted values per arm and experiment with 80 % intervals; ``experiment`` is ``ratio`` for B over A."""
    rows: list[dict[str, Any]] = []
    for pairing in comparison.arms:
        for quantity, found in (("lr", pairing.lr), ("hidden_lr", pairing.hidden_lr), ("weight_decay", pairing.weight_decay)):
            if found:
                parts = ((comparison.a, found.a), (comparison.b, found.b), ("ratio", found.ratio))
                same = {"arm": pairing.name, "optimizer": pairing.optimizer, "colour": pairing.colour}
                same |= {"quantity": quantity, "agreement": found.agreement}
                rows += [same | {"experiment": one} | interval.model_dump() for one, interval in parts]
    return _frame(rows, ("arm", "optimizer", "colour", "quantity", "agreement", "experiment"), ("value", "low", "high"))


def optima(a: Results, b: Results, comparison: Comparison) -> pl.DataFrame:
    """Optima, predictions and the lines used, of both experiments, for the arms that both have."""
    found: list[pl.DataFrame] = []
    for name, results, side in ((comparison.a, a, "a"), (comparison.b, b, "b")):
        frame = frames.FRAMES["optimum_against_width"](results).filter(pl.col("kind") != "theory")
        for pairing in comparison.arms:
            part = frame.filter(arm=getattr(pairing, side))
            found.append(part.with_columns(pairing=pl.lit(pairing.name), experiment=pl.lit(name)))
    return pl.concat(found)


def multipliers(a: Results, b: Results, comparison: Comparison) -> pl.DataFrame:
    """Compute multipliers over the baseline per axis, of both experiments."""
    rows = [
        {"arm": pairing.name, "axis": axis, "experiment": name} | value.model_dump(exclude={"extrapolated"})
        for pairing in comparison.arms
        for axis, pair in pairing.multipliers.items()
        for name, value in zip((comparison.a, comparison.b), pair, strict=True)
        if value
    ]
    frame = _frame(rows, ("arm", "axis", "experiment", "bound"), ("value", "low", "high", "p_value"), ("bracketed",))
    return frame


def held_out(a: Results, b: Results, comparison: Comparison) -> pl.DataFrame:
    """The predicted runs at the held-out widths, of every arm of either experiment."""
    rows = (run.model_dump() for run in comparison.held_out)
    words = ("experiment", "arm", "optimizer", "colour", "parametrization")
    frame = _frame(rows, words, ("loss", "standard_error", "width", "tokens", "seeds"))
    return frame.with_columns(pl.col("width", "tokens", "seeds").cast(pl.Int64))


FRAMES: dict[str, Frame] = {
    "settings": settings,
    "predictions": predictions,
    "optimum_against_width": optima,
    "multipliers": multipliers,
    "held_out": held_out,
}


def _frame(
    rows: Iterable[dict[str, Any]], words: tuple[str, ...], numbers: tuple[str, ...], flags: tuple[str, ...] = ()
) -> pl.DataFrame:
    schema = dict.fromkeys(words, pl.String) | dict.fromkeys(numbers, pl.Float64) | dict.fromkeys(flags, pl.Boolean)
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema, orient="row")
