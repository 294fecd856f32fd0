"""What people's tables come with: a good table of a law and every way in which it goes bad, with what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from hptransfer.laws.columns import LOSS, Column
from hptransfer.laws.law import Law

BILLION = 1e9


@dataclass(frozen=True)
class Dirt:
    """A table that something was done to. ``same``: it must be fitted as this one is; ``refused``: it must be refused, in a line
    that has these words; neither: a refusal or an answer with finite numbers, whichever."""

    what: str
    table: pl.DataFrame
    same: pl.DataFrame | None = None
    refused: tuple[str, ...] | None = None

    @property
    def is_shuffled(self) -> bool:
        """Whether the same rows are there in another order."""
        return self.what == "rows shuffled"

    @property
    def is_nested(self) -> bool:
        """Whether a cell holds more than a file of text can."""
        return "lists" in self.what


def dirty(law: type[Law], good: pl.DataFrame, seed: int) -> Iterator[Dirt]:
    """Every kind of dirt on a good table of a law, without ``row``, at places that the seed chooses."""
    rng = np.random.default_rng(seed)
    columns = [*law.needs, *([LOSS] if LOSS.name in good.columns else [])]
    numeric = [column for column in columns if column.kind != "label"]
    for column in numeric:
        yield from _cells(column, good, int(rng.integers(len(good))))
        yield from _columns(column, good)
    yield from _rows(good, rng)
    yield from _names(law, columns, good, rng)
    yield from _units(law, good)
    yield from _labels(columns, good, rng)


def _cells(column: Column, good: pl.DataFrame, row: int) -> Iterator[Dirt]:
    """One value of a column of numbers."""
    name, is_loss = column.name, column is LOSS
    without, where = good.filter(pl.int_range(pl.len()) != row), f"row {row}: {name} "
    for word, value in {"no value": None, "nan": np.nan, "infinite": np.inf, "1e30": 1e30, "1e300": 1e300}.items():
        table = _put(good, name, row, value)
        if is_loss or word in ("no value", "nan"):
            yield Dirt(f"{name} {word} in a row", table, same=without)
        elif column.kind == "count" and (word != "1e30" or name in ("N", "D")):
            yield Dirt(f"{name} {word} in a row", table, refused=(f"row {row}: ", name))
        else:
            yield Dirt(f"{name} {word} in a row", table)
    for word, value in {"negative": -1.0, "minus infinity": -np.inf}.items():
        yield Dirt(f"{name} {word} in a row", _put(good, name, row, value), refused=(where,))
    for word, value in {"zero": 0.0, "1e-300": 1e-300}.items():
        refused = (where,) if column.kind in ("count", "size") else None
        yield Dirt(f"{name} {word} in a row", _put(good, name, row, value), refused=refused)
    words = good[name].cast(pl.String).to_list()
    words[row] = "many"
    yield Dirt(f"{name} a word in a row", good.with_columns(pl.Series(name, words)), refused=(where, "many"))


def _columns(column: Column, good: pl.DataFrame) -> Iterator[Dirt]:
    """A whole column of numbers."""
    name, is_size = column.name, column.kind in ("count", "size")
    yield Dirt(f"{name} all negative", good.with_columns(-pl.col(name)), refused=(name,))
    yield Dirt(f"{name} all zero", good.with_columns(pl.lit(0.0).alias(name)), refused=(name,) if is_size else None)
    for word, value in {"nan": np.nan, "empty": None, "infinite": np.inf, "one word": "large"}.items():
        yield Dirt(f"{name} all {word}", good.with_columns(pl.lit(value).alias(name)), refused=(name,))
    for word, value in {"constant": good[name][0], "one": 1.0, "1e300": 1e300, "1e-300": 1e-300}.items():
        yield Dirt(f"{name} all {word}", good.with_columns(pl.lit(value).alias(name)))
    for factor in (1e-290, 1e290):
        yield Dirt(f"{name} times {factor:g}", good.with_columns(pl.col(name) * factor))
    text = good.with_columns(pl.Series(name, [repr(value) for value in good[name]]))
    yield Dirt(f"{name} numbers as text", text, same=good)
    if is_size and column is not LOSS and float(good[name].max()) < 2**63:
        yield Dirt(f"{name} integers", good.with_columns(pl.col(name).cast(pl.Int64)), same=good)


def _rows(good: pl.DataFrame, rng: np.random.Generator) -> Iterator[Dirt]:
    """Too few rows, rows in another order, and rows that are there twice."""
    for count in (0, 1, 2):
        yield Dirt(f"{count} rows", good.sample(count, seed=int(rng.integers(99))), refused=("row",) if not count else ())
    some = good.sample(len(good) // 3, seed=int(rng.integers(99)))
    yield Dirt("rows shuffled", good.sample(fraction=1, shuffle=True, seed=int(rng.integers(99))), same=good)
    yield Dirt("some rows twice", pl.concat([good, some]), same=good)
    yield Dirt("all rows twice", pl.concat([good, good]), same=good)
    yield Dirt("all rows five times", pl.concat([good] * 5), same=good)
    yield Dirt("the first row throughout", pl.concat([good.head(1)] * len(good)), refused=())
    if LOSS.name in good.columns:
        one = good.sample(1, seed=int(rng.integers(99)))
        yield Dirt("a row again with another loss", pl.concat([good, one.with_columns(loss=1.1 * pl.col("loss"))]))
        yield Dirt("all losses equal", good.with_columns(loss=pl.lit(2.5)), refused=("loss is 2.5 in all",))
        half = np.arange(len(good)) % 2 == 0
        yield Dirt(
            "half of the runs diverged",
            good.with_columns(loss=pl.when(pl.Series(half)).then(pl.lit(np.nan)).otherwise("loss")),
            same=good.filter(~half),
        )
        noise = np.exp(rng.standard_normal(len(good)))
        yield Dirt("losses of noise", good.with_columns(pl.Series("loss", good["loss"].to_numpy() * noise)))
        yield Dirt("losses the wrong way round", good.with_columns(loss=10 / pl.col("loss")))


def _names(law: type[Law], columns: list[Column], good: pl.DataFrame, rng: np.random.Generator) -> Iterator[Dirt]:
    """Columns that are called otherwise, are not there, or have each other's values."""
    usual = {column.name: str(rng.choice(column.usual)) for column in columns if column.usual}
    yield Dirt("columns by their usual names", good.rename(usual), same=good)
    yield Dirt("columns in another order", good.select(reversed(good.columns)), same=good)
    junk = pl.Series([["a", 1], None] * len(good), dtype=pl.Object)[: len(good)]
    yield Dirt("columns of no use", good.with_columns(note=pl.lit(None), when=pl.lit("2026"), junk=junk), same=good)
    for column in columns:
        is_needed = not column.otherwise and not (column is LOSS and law.loss_optional)
        yield Dirt(f"no {column.name}", good.drop(column.name), refused=(column.name,) if is_needed else None)
        listed = good.with_columns(pl.concat_list(column.name).alias(column.name))
        yield Dirt(f"{column.name} a column of lists", listed, refused=(column.name,))
    names = [column.name for column in columns if column.kind != "label"]
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        yield Dirt(f"{one} and {other} swapped", good.rename({one: other, other: one}))


def _units(law: type[Law], good: pl.DataFrame) -> Iterator[Dirt]:
    """Counts in billions."""
    counts = [column.name for column in law.needs if column.kind == "count"]
    sized = {"N", "D"} <= {*counts}
    for names in [[name] for name in counts] + [counts]:
        refused = ("unit",) if sized and names != ["k"] else None
        scaled = good.with_columns(pl.col(name) / BILLION for name in names)
        yield Dirt(f"{', '.join(names)} in billions", scaled, refused=refused)
    for name in counts:
        first = pl.when(pl.int_range(pl.len()) == 0).then(pl.col(name) / BILLION).otherwise(name).alias(name)
        refused = ("row 0", name) if sized or name != "flops" else None
        yield Dirt(f"{name} in billions in the first row", good.with_columns(first), refused=refused)


def _labels(columns: list[Column], good: pl.DataFrame, rng: np.random.Generator) -> Iterator[Dirt]:
    """Arms and runs: one, three, none, numbers."""
    for column in columns:
        if column.kind != "label":
            continue
        name, row = column.name, int(rng.integers(len(good)))
        without = good.filter(pl.int_range(pl.len()) != row)
        yield Dirt(f"{name} without a value in a row", _put(good, name, row, None), same=without)
        yield Dirt(f"{name} all empty", good.with_columns(pl.lit(None).alias(name)), refused=(name,))
        yield Dirt(f"one {name} only", good.filter(pl.col(name) == good[name][0]))
        yield Dirt(f"one {name} for all", good.with_columns(pl.lit("x").alias(name)))
        third = good.filter(pl.col(name) == good[name][0]).with_columns(pl.lit("third").alias(name))
        if LOSS.name in good.columns:
            third = third.with_columns(loss=1.02 * pl.col("loss"))
        yield Dirt(f"a third {name}", pl.concat([good, third]))
        yield Dirt(f"a {name} of one row", _put(good, name, row, "alone"))
        each = [str(k) for k in range(len(good))]
        yield Dirt(f"a {name} for every row", good.with_columns(pl.Series(name, each)))
        yield Dirt(f"{name} a number", good.with_columns(pl.col(name).rank("dense").cast(pl.Int64)))


def _put(table: pl.DataFrame, name: str, row: int, value: float | str | None) -> pl.DataFrame:
    values = table[name].to_list()
    values[row] = value
    return table.with_columns(pl.Series(name, values, dtype=table[name].dtype))
