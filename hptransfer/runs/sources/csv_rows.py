"""CSV of any dialect: separators, quotes, comments, encodings and compressions as spreadsheets, trackers and people have them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import polars as pl

from hptransfer.base.compressed import without_compression
from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.cells import decimal_mark
from hptransfer.runs.sources.columns import raw_of
from hptransfer.runs.sources.contents import HEAD, start_of, text_of
from hptransfer.runs.sources.source import Raw

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat")
SAMPLE = 200  # rows that a dialect is told by
_DECLARED = re.compile(r'"?sep=([,;\t| ])"?\r?\n')  # the first line, as Excel reads it
_RULE = re.compile(r"\s*:?-+:?\s*")  # below the header of a table in Markdown

Row = tuple[int, list[str]]  # the line that it ends on, and its cells


@dataclass(frozen=True)
class CsvRows:
    """The source ``csv``."""

    name: str = "csv"

    def sniff(self, place: str) -> str | None:
        try:
            start = start_of(place)
        except UsageError:
            return None
        if not start or not start.strip():
            return None
        separator, even = _separator(start)
        if even:
            return f"its lines have cells between {SEPARATORS[separator]}"
        suffix = without_compression(place).suffix.lower()
        return f"its name ends in {suffix}" if suffix in SUFFIXES else None

    def read(self, place: str) -> Raw:
        text, packing = text_of(place)
        if not text.strip():
            raise UsageError(f"{place} is empty")
        separator, _ = _separator(text[:HEAD])
        table = _parse(place, text, separator)
        _refuse_chart(place, table.names)
        columns = table.columns()
        words = [f"CSV, {SEPARATORS[separator]}"]
        words += ["decimal commas"] if decimal_mark(columns) == "," else []
        return raw_of(place, columns, table.lines, ", ".join([*words, *packing]), table.notes)


SOURCE = CsvRows()


@dataclass(frozen=True)
class _Table:
    """The rows of a file, cell after cell, with the line that each ends on."""

    names: list[str]
    cells: list[str]
    lines: list[int]
    notes: list[str]

    def columns(self) -> list[pl.Series]:
        width = len(self.names)
        texts = [pl.Series(name, self.cells[place::width], dtype=pl.String) for place, name in enumerate(self.names)]
        stripped = [text.str.strip_chars() for text in texts]
        return [text.set(text == "", None) for text in stripped]


def _parse(place: str, text: str, separator: str) -> _Table:
    """The names of the columns and the rows below them. Raises UsageError that names the line."""
    rows = _rows(place, text, separator)
    names, first = _header(place, rows)
    table, aside, again = _Table(names, [], [], []), list[Row](), list[int]()
    for line, row in chain(first, rows):
        if row[0].startswith("#"):
            aside.append((line, row))
        elif row[: len(names)] == names:  # files that were put one after another
            again.append(line)
        else:
            table.cells.extend(_fitted(place, line, row, len(names), separator))
            table.lines.append(line)
    if again:
        table.notes.append(f"left out as the header again: {len(again)} lines, the first line {again[0]}")
    aside = [(line, row) for line, row in aside if len(row) == len(names)]
    if not table.lines:  # labels that begin so, as "#12"
        for line, row in aside:
            table.cells.extend(row)
            table.lines.append(line)
    elif aside:
        table.notes.append(f"left out as comments: {len(aside)} of as many cells as the header, the first on line {aside[0][0]}")
    return table


def _rows(place: str, text: str, separator: str, strict: bool = True) -> Iterator[Row]:
    """Rows that are not blank. Raises UsageError where quotes do not match."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=strict)
    try:
        for row in reader:
            if not any(row) or (reader.line_num == 1 and _DECLARED.match(text)):
                continue
            if separator == "|" and all(_RULE.fullmatch(cell) for cell in row if cell.strip()):
                continue
            yield reader.line_num, row
    except csv.Error as error:
        raise UsageError(f"{place} line {reader.line_num}: {error}; do its quotes match?") from None


def _header(place: str, rows: Iterator[Row]) -> tuple[list[str], list[Row]]:
    """The names of the columns, and the row that was read in looking for them. Comments may stand before; the last of them may be
    the header itself, as numpy's savetxt writes it. So may a title, which is one cell."""
    comment: list[str] = []
    title: list[str] = []
    for line, row in rows:
        filled = sum(map(bool, row))
        if title and filled == 1:
            return title, [(line, row)]
        if filled == 1 and not comment and not row[0].startswith("#") and not _is_number(row[0]):
            title = row
            continue
        if row[0].startswith("#"):
            comment = row
            continue
        for names in (comment, comment[1:]):
            if len(names) == len(row) > 1 and any(map(_is_number, row)) and not any(map(_is_number, names)):
                return [names[0].lstrip("# ") or "#", *names[1:]], [(line, row)]
        if all(map(_is_number, row)):
            raise UsageError(f"{place} line {line} holds numbers, and no line before it names the columns")
        return row, []
    if found := comment or title:
        return found, []
    raise UsageError(f"{place} holds no rows")


def _fitted(place: str, line: int, row: list[str], width: int, separator: str) -> list[str]:
    """A row of as many cells as the header has; empty ones beyond them are left out."""
    if len(row) == width or (len(row) > width and not any(row[width:])):
        return row[:width]
    raise UsageError(
        f"{place} line {line}: {len(row)} cells where the header has {width}, read as CSV with {SEPARATORS[separator]}; "
        f"a cell with {'one' if separator == ' ' else repr(separator)} in it stands in quotes"
    )


def _separator(text: str) -> tuple[str, bool]:
    """What stands between cells at the start of a text, and whether it does so evenly: in every row as often."""
    if declared := _DECLARED.match(text):
        return declared[1], True
    best, agreed = ",", (False, 0.0, 0, 0)
    for separator in SEPARATORS:
        rows = [row for _, row in islice(_rows("", text, separator, strict=False), SAMPLE) if not row[0].startswith("#")]
        if len(rows) < 2 or (width := len(rows[0])) < 2:
            continue
        rows = rows[:-1] if len(rows) > 2 else rows  # the start of a file may end anywhere
        if separator == " " and (agreed[0] or not all(any(map(_is_number, row)) for row in rows[1:])):
            continue
        fit = sum(len(row) == width for row in rows) / len(rows)
        found = fit == 1, fit, width, sum(map(_is_number, chain.from_iterable(rows)))
        if found > agreed:
            best, agreed = separator, found
    return best, agreed[0]


def _refuse_chart(place: str, names: Sequence[str]) -> None:
    """A chart of W&B has a column for each run's metric with its lowest and highest, and says nothing of what the runs were."""
    charted = [name for name in names if {f"{name}__MIN", f"{name}__MAX"} <= set(names)]
    if charted:
        raise UsageError(
            f"{place} is the export of a W&B chart, with {charted[0] + '__MIN'!r} among its columns, which does not say "
            "the runs' settings; export the runs table instead (the project's Table, Export, CSV) or give wandb:ENTITY/PROJECT"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
