"""The table that a command is given: read, and what is taken for what."""

from __future__ import annotations

import argparse
import csv

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.intake import Intake, intake
from hptransfer.runs.sources.meanings import Asked, Columns, listed
from hptransfer.runs.sources.reading import Table, read_rows


def read_table(args: argparse.Namespace, table: Table, *, scale: tuple[str, ...] | None = None) -> Intake:
    """The runs of a table, its columns as the options `hptransfer.cli.options.columns` name them; ``scale`` where they do not.
    Columns that tell groups apart are read as they are written."""
    rows = read_rows(table, args.source, text=(args.group or "").split(",")).where(args.where)
    asked = Asked(
        listed(rows.frame, args.group) or (),
        scale if args.scale is None else listed(rows.frame, args.scale),
        listed(rows.frame, args.hp),
        args.loss,
    )
    return intake(rows, asked, maximize=args.maximize or None)


def renamed(args: argparse.Namespace) -> dict[str, str]:
    """The table's own names for ours, as ``--columns`` has them. Raises UsageError."""
    pairs = [part.split("=", 1) for part in next(csv.reader([args.columns or ""], skipinitialspace=True), []) if part.strip()]
    if any(len(pair) != 2 or not all(map(str.strip, pair)) for pair in pairs):
        raise UsageError(f"--columns {args.columns!r} is not a list such as lr=learning_rate,loss=val/loss")
    found = {ours.strip(): theirs.strip() for ours, theirs in pairs}
    if len(found) < len(pairs) or len({*found.values()}) < len(pairs):
        raise UsageError(f"--columns {args.columns!r} names a column twice")
    return found


def columns_words(columns: Columns) -> str:
    """Which columns are taken for what."""
    parts = {"group": columns.group, "scale": columns.scale, "hyperparameter": columns.hp}
    named = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
    return "; ".join([*named, f"loss {columns.loss}" if columns.loss else "no loss: every row is an optimum"])
