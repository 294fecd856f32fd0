"""What the columns of any table are called: apart where two have one name, and known where a tool wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from hptransfer.base.errors import UsageError, one_line
from hptransfer.base.words import listing
from hptransfer.runs.sources.nested import unnested
from hptransfer.runs.sources.source import ROW, Raw, Role

# Tables that tools export, by columns that no other has together, and what the tool means by its own.
EXPORTS: Mapping[str, tuple[frozenset[str], Mapping[Role, str]]] = {
    "runs table of W&B": (frozenset({"Name", "State", "Runtime", "Created"}), {"run": "ID", "state": "State"}),
    "trials of Optuna": (
        frozenset({"number", "state", "datetime_start"}),
        {"run": "number", "state": "state", "loss": "value"},
    ),
    "results of Ray Tune": (frozenset({"trial_id", "training_iteration"}), {"run": "trial_id", "step": "training_iteration"}),
    "runs of MLflow": (frozenset({"run_id", "status", "experiment_id"}), {"run": "run_id", "state": "status"}),
}


def raw_of(
    place: str, columns: Iterable[pl.Series], rows: Sequence[int] | pl.Series, what: str, notes: Sequence[str] = ()
) -> Raw:
    """What a table holds: ``columns`` as they were read, whatever their names, and for each row its place, which is its `ROW`.
    Raises UsageError where there are no rows."""
    parts = [part for column in columns for part in unnested(column) if part.name.strip() or part.null_count() < len(part)]
    if not len(rows) or not parts:
        raise UsageError(f"{place} holds no rows")
    names, twins = _apart([part.name for part in parts])
    frame = pl.DataFrame(
        [pl.Series(ROW, rows, dtype=pl.Int64), *(part.alias(name) for part, name in zip(parts, names, strict=True))]
    )
    known = next(((name, roles) for name, (has, roles) in EXPORTS.items() if has <= set(names)), None)
    tool, roles = known or ("", {})
    return Raw(
        frame=frame,
        what=f"{tool}, {what}" if tool else what,
        roles={role: column for role, column in roles.items() if column in names},
        notes=(*notes, *twins),
    )


def _apart(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of columns, none twice and none empty, and notes on those that were: the second ``loss`` is ``loss (2)``, and the
    third column is ``column 3`` where it has none."""
    given = [one_line(name) or f"column {place}" for place, name in enumerate(names, start=1)]
    free, taken, found = set(given), set[str](), list[str]()
    others: dict[str, list[str]] = {}
    for name in given:
        own, number = name, 2
        while own in taken or (own != name and own in free):
            own, number = f"{name} ({number})", number + 1
        taken.add(own)
        found.append(own)
        if own != name:
            others.setdefault(name, []).append(own)
    return found, [
        f"{len(more) + 1} columns are called {name!r}: the first stays so, then {listing([repr(own) for own in more])}"
        for name, more in others.items()
    ]
