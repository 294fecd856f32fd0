"""What every law must do, on a table of its columns that it can be fitted to."""

from __future__ import annotations

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.laws import LAWS
from hptransfer.laws.law import Law
from hptransfer.testing.small import require

DRAWS = 100
SAME = 1e-3  # relative: of fits to the same rows in another order


def check_law(law: Law, table: pl.DataFrame) -> None:
    """Run every check on a law, as its options have it. ``table``: with ``row``, the columns of `Law.needs`, and ``loss`` where
    the law takes losses; one that it can be fitted to. Raises AssertionError, one line."""
    law = law.model_copy(update={"draws": DRAWS})
    for check in LAW_CHECKS:
        check(law, table)


def it_is_registered(law: Law, table: pl.DataFrame) -> None:
    """With a summary of one line, and columns of its own names."""
    require(LAWS.get(law.name) is type(law), f"{law.name} is not registered: LAWS.add(law)")
    require(bool(law.summary) and "\n" not in law.summary, f"{law.name}: summary is {law.summary!r}, not one line")
    names = [column.name for column in law.needs]
    require(len({*names, "row", "loss"}) == len(names) + 2, f"{law.name}: needs {names}; row and loss are every table's own")
    require({*names} <= {*table.columns}, f"{law.name}: the table of the check lacks { ({*names} - {*table.columns}) }")


def parameters_have_intervals(law: Law, table: pl.DataFrame) -> None:
    """Numbers within their intervals, notes of one line, and no more points than rows."""
    fitted = law.fit(table)
    require(bool(fitted.parameters), f"{law.name}: a fit has no parameters")
    for name, one in fitted.parameters.items():
        ends = (one.value if one.low is None else one.low, one.value, one.value if one.high is None else one.high)
        require(bool(np.isfinite(ends).all()) and ends[0] <= ends[1] <= ends[2], f"{law.name}: {name} is {one}")
    require(0 < fitted.points <= len(table), f"{law.name}: {fitted.points} points of {len(table)} rows")
    require(not any("\n" in note or not note for note in fitted.notes), f"{law.name}: notes are not lines of words")


def predictions_have_draws(law: Law, table: pl.DataFrame) -> None:
    """A loss for every row and draw, positive, or nothing at all; no loss is needed to predict."""
    asked = table.drop("loss", strict=False)
    predicted = law.fit(table).predict(asked)
    require(predicted.shape == (1 + DRAWS, len(table)), f"{law.name}: predictions are {predicted.shape}")
    said = np.isfinite(predicted[0])
    require(bool((predicted[0][said] > 0).all()), f"{law.name}: a predicted loss is not positive")
    require(bool(said.all() or not said.any()), f"{law.name}: of some rows that were fitted it says nothing")


def order_does_not_matter(law: Law, table: pl.DataFrame) -> None:
    """The same rows in another order are the same fit, and the same fit twice has the same draws."""
    first, again, other = (law.fit(rows) for rows in (table, table, table.reverse()))
    for name, one in first.parameters.items():
        require(again.parameters[name] == one, f"{law.name}: {name} differs between two fits of one table")
        moved = abs(other.parameters[name].value - one.value)
        require(moved <= SAME * max(abs(one.value), 1e-3), f"{law.name}: {name} depends on the order of the rows")


def few_rows_are_refused(law: Law, table: pl.DataFrame) -> None:
    """One row, or two, say nothing: one line that says what is missing."""
    for count in (1, 2):
        try:
            law.fit(table.head(count))
        except CheckFailed as refused:
            require(bool(str(refused)) and "\n" not in str(refused), f"{law.name}: refused in other than one line")
        else:
            require(False, f"{law.name}: {count} rows are fitted")


def optima_are_optima(law: Law, table: pl.DataFrame) -> None:
    """D is the tokens per parameter times N, and no other size at the same compute is predicted to be better by the fit."""
    fitted = law.fit(table)
    if not {"N", "D"} <= {*table.columns}:
        return
    compute = 6 * float((table["N"] * table["D"]).to_numpy().max())
    for one in fitted.optimal((compute, 100 * compute)):
        n, d = one.N.value, one.D.value
        require(bool(np.isclose(one.tokens_per_parameter.value, d / n, rtol=1e-3)), f"{law.name}: D/N is not the ratio it says")
        if {column.name for column in law.needs} == {"N", "D"}:
            around = pl.DataFrame({"N": [n, 0.8 * n, 1.25 * n], "D": [d, d / 0.8, d / 1.25]})
            best, less, more = fitted.predict(around)[0]
            require(best <= min(less, more), f"{law.name}: at {one.flops:.3g} FLOPs another size than its optimum is better")


LAW_CHECKS = (
    it_is_registered,
    parameters_have_intervals,
    predictions_have_draws,
    order_does_not_matter,
    few_rows_are_refused,
    optima_are_optima,
)
