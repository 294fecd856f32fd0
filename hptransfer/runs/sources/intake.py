"""From a table as people have it to one row for each run that says something: the one intake of every command.

Whatever is left out, merged or read in one of two ways is said in a note, with its column and how many rows it concerns. A table
that is clean has no notes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.words import listing
from hptransfer.runs.sources.maxima import as_loss
from hptransfer.runs.sources.meanings import Asked, Columns, find_columns, names_of
from hptransfer.runs.sources.mixtures import IDENTITY, MOVES, mixtures
from hptransfer.runs.sources.names import base_is_guessed, meaning, unit
from hptransfer.runs.sources.reading import Rows, numbers, wrong_cell
from hptransfer.runs.sources.source import ROW
from hptransfer.runs.sources.states import FLAGS, State, counted, states_in, without_words

FULL = 0.9  # of the steps that runs of a scale have: one that ended before was not finished
SHARED = 0.2  # of the runs of a scale that end at a step for it to be the end
COUPLED = 0.01  # an independent weight decay of this size halves a weight in 70 steps: it is meant per unit of learning rate


@dataclass(frozen=True)
class Intake:
    """Runs in the normal form: one row for each, with numbers in the columns of scale, hyperparameters and loss.

    A loss is null where the run diverged, or where rows are optima. ``mixed``: columns by which runs of one group do not belong
    together. ``notes``: what was left out or may be read in two ways.
    """

    place: str
    frame: pl.DataFrame
    columns: Columns
    mixed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def intake(rows: Rows, asked: Asked, *, maximize: bool | None = None) -> Intake:
    """The runs of a table. ``maximize``: whether the highest value of the loss column is the best (None: as the source says).
    Raises UsageError in one line: what is wrong, where, and what to do."""
    if rows.frame.is_empty():
        raise UsageError(f"{rows.place} has no rows")
    try:
        return _taken_in(rows, asked, maximize)
    except UsageError as error:
        words = str(error)
        if words.startswith(rows.place):
            raise
        raise UsageError(f"{rows.place}{' ' if words.startswith('row ') else ': '}{words}") from None


def _taken_in(rows: Rows, asked: Asked, maximize: bool | None) -> Intake:
    columns = find_columns(rows.frame, rows.roles, asked)
    notes = list(rows.notes)
    _check_seeds(rows, columns)
    frame = without_words(rows.frame, columns.loss, notes) if columns.loss else rows.frame
    frame = _last_steps(rows, frame, columns, notes)
    frame = _finished(rows, frame, columns, notes)
    for name in (*columns.scale, *columns.hp):
        frame = frame.with_columns(_sizes(frame, name, notes))
    if columns.loss is None:
        _check_optima(rows, frame, columns)
    else:
        frame = as_loss(frame, columns, rows.maximize if maximize is None else maximize, notes)
    frame = _complete_rows(rows, frame, columns, notes)
    frame = _as_long_as_others(rows, frame, columns, notes)
    mixed = mixtures(frame, columns, notes)
    frame = _once(rows, frame, columns, mixed, notes)
    _say_coupled(frame, columns, notes)
    return Intake(rows.place, frame, columns, mixed, tuple(notes))


def column_of_role(rows: Rows, frame: pl.DataFrame, what: str, columns: Columns) -> str | None:
    """The column of a role, as the source says or by its usual names; one that is named for something else is not it."""
    if (own := rows.roles.get(what)) in frame.columns:  # type: ignore[call-overload]
        return str(own)
    taken = (*columns.named, columns.loss)
    return next((name for name in names_of(frame) if meaning(name) == what and name not in taken), None)


# -- one row for each run ----------------------------------------------------------------------------------------------


def _last_steps(rows: Rows, frame: pl.DataFrame, columns: Columns, notes: list[str]) -> pl.DataFrame:
    """Of what a run logged step after step the last row that has a loss, at the step that the run came to."""
    if (step := _step(rows, frame, columns)) is None:
        return frame
    run, seed = (column_of_role(rows, frame, what, columns) for what in ("run", "seed"))
    if run:  # which may have its settings in its first row alone
        frame = frame.with_columns(pl.col(name).fill_null(pl.col(name).drop_nulls().first().over(run)) for name in columns.named)
    # Without a name of its own a run is told by how it was trained.
    told = [run] if run else [name for name in names_of(frame) if _is_setting(name)]
    key = list(dict.fromkeys([*columns.named, *told, *([seed] if seed else [])]))
    logged = frame.group_by(key).agg(pl.col(step).drop_nulls().n_unique())[step]
    if (logged > 1).sum() == 0:
        return frame
    has_loss = pl.col(columns.loss).is_not_null() if columns.loss else pl.lit(True)
    ordered = frame.with_columns(pl.col(step).max().over(key)).with_columns(frame[step].alias("\0step"), has_loss.alias("\0has"))
    last = ordered.sort("\0has", "\0step", ROW).unique(key, keep="last", maintain_order=True).sort(ROW).drop("\0step", "\0has")
    notes.append(f"{step}: {len(frame):,} rows are the history of {len(last):,} runs; the last step of each is kept")
    return last


def _step(rows: Rows, frame: pl.DataFrame, columns: Columns) -> str | None:
    """The column of steps; None where there is none of numbers."""
    step = column_of_role(rows, frame, "step", columns)
    return step if step and frame[step].dtype.is_numeric() else None


def _is_setting(name: str) -> bool:
    return meaning(name) in (*IDENTITY, *MOVES, "lr", "weight_decay") and meaning(name) != "step"


def _finished(rows: Rows, frame: pl.DataFrame, columns: Columns, notes: list[str]) -> pl.DataFrame:
    """The runs that came to their end, or diverged; those say so by a loss that is not a number."""
    for name, states in state_columns(frame, columns).items():
        if not any(states.values()):
            if len(states) > 1:
                notes.append(f"{name}: {listing([*states])} are no states that are known; --where keeps the finished runs")
            continue
        _check_words(rows, frame, name, states)
        state = frame[name].cast(pl.String).replace_strict(states, return_dtype=pl.String).fill_null("finished")
        loss = pl.col(columns.loss).cast(pl.Float64, strict=False) if columns.loss else pl.lit(None)
        failed = (state == "failed") & frame.select(loss.is_finite().not_().fill_null(False).alias("\0")).to_series()
        diverged = (state == "diverged") | failed
        kept = (state == "finished") | diverged
        if not kept.all():
            notes.append(f"{name}: left out {_left_out(frame[name].filter(~kept))}")
        if not kept.any():
            raise UsageError(f"{rows.place}: no run is finished: {notes[-1]}")
        if columns.loss and diverged.any():
            frame = frame.with_columns(pl.when(diverged).then(math.nan).otherwise(loss).alias(columns.loss))
        frame = frame.filter(kept)
    return frame


def _left_out(words: pl.Series) -> str:
    """How many there are of each; of yes or no, and of a code, how many where the column says so."""
    is_said = words.dtype == pl.String and not words.str.to_lowercase().is_in(list(FLAGS)).any()
    return counted(words) if is_said else f"{len(words):,} where it is {listing(sorted({str(word).lower() for word in words}))}"


def _check_words(rows: Rows, frame: pl.DataFrame, name: str, states: Mapping[str, State | None]) -> None:
    """Raises UsageError for a word that is not known among some that are."""
    for word, state in states.items():
        if state is None:
            row = int((frame[name].cast(pl.String) == word).arg_max() or 0)
            kept = next((word for word, state in states.items() if state == "finished"), "finished")
            raise UsageError(
                f"{rows.place} row {frame[ROW][row]}: {name} {word!r} is no state that is known; keep the finished runs, "
                f'as with --where \'"{name}" = "{kept}"\''
            )


def state_columns(frame: pl.DataFrame, columns: Columns) -> dict[str, dict[str, State | None]]:
    """The columns that tell what became of a run, with the words of each in ours (null cells: finished)."""
    told = {name: states_in(frame, name) for name in names_of(frame) if name not in (*columns.named, columns.loss)}
    return {name: states for name, states in told.items() if states}


def _as_long_as_others(rows: Rows, frame: pl.DataFrame, columns: Columns, notes: list[str]) -> pl.DataFrame:
    """The runs that came as far as others of their scale: to the last step that several ended at. One that ended long before was
    stopped, whatever its loss."""
    if (step := _step(rows, frame, columns)) is None:
        return frame
    alike = [*columns.group, *columns.scale, *(n for n in names_of(frame) if meaning(n) in ("batch", "tokens") and n != step)]
    alike = list(dict.fromkeys(alike))
    finished = frame.filter(pl.col(columns.loss).is_not_null()) if columns.loss else frame
    ends = finished.group_by([*alike, step]).len().with_columns(pl.col("len").sum().over(alike).alias("all"))
    shared = ends.filter((pl.col("len") > 1) & (pl.col("len") > SHARED * pl.col("all")))
    most = shared.group_by(alike).agg(pl.col(step).max().alias("\0end"))
    if most.is_empty():
        return frame
    joined = frame.join(most, on=alike, how="left", nulls_equal=True, maintain_order="left")
    has_loss = pl.col(columns.loss).is_not_null() if columns.loss else pl.lit(True)
    short = joined.select((pl.col(step) < FULL * pl.col("\0end")) & has_loss).to_series().fill_null(False)
    if short.any():
        cut = joined.filter(short)
        notes.append(
            f"{step}: left out {short.sum():,} runs that ended at {_span(cut[step])} of {_span(cut[chr(0) + 'end'])} steps"
        )
    return joined.filter(~short).drop("\0end")


def _once(rows: Rows, frame: pl.DataFrame, columns: Columns, mixed: Sequence[str], notes: list[str]) -> pl.DataFrame:
    """Each run once: two rows with the same columns that are named, seed and loss are one run, and no second seed."""
    seed, run = (column_of_role(rows, frame, what, columns) for what in ("seed", "run"))
    told = [*columns.named, *([seed] if seed else []), *mixed]
    key = list(dict.fromkeys([*told, *([columns.loss] if columns.loss else [])]))
    once = frame.unique(key, keep="first", maintain_order=True)
    if len(once) < len(frame):
        notes.append(f"{', '.join(key)}: {len(frame) - len(once):,} rows repeat another; each run counts once")
    if run and columns.loss:
        copies = once.group_by(list(dict.fromkeys([*told, run]))).len().filter(pl.col("len") > 1)
        if len(copies):
            name, most = copies.sort("len", descending=True).select(run, "len").row(0)
            if most > 2:
                raise UsageError(
                    f"{rows.place}: {run} {name!r} has {most} rows with other losses and no column tells its steps: keep the "
                    "last of each run, or name the steps' column step"
                )
            notes.append(f"{run}: {copies['len'].sum():,} rows share a run's name and differ in loss; each counts as a run")
    return once


# -- the values in it --------------------------------------------------------------------------------------------------


def _check_seeds(rows: Rows, columns: Columns) -> None:
    """Raises UsageError for a seed that is a number and no whole one; words tell runs apart as well."""
    seed = column_of_role(rows, rows.frame, "seed", columns)
    if seed is None or not rows.frame[seed].dtype.is_float():
        return
    values = rows.frame[seed].fill_nan(None).fill_null(0.0)
    if (wrong := (values - values.floor()) != 0).any():  # of an infinite one that is nan
        raise wrong_cell(rows.frame, seed, wrong.arg_max() or 0, "is no whole number")


def _sizes(frame: pl.DataFrame, name: str, notes: list[str]) -> pl.Series:
    """A scale's or hyperparameter's numbers, null where there is none. Raises UsageError for one below 0 or not finite, and for
    logarithms that cannot be."""
    values = numbers(frame, name)
    empty = frame[name].is_null().to_numpy()
    if (wrong := ~np.isfinite(values) & ~empty).any():
        raise wrong_cell(frame, name, int(wrong.argmax()), "is not finite")
    if unit(name):
        _check_logarithms(frame, name, values, notes)
        return pl.Series(name, values).fill_nan(None)
    if (wrong := values < 0).any():
        what = "is negative; logarithms are told by a name such as log10_lr" if meaning(name) == "lr" else "is not positive"
        raise wrong_cell(frame, name, int(wrong.argmax()), what)
    zero = values == 0
    if zero.any():
        if zero.all() or meaning(name) not in ("weight_decay", "lr", None):
            raise wrong_cell(frame, name, int(zero.argmax()), "is not positive")
        notes.append(f"{name}: left out {zero.sum():,} rows where it is 0, which has no logarithm")
    return pl.Series(name, np.where(zero, math.nan, values)).fill_nan(None)


def _check_logarithms(frame: pl.DataFrame, name: str, values: np.ndarray, notes: list[str]) -> None:
    """A learning rate above 1 in every row is none, whatever the column is called."""
    own = values[np.isfinite(values)]
    if meaning(name) == "lr" and len(own) and own.min() > 0:
        low, high = (math.exp(min(end * unit(name), 700.0)) for end in (own.min(), own.max()))
        raise UsageError(
            f"{name} {own.min():g} to {own.max():g}: as logarithms these are learning rates of {low:.4g} to {high:.4g}; if they "
            f"are learning rates themselves, as of a LayerNorm, rename the column (lr_{name.removesuffix('_lr')})"
        )
    if base_is_guessed(name) and len(own):
        low, high = 10.0 ** own.min(), 10.0 ** own.max()
        notes.append(f"{name}: read as logarithms to base 10, {low:.4g} to {high:.4g}; natural ones are told by the name ln_...")


def _complete_rows(rows: Rows, frame: pl.DataFrame, columns: Columns, notes: list[str]) -> pl.DataFrame:
    """The rows with a value in each column that says where a run is. Zeros have been told apart before."""
    named = [*columns.scale, *columns.hp]
    lacking = frame.select(pl.any_horizontal(pl.col(named).is_null())).to_series()
    if not lacking.any():
        return frame
    empty = {name: int((rows.frame.filter(rows.frame[ROW].is_in(frame[ROW].implode()))[name].is_null()).sum()) for name in named}
    for name, count in empty.items():
        if count:
            notes.append(f"{name}: left out {count:,} rows without a value")
    kept = frame.filter(~lacking)
    if kept.is_empty():
        raise UsageError(f"{rows.place}: no row has a value in each of {', '.join(named)}")
    return kept


def _check_optima(rows: Rows, frame: pl.DataFrame, columns: Columns) -> None:
    """Raises UsageError where rows that are taken for optima are a sweep: several values at most cells."""
    several = frame.group_by([*columns.group, *columns.scale]).agg(pl.struct(columns.hp).n_unique()).to_series(-1)
    if (several > 2).sum() * 2 > len(several):
        others = ", ".join(name for name in names_of(frame) if name not in columns.named)
        raise UsageError(
            f"{rows.place}: no column of a usual name for the loss, and rows are no optima; name it with --loss: {others}"
        )


def _say_coupled(frame: pl.DataFrame, columns: Columns, notes: list[str]) -> None:
    """Weight decays of torch's size are said to be coupled: what is predicted is in the same meaning."""
    for name in columns.hp:
        if meaning(name) == "weight_decay" and "independent" not in name and "coupled" not in name and not unit(name):
            values = frame[name].drop_nulls().to_numpy()
            if len(values) and np.median(values) >= COUPLED:
                notes.append(
                    f"{name}: {len(values):,} values, {values.min():g} to {values.max():g}, are of the size of torch's coupled "
                    "weight decay (a step takes lr * weight_decay); what is predicted is coupled too"
                )


def _span(values: pl.Series) -> str:
    low, high = values.to_numpy().min(), values.to_numpy().max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
