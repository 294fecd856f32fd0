"""``hptransfer import``: runs of a table, tracker or storage into a store; with ``--look`` nothing is written."""

from __future__ import annotations

import argparse
import math
from typing import Any

import polars as pl

from hptransfer import cli
from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError
from hptransfer.cli.tables import columns_words, renamed
from hptransfer.runs.sources.intake import Intake, column_of_role, intake, state_columns
from hptransfer.runs.sources.meanings import Asked, Columns, names_of
from hptransfer.runs.sources.mixtures import IDENTITY
from hptransfer.runs.sources.names import meaning
from hptransfer.runs.sources.reading import Rows, read_rows
from hptransfer.runs.store import Store
from hptransfer.store.importer import import_runs, require_ours

SHOWN = 24  # columns that fit on one screen; of more those that mean something
FARTHER = 4  # times the largest scale: the target of the command that is proposed


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 of a look where the runs cannot be taken as they are. Errors are raised, and nothing is written then."""
    if args.look:
        cli.refuse_unheeded(args, "with --look, which reads the place alone", "experiment", "set", "store")
        return _look(args)
    cli.refuse_unheeded(args, "without --look", "maximize")
    store, names = Store(args.store), renamed(args)
    found = import_runs(args.place, args.experiment, args.set, store, names, source=args.source, where=args.where)
    for note in found.notes:
        cli.console.print(f"note: {note}")
    result = {"store": found.store, "imported": found.new, "already_there": found.known, "notes": list(found.notes)}
    cli.finish(args, result, written=[found.words], next_command=command("transfer", *cli.selection(args)))
    return 0


def _look(args: argparse.Namespace) -> int:
    """What every column is taken for, what is left out and why, and the command that follows."""
    rows = read_rows(args.place, args.source).where(args.where)
    names = renamed(args)
    require_ours(names)
    asked = Asked(
        scale=tuple(names[one] for one in names if meaning(one) in ("width", "depth", "tokens", "batch")) or None,
        hp=tuple(names[one] for one in names if meaning(one) in ("lr", "weight_decay", "embedding_lr_ratio")) or None,
        loss=names.get("loss"),
    )
    cli.console.print(f"{rows.why or rows.what}; {rows.what}: {len(rows.frame):,} rows, {len(names_of(rows.frame))} columns")
    found, refused = None, None
    try:
        found = intake(rows, asked, maximize=args.maximize or None)
    except UsageError as error:
        refused = str(error)
    states = state_columns(rows.frame, found.columns if found else Columns((), (), (), None))
    taken = {name: "state" if name in states else _taken_for(name, rows, found) for name in names_of(rows.frame)}
    shown = {name: words for name, words in taken.items() if words or len(taken) <= SHOWN}
    table = [(name, words or "not used", _examples(rows.frame[name])) for name, words in shown.items()]
    cli.table("what each column is taken for", ("column", "taken for", "values"), table)
    if len(shown) < len(taken):
        cli.console.print(f"not used: {len(taken) - len(shown)} other columns")
    for note in found.notes if found else rows.notes:
        cli.console.print(f"note: {note}")
    if refused:
        cli.console.print(f"refused: {refused}")
    if found:
        cli.console.print(f"{len(found.frame):,} runs; {columns_words(found.columns)}")
    following = _following(args, found) if found else None
    result: dict[str, Any] = {"source": rows.why, "what": rows.what, "rows": len(rows.frame), "columns": taken}
    result |= {"runs": len(found.frame) if found else None, "notes": list(found.notes if found else rows.notes)}
    cli.finish(args, result | {"refused": refused, "next": following}, next_command=following)
    return 1 if refused else 0


def _taken_for(name: str, rows: Rows, found: Intake | None) -> str:
    """What a column is taken for, in words; "" where it is not used."""
    columns = found.columns if found else Columns((), (), (), None)
    for what, named in {"scale": columns.scale, "hyperparameter": columns.hp, "loss": (columns.loss,)}.items():
        if name in named:
            return what
    if found and name in found.mixed:
        return "differs, and is not named"
    for role, words in {"run": "name of the run", "step": "step", "seed": "seed"}.items():
        if column_of_role(rows, rows.frame, role, columns) == name:
            return words
    return {"lr": "could be a hyperparameter", "weight_decay": "could be a hyperparameter"}.get(meaning(name) or "", "")


def _examples(column: pl.Series) -> str:
    """The range of numbers, or the first words."""
    values = column.drop_nulls()
    if values.is_empty():
        return "empty"
    if column.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
        finite = numbers.filter(numbers.is_finite())
        ends = (finite.to_numpy().min(), finite.to_numpy().max()) if len(finite) else ()
        return " to ".join(dict.fromkeys(f"{end:.6g}" for end in ends)) or "not finite"
    words = (
        values.cast(pl.String, strict=False).unique(maintain_order=True).to_list() if not column.dtype.is_nested() else ["nested"]
    )
    more = f" and {len(words) - 3:,} more" if len(words) > 3 else ""
    return ", ".join(str(word)[:24] for word in words[:3]) + more


def _following(args: argparse.Namespace, found: Intake) -> str:
    """The command that predicts from these runs, for a target that is `FARTHER` times as large."""
    columns = found.columns
    at = ",".join(f"{name}={_farther(found.frame[name])}" for name in columns.scale)
    words = [
        "--table",
        found.place,
        *(["--source", args.source] if args.source else []),
        *(["--where", args.where] if args.where else []),
    ]
    groups = tuple(name for name in found.mixed if meaning(name) in IDENTITY)
    for option, names in {"--group": groups, "--scale": columns.scale, "--hp": columns.hp}.items():
        words += [option, ",".join(f'"{name}"' if "," in name else name for name in names)] if names else []
    words += ["--loss", columns.loss] if columns.loss else []
    words += ["--maximize"] if args.maximize else []
    return command("transfer", *words, "--at", at)


def _farther(column: pl.Series) -> str:
    largest = float(column.to_numpy().max()) * FARTHER
    return str(int(largest)) if largest.is_integer() and math.log10(largest) < 7 else f"{largest:.4g}"
