"""Wrong tables: a column, a cell, the file."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from benchmarks.attack.damage import DAMAGES, damage_file
from benchmarks.attack.right import OWN, SWEEP, TINY, Call, must_be
from benchmarks.attack.values import VALUES

READERS = {  # commands that read a table, its columns, those that must be right
    ("transfer", *SWEEP): ("sweep", ("lr", "width")),
    ("backtest",): ("sweep", ("lr", "width")),
    ("import", *TINY, "--store", "other", *OWN): ("own", ("lr", "width", "loss")),
    ("import", "--look"): ("own", ()),
    ("laws", "fit", "chinchilla", "--table"): ("laws", ("N", "D", "loss")),
    ("laws", "predict", "chinchilla", "--table", "laws.csv", "--to"): ("laws", ("N", "D")),
    ("laws", "fit", "isoflop", "--table"): ("budgets", ("N", "D", "flops")),
    ("laws", "fit", "annealing", "--table"): ("curves", ("step", "loss")),
}
COLUMNS = {
    "sweep": ("model", "width", "lr", "seed", "loss"),
    "own": ("optimizer", "width", "lr", "weight_decay", "loss", "seed"),
    "laws": ("N", "D", "loss"),
    "budgets": ("N", "D", "flops", "arm", "loss"),
    "curves": ("run", "step", "lr", "loss"),
}
MAY_LACK = ("loss", "flops")  # a law of optima needs no loss; FLOPs without a column are those of N and D
NO_POSITIVE = {
    "null",
    "word",
    "zero",
    "negative",
    "nan",
    "inf",
    "empty",
    "1 MB",
    "unicode",
    "newline",
    "path",
    "markup",
    "list",
    "mapping",
    "surrogate",
}


def table(draw: random.Random) -> Call:
    reader = draw.choice(list(READERS))
    table, needed = READERS[reader]
    form = draw.choice(("csv", "parquet", "jsonl"))
    column, every = draw.choice(COLUMNS[table]), draw.random() < 0.5
    kind = draw.choice([*(one for one in VALUES if one != "nested"), "missing"])
    refused = every and column in needed and (kind in NO_POSITIVE or (kind == "missing" and column not in MAY_LACK))
    if every and column == "loss" and column in needed and kind in ("missing", "null"):
        refused = True
    name = f"wrong.{form}"

    def prepare(folder: Path) -> None:
        import polars as pl

        rows = pl.read_csv(folder / f"{table}.csv").to_dicts()
        for row in rows if every else rows[3:4]:
            row[column] = deepcopy(VALUES.get(kind))
        write_table(
            folder / name, [{key: value for key, value in row.items() if kind != "missing" or key != column} for row in rows]
        )

    shown = VALUES.get(kind)
    return Call(
        reader[0],
        _placed(reader, name),
        f"{form} column {column}{'' if every else ', one row'}",
        kind,
        must_be(refused),
        (column, str(shown), name),
        prepare,
    )


def _placed(reader: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The words of a reader with its table."""
    return (*reader[1:], name) if reader[-1].startswith("--") else (name, *reader[1:])


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV, JSON lines or Parquet, whatever is in them."""
    import csv

    import polars as pl

    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        pl.DataFrame([_series(name, [row.get(name) for row in rows]) for name in names]).write_parquet(path)


def _series(name: str, values: list[Any]) -> Any:
    """A column of Parquet with whatever is in it; bytes where there is a number or text that it has not."""
    import polars as pl

    with suppress(pl.exceptions.PolarsError, TypeError, OverflowError, ValueError):
        found = pl.Series(name, values, strict=False)
        if found.dtype != pl.Object:
            return found
    return pl.Series(name, [str(value).encode(errors="replace") for value in values])


def damaged_table(draw: random.Random) -> Call:
    reader, form = draw.choice(list(READERS)), draw.choice(("csv", "parquet", "jsonl"))
    damage, seed = draw.choice([*DAMAGES, "glob"]), draw.random()
    name = "wrong[1]." + form if damage == "glob" else f"wrong.{form}"

    def prepare(folder: Path) -> None:
        import polars as pl

        rows = pl.read_csv(folder / f"{READERS[reader][0]}.csv").to_dicts()
        write_table(folder / name.replace("[1]", "1"), rows)
        if damage == "glob":  # the pattern matches another, right one
            (folder / name).write_bytes(b"")
        else:
            damage_file(folder / name, damage, random.Random(seed))

    refused = damage not in ("cut", "flipped", "not UTF-8", "UTF-16") or (damage == "cut" and form == "parquet")
    return Call(
        reader[0],
        _placed(reader, name),
        f"{form} file",
        damage,
        must_be(refused),
        (name, name.split(".")[0], *COLUMNS[READERS[reader][0]]),
        prepare,
    )
