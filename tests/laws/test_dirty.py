"""Every law on every kind of dirt: one line that says what is wrong, or a right answer."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from dirt import Dirt, dirty
from ladders import TABLES

from hptransfer import cli
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.base.intervals import Interval
from hptransfer.laws import LAWS
from hptransfer.laws.columns import law_table
from hptransfer.laws.examination import Examination, examine, predicted_intervals
from hptransfer.laws.law import Fitted, Law
from hptransfer.runs.sources.reading import read_rows

pytestmark = pytest.mark.filterwarnings("error")

DRAWS = 100
FITTED = 3  # tables with any outcome that the quick test looks at; the slow one looks at all
SAME = 1e-6  # relative, of fits to rows in another order
REFUSALS = CheckFailed, UsageError


def law_of(name: str) -> Law:
    return LAWS.get(name)(draws=DRAWS)


def good(name: str) -> pl.DataFrame:
    """A law's table, its counts whole numbers."""
    counts = [column.name for column in LAWS.get(name).needs if column.kind == "count"]
    return TABLES[name].drop("row").with_columns(pl.col(counts).round())


def is_whole(one: Interval) -> bool:
    """Finite numbers in their order; an end may be none."""
    ends = [end for end in (one.low, one.value, one.high) if end is not None]
    return bool(np.isfinite(ends).all()) and ends == sorted(ends)


def answered(law: Law, table: pl.DataFrame) -> Examination:
    """A fit and all that is said of it; AssertionError where a number is none."""
    found = examine(read_rows(table).frame, law, {})
    json.dumps(found.as_dict(), allow_nan=False)
    optima = [value for one in found.optimal() for value in (one.N, one.D, one.tokens_per_parameter)]
    assert all(map(is_whole, (*found.fitted.parameters.values(), *optima)))
    predicted(found.fitted, found.table)
    return found


def predicted(fitted: Fitted, table: pl.DataFrame) -> None:
    losses = fitted.predict(table)
    said = losses[0][np.isfinite(losses[0])]
    assert losses.shape == (1 + DRAWS, len(table)) and (said > 0).all()
    assert all(one is None or is_whole(one) for one in predicted_intervals(losses))
    assert all("\n" not in note for note in fitted.caveats(table))


def refusal(error: Exception, words: tuple[str, ...]) -> str:
    """What is wrong with an error; nothing where it is one line with these words."""
    if not isinstance(error, REFUSALS):
        return f"{type(error).__name__}: {error}"
    return "" if "\n" not in str(error) and all(word in str(error) for word in words) else f"refused as {error}"


def fault(law: Law, clean: Examination, one: Dirt) -> str:
    """What is wrong with how a law takes dirt; nothing where nothing is."""
    try:
        found = answered(law, one.table)
    except Exception as error:
        return "refused: " + str(error) if one.same is not None else refusal(error, one.refused or ())
    if one.refused is not None:
        return "not refused"
    for name, value in found.fitted.parameters.items() if one.same is not None else ():
        if abs(value.value - clean.fitted.parameters[name].value) > SAME * max(abs(value.value), 1e-3):
            return f"{name} is another"
    return ""


def misread(law: Law, one: Dirt) -> str:
    """What is wrong with the rows that are read of a table that is as good as another one."""
    try:
        (found, notes), (expected, _) = (
            law_table(read_rows(table).frame, type(law), {}, None) for table in (one.table, one.same)
        )
    except REFUSALS as error:
        return f"refused: {error}"
    if len(found) < len(one.table) and not any(f"left out: {len(one.table) - len(found)} " in note for note in notes):
        return "rows are left out and nobody says so"
    return "" if found.drop("row").equals(expected.drop("row")) else "other rows are read"


def mispredicted(clean: Examination, one: Dirt) -> str:
    """What is wrong with what a good fit predicts of the rows."""
    try:
        asked, _ = law_table(read_rows(one.table).frame, type(clean.law), {}, None, to_predict=True)
        predicted(clean.fitted, asked)
    except Exception as error:
        return refusal(error, ())
    return ""


def faults(name: str, seed: int, fitted: int | None) -> list[str]:
    """Of every dirt. ``fitted``: how many tables of which any outcome may come are fitted; None: all."""
    law, table = law_of(name), good(name)
    clean, every = answered(law, table), [*dirty(LAWS.get(name), good(name), seed)]
    either = [one for one in every if one.same is None and one.refused is None]
    some = either if fitted is None else [either[k] for k in np.random.default_rng(seed).permutation(len(either))[:fitted]]
    found = [(one.what, misread(law, one)) for one in every if one.same is not None and not one.is_shuffled]
    found += [(one.what, fault(law, clean, one)) for one in every if one.is_shuffled or one.refused is not None]
    found += [(one.what, fault(law, clean, one)) for one in some]
    found += [(f"to predict: {one.what}", mispredicted(clean, one)) for one in every]
    return [f"{what}: {wrong}" for what, wrong in found if wrong]


@pytest.mark.parametrize("name", TABLES)
def test_a_law_answers_or_refuses(name):
    assert not faults(name, 0, FITTED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", TABLES)
def test_a_law_answers_or_refuses_all_of_it(name, seed):
    assert not faults(name, seed, None)


@pytest.mark.parametrize("name", TABLES)
def test_the_command_refuses_in_one_line(name, tmp_path, capsys):
    path = tmp_path / "dirty.csv"
    flat = [one for one in dirty(LAWS.get(name), good(name), 3) if one.refused is not None and not one.is_nested]
    for k in np.random.default_rng(3).permutation(len(flat))[:8]:
        flat[k].table.write_csv(path)
        with pytest.raises(SystemExit) as stopped:
            cli.main(["laws", "fit", name, "--table", str(path), "--option", f"draws={DRAWS}", "--json"])
        printed = capsys.readouterr()
        assert stopped.value.code in (1, 2) and printed.out == "", flat[k].what
        assert len(printed.err.strip().splitlines()) == 1, (flat[k].what, printed.err)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--where", "loss < 0"], "keeps none of the"),
        (["--hold-out", "N > 0"], "needs 6 runs or more"),
        (["--hold-out", "loss"], "is not true or false"),
        (["--lowest", "N,D", "--where", "loss is null"], "no row with a finite loss"),
        (["--lowest", "N,D", "--loss", "arm"], "arm 'all' is not a number"),
    ],
)
def test_what_leaves_no_rows_is_one_line(argv, says, tmp_path, capsys):
    path = tmp_path / "ladder.csv"
    good("chinchilla").with_columns(arm=pl.lit("all"), loss=pl.when(pl.col("N") > 1e8).then("loss")).write_csv(path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["laws", "fit", "chinchilla", "--table", str(path), *argv, "--json"])
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert stopped.value.code in (1, 2) and printed.out == "" and says in line


def test_a_column_that_people_call_row_is_not_the_place_of_the_row():
    table = good("chinchilla")
    found, same = (
        examine(read_rows(one).frame, law_of("chinchilla"), {}, hold_out="N > 1e9") for one in (table, table.with_columns(row=7))
    )
    assert found.held_out == same.held_out and found.held_out.rows > 0
