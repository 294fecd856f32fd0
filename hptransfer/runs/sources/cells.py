"""Cells that are text and stand for numbers: 125M, 1,024, 2^-8, 5 %, nan. One place for all sources.

What a comma or a point is, a decimal mark or between thousands, is decided by column: by its own cells where one leaves no doubt
(5,2655 or 0,5 or 1.024,5), else by the table's other columns, and where these say nothing it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from hptransfer.base.errors import UsageError

Mark = Literal[".", ","]

# What stands for an empty cell, lower case. nan is not among them: it is a number that is none, which a run that diverged has.
EMPTY = (
    *("", "-", "--", "\N{EN DASH}", "\N{EM DASH}", "na", "n/a", "n.a.", "<na>", "null", "none"),
    *("#n/a", "#div/0!", "#num!", "#value!", "#ref!"),  # of spreadsheets
)
TEXT = (pl.String, pl.Categorical, pl.Enum)
SAMPLE = 10_000  # cells of each column that show what its marks are
MULTIPLIERS = {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}  # powers of ten

_NUMBER = (
    r"(?i)^(?<sign>[+-]?)(?<body>(?:[0-9][0-9_'\u2019\u0020\u00a0\u202f]*)?[0-9.,]*[0-9][.,]?)(?<exponent>e[+-]?[0-9]+)?"
    r"\s*(?<multiplier>[kmbgt])?\s*(?<unit>d|tok(?:en)?s?|param(?:eter)?s?|nats|%)?"
    r"(?:\s*(?:\u00b1|\+/?-)\s*[0-9.]+)?$"  # with its error
)
_POWER = r"^(?:(?<factor>[0-9.]+)\s*[*x\u00d7\u00b7]\s*)?(?<base>[0-9.]+)\s*(?:\^|\*\*)\s*[({]?(?<exponent>[+-]?[0-9.]+)[)}]?$"
# Thousands that are set apart by what is no decimal mark anywhere: 1 024, 1'024, 1_024.
_SPACED = r"^[0-9]{1,3}(?:['\u2019\u0020\u00a0\u202f][0-9]{3})+(?:[.,][0-9]*)?$|^[0-9]+(?:_[0-9]+)+(?:[.,][0-9]*)?$"
# What the marks of a number are, in this order; "either" are a point or a comma before three digits, and could be both.
_SHAPES = {
    "whole": r"^[0-9]+$",
    "either,": r"^[1-9][0-9]{0,2},[0-9]{3}$",
    "either.": r"^[1-9][0-9]{0,2}\.[0-9]{3}$",
    "thousands,": r"^[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+\.[0-9]*|(?:,[0-9]{3}){2,})$",
    "thousands.": r"^[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+,[0-9]*|(?:\.[0-9]{3}){2,})$",
    "decimal,": r"^[0-9]*,[0-9]*$",
    "decimal.": r"^[0-9]*\.[0-9]*$",
}
_COMMA_IS_DECIMAL, _POINT_IS_DECIMAL = {"decimal,", "thousands."}, {"decimal.", "thousands,"}


@dataclass(frozen=True)
class ReadColumn:
    """A column as numbers. ``values``: Float64, null where a cell is empty or none. ``words``: which cells are neither empty nor
    a number, Boolean."""

    values: pl.Series
    words: pl.Series


def decimal_mark(table: Iterable[pl.Series]) -> Mark | None:
    """The decimal mark that a table's columns of numbers show beyond doubt; None where none does, or where they differ."""
    columns = [column for column in table if column.dtype == pl.String]
    if not any(column.str.contains(",", literal=True).any() for column in columns):
        return None
    found: set[str] = set()
    for column in columns:
        cells = column.drop_nulls().head(SAMPLE).str.strip_chars()
        if (cells.str.contains(_NUMBER) | _is_empty(cells)).all():
            found |= set(_parts(cells)["shape"].drop_nulls().unique())
    comma, point = bool(found & _COMMA_IS_DECIMAL), bool(found & _POINT_IS_DECIMAL)
    return None if comma == point else "," if comma else "."


def read_numbers(column: pl.Series, mark: Mark | None = None) -> ReadColumn:
    """The numbers of a column; ``mark`` is the `decimal_mark` of its table. Raises UsageError, one line with the value and both
    readings, where a mark may be decimal or between thousands."""
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return ReadColumn(column.cast(pl.Float64), pl.repeat(False, len(column), dtype=pl.Boolean, eager=True))
    if column.dtype not in TEXT:
        return ReadColumn(pl.repeat(None, len(column), dtype=pl.Float64, eager=True), column.is_not_null())
    text = column.cast(pl.String).str.strip_chars()
    empty = _is_empty(text)
    values = _plain(text)
    marked = mark == "," or text.str.contains(r",|\..*\.").any()  # then what looks plain may have another reading
    rest = text.filter(~empty if marked else ~empty & values.is_null()).unique(maintain_order=True)
    if not rest.is_empty():
        read = _values(column.name, rest, mark)
        values = text.replace_strict(rest, read, default=None if marked else values, return_dtype=pl.Float64)
    return ReadColumn(values.alias(column.name), values.is_null() & ~empty)


def numbers_of(column: pl.Series, mark: Mark | None = None) -> pl.Series | None:
    """A column whose every cell is a number or empty, as Float64; None where it is text. Raises UsageError as `read_numbers`."""
    numbers = read_numbers(column, mark)
    return None if numbers.words.any() else numbers.values


def with_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """A table with each column of text that reads as numbers as numbers; in a column of numbers and words, what only the table's
    decimal mark makes clear is written as programs do. A column that `read_numbers` refuses without the table too stays as it is,
    until it is asked for. Raises UsageError for one that it would misread."""
    mark = decimal_mark(frame)
    return pl.DataFrame([_settled(column, mark) for column in frame.iter_columns()])


def _settled(column: pl.Series, mark: Mark | None) -> pl.Series:
    if column.dtype not in TEXT:
        return column
    try:
        numbers = read_numbers(column, mark)
    except UsageError as refused:
        try:
            read_numbers(column)
        except UsageError:
            return column
        raise refused from None
    if not numbers.words.any():
        return numbers.values
    text = column.cast(pl.String)
    misread = numbers.values.is_not_null() & _plain(text.str.strip_chars()).ne_missing(numbers.values)
    return pl.select(pl.when(misread).then(numbers.values.cast(pl.String)).otherwise(text).alias(column.name)).to_series()


def _is_empty(text: pl.Series) -> pl.Series:
    return text.is_null() | text.str.to_lowercase().is_in(EMPTY)


def _plain(text: pl.Series) -> pl.Series:
    """Cells as a programming language writes numbers. What is beyond floats is a name, such as 3e847291."""
    values = text.cast(pl.Float64, strict=False)
    if (endless := values.is_infinite() & text.str.contains("[0-9]")).any():
        values = pl.select(pl.when(~endless).then(values)).to_series()
    return values


def _parts(text: pl.Series) -> pl.DataFrame:
    """The parts of numbers (sign, body, exponent, multiplier, unit) and the shape of the body's marks; null where it is none."""
    body = pl.col("body")
    spaced = body.str.replace_all("[_'\u2019\u0020\u00a0\u202f]", "")
    shape = pl.coalesce(
        pl.when(body.str.contains(pattern) & (pl.col("exponent").is_null() if "either" in name else True)).then(pl.lit(name))
        for name, pattern in _SHAPES.items()
    )
    parts = text.str.replace("\N{MINUS SIGN}", "-").str.extract_groups(_NUMBER).struct.unnest()
    return parts.with_columns(pl.when(body.str.contains(_SPACED)).then(spaced).otherwise(body)).with_columns(shape=shape)


def _values(name: str, text: pl.Series, mark: Mark | None) -> pl.Series:
    """The numbers that distinct cells of a column stand for; null where they stand for none."""
    parts = _parts(text)
    comma_is_decimal, point_is_decimal = _reading(name, text, parts, mark)
    shape, body = pl.col("shape"), pl.col("body")
    decimal_comma = shape.is_in(["decimal,", "thousands."]) | (shape == "either,") & comma_is_decimal
    decimal_comma |= (shape == "either.") & (not point_is_decimal)
    exponent = pl.col("exponent").str.slice(1).cast(pl.Int32, strict=False)
    power = pl.when(pl.col("exponent").is_null()).then(0).otherwise(exponent)
    power += pl.col("multiplier").str.to_lowercase().replace_strict(MULTIPLIERS, default=0, return_dtype=pl.Int32)
    power += pl.when(pl.col("unit") == "%").then(-2).otherwise(0)
    digits = (
        pl.when(decimal_comma)
        .then(body.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True))
        .otherwise(body.str.replace_all(",", "", literal=True))
    )
    # Through text, so that 2.3B is the float nearest to 2.3e9.
    numbers = parts.select(
        pl.when(shape.is_not_null()).then(pl.format("{}{}e{}", pl.col("sign").fill_null(""), digits, power))
    ).to_series()
    powers = text.str.extract_groups(_POWER).struct.unnest().cast(pl.Float64, strict=False)
    raised = powers.select(pl.col("factor").fill_null(1.0) * pl.col("base").pow(pl.col("exponent"))).to_series()
    not_finite = _plain(text.str.replace("\u221e", "inf"))
    return pl.select(
        pl.coalesce(_plain(numbers), pl.when(raised.is_finite()).then(raised), pl.when(~not_finite.is_finite()).then(not_finite))
    ).to_series()


def _reading(name: str, text: pl.Series, parts: pl.DataFrame, mark: Mark | None) -> tuple[bool, bool]:
    """Whether a comma, and whether a point, before just three digits is the decimal mark in a column."""
    shapes = set(parts["shape"].drop_nulls().unique())
    comma, point = bool(shapes & _COMMA_IS_DECIMAL), bool(shapes & _POINT_IS_DECIMAL)
    comma_is_decimal, point_is_decimal = comma, not (comma or "thousands." in shapes)
    refused = set[str]()
    if not comma and not point:
        # Counts of three digits beside it, as 512 is beside 1,024, are no decimals that were cut.
        large = ((parts["shape"] == "whole") & (parts["body"].str.len_bytes() >= 3)).any()
        comma_is_decimal = mark == ","
        refused |= {"either,"} if mark is None or (comma_is_decimal and large) else set()
        refused |= {"either."} if mark == "," and "thousands." not in shapes else set()
    elif comma:
        refused |= {"either,"} if point else set()
        refused |= {"either."} if point or "thousands." not in shapes else set()
    if unclear := shapes & refused:
        value, body = (cells.filter(parts["shape"] == min(unclear))[0] for cells in (text, parts["body"]))
        whole, decimal = body.translate(str.maketrans("", "", ",.")), body.replace(",", ".")
        raise UsageError(
            f"column {name!r}: {value!r} may be {whole} or {decimal}, and nothing there says which; write {whole} or {decimal}0"
        )
    return comma_is_decimal, point_is_decimal or point
