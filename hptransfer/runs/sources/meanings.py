"""Which columns of a table mean what: as a user says, and else by their usual names."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from hptransfer.base.errors import UsageError, unknown
from hptransfer.base.words import listing
from hptransfer.runs.sources.names import SETTING, is_maximised, loss_rank, meaning, plain, unit
from hptransfer.runs.sources.source import Role

SCALES = ("width", "parameters", "depth", "tokens")  # what is looked for where no scale is said, the first that differs


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what. Without ``loss`` every row is an optimum that somebody found."""

    group: tuple[str, ...]
    scale: tuple[str, ...]
    hp: tuple[str, ...]
    loss: str | None

    @property
    def named(self) -> tuple[str, ...]:
        """Those that say which run it is: all but the loss."""
        return (*self.group, *self.scale, *self.hp)


@dataclass(frozen=True)
class Asked:
    """What a user says of the columns: names, or None where they are to be found. ``loss`` is "" where there is none."""

    group: tuple[str, ...] = ()
    scale: tuple[str, ...] | None = None
    hp: tuple[str, ...] | None = None
    loss: str | None = None


def listed(frame: pl.DataFrame, text: str | None) -> tuple[str, ...] | None:
    """The columns that an option lists: a name that has a comma is one where it is a column's, or in quotes. None: not said."""
    if text is None or text in frame.columns:
        return None if text is None else (text,)
    return tuple(name for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip())


def find_columns(frame: pl.DataFrame, roles: Mapping[Role, str], asked: Asked) -> Columns:
    """The columns that are asked for, and those of usual names for what is not. Raises UsageError, with candidates, for a name
    that no column has, and where several could be meant."""
    for option, names in (("scale", asked.scale), ("hp", asked.hp)):
        if names is not None and not names:
            raise UsageError(f"--{option} names no column; a prediction needs one: {_all(frame)}")
    _check_long(frame)
    scale = asked.scale if asked.scale is not None else (_scale(frame),)
    hp = asked.hp if asked.hp is not None else (_only(frame, "lr", "--hp"),)
    loss = asked.loss
    if loss is None:
        loss = roles.get("loss") or find_loss(frame, (*asked.group, *scale, *hp))
    found = Columns(
        tuple(column_called(frame, name) for name in asked.group),
        tuple(column_called(frame, name) for name in scale),
        tuple(column_called(frame, name) for name in hp),
        column_called(frame, loss) if loss else None,
    )
    if twice := [name for place, name in enumerate(found.named) if name in (*found.named[:place], found.loss)]:
        raise UsageError(f"column {twice[0]!r} cannot be two things at once: group, scale, hyperparameter and loss are apart")
    return found


def _check_long(frame: pl.DataFrame) -> None:
    """Raises UsageError where columns are the values of a scale, and cells the losses."""
    values = [name for name in names_of(frame) if re.fullmatch(r"\D{0,8}?[=_]?\d[\d,.]*[kMB]?", name)]
    if len(values) > 1 and len(values) >= len(names_of(frame)) - 2:
        rows = "width, lr, loss"
        raise UsageError(
            f"columns {', '.join(values[:4])} are values of a scale: make the table long, one row for each run ({rows})"
        )


def names_of(frame: pl.DataFrame) -> list[str]:
    """The columns that the table itself has."""
    return [name for name in frame.columns if not name.startswith("\0")]


def column_called(frame: pl.DataFrame, name: str) -> str:
    """The column of that name, or the only one that ends in it or means the same. Raises UsageError with the nearest name."""
    known = names_of(frame)
    if name in known:
        return name
    own = [column for column in known if plain(column) == plain(name)]
    alike = own or [column for column in known if meaning(name) and meaning(column) == meaning(name)]
    if not alike:
        raise unknown("column", name, known)
    if len(alike := _told_apart(frame, alike)) > 1:
        raise UsageError(f"column {name!r} could be {listing(alike, 'or')}: give its whole name")
    return alike[0]


def _scale(frame: pl.DataFrame) -> str:
    """The scale of a table that nobody named: the first kind that there is and that differs."""
    for what in SCALES:
        if any(meaning(name) == what for name in _varying(frame)):
            return _only(frame, what, "--scale")
    for what in SCALES:
        if any(meaning(name) == what for name in names_of(frame)):
            return _only(frame, what, "--scale")
    raise UsageError(f"no column of a usual name for width, depth, parameters or tokens; name one with --scale: {_all(frame)}")


def _only(frame: pl.DataFrame, what: str, option: str) -> str:
    """The column with that meaning. Raises UsageError where there is none, or several could be meant."""
    found = [name for name in names_of(frame) if meaning(name) == what]
    if not found and what == "lr":  # of one optimizer, or a multiple: muon_lr, lr_mult; no negative logarithm
        words = {name: plain(name).split("_") for name in names_of(frame)}
        found = [name for name, own in words.items() if "lr" in own and own[0] not in ("neg", "minus", "negative")]
    found = _told_apart(frame, found)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{what} could be {listing(found, 'or')}: say {option} {_quoted(found[0])}, or another")
    raise UsageError(f"no column of a usual name for {what}; name it with {option}: {_all(frame)}")


def _told_apart(frame: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Of columns that mean the same those between which a user must choose: settings before metrics of the same name, which are
    the last value of a schedule; those that differ between rows; values before their logarithms; one of those that are equal."""
    varying = set(_varying(frame))
    found = [name for name in names if SETTING.match(name)] or names
    found = [name for name in found if name in varying] or found[:1]
    found = [name for name in found if not unit(name)] or found
    return list({tuple(frame[name].to_list()): name for name in reversed(found)}.values())[::-1]


def find_loss(frame: pl.DataFrame, taken: Sequence[str]) -> str | None:
    """The column of losses: the best rank that is there; of a metric to be maximised only where there is no loss. None where
    every row is an optimum."""
    names = [name for name in names_of(frame) if name not in taken]
    ranked = sorted((rank, place, name) for place, name in enumerate(names) if (rank := loss_rank(name)) is not None)
    if not ranked:
        found = [name for name in names if is_maximised(name)]
    else:
        # A bare loss may be that of the training batch: beside one of held-out text it is asked for.
        best = ranked[0][0]
        found = [name for rank, _, name in ranked if rank == best or (best == 0 and plain(name) == "loss")]
    if len(found) > 1:
        raise UsageError(f"the loss could be {listing(found, 'or')}: say --loss {_quoted(found[0])}, or another")
    return found[0] if found else None


def _varying(frame: pl.DataFrame) -> list[str]:
    return [name for name in names_of(frame) if frame[name].drop_nulls().n_unique() > 1]


def _quoted(name: str) -> str:
    return f"'{name}'" if any(mark in name for mark in " ,;'{}[]()$&|") else name


def _all(frame: pl.DataFrame) -> str:
    return ", ".join(names_of(frame))
