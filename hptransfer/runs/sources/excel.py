"""Spreadsheets: Excel's files, old and new, and OpenDocument's, through polars and fastexcel."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from hptransfer.base.errors import UsageError, first_line
from hptransfer.base.words import listing
from hptransfer.runs.sources.columns import raw_of
from hptransfer.runs.sources.source import Raw

if TYPE_CHECKING:
    from fastexcel import ExcelReader

OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of .xls
INSIDE = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")


@dataclass(frozen=True)
class Excel:
    """The source ``excel``."""

    name: str = "excel"

    def sniff(self, place: str) -> str | None:
        try:
            if Path(place).is_file() and zipfile.is_zipfile(place):
                with zipfile.ZipFile(place) as archive:
                    return "it is a workbook" if set(INSIDE) & set(archive.namelist()) else None
            with open(place, "rb") as file:
                return "it is a workbook of old Excel" if file.read(len(OLD)) == OLD else None
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def read(self, place: str) -> Raw:
        if not Path(place).is_file():
            raise UsageError(f"{place}: no such file")
        try:
            import fastexcel
        except ImportError:
            raise UsageError(f"{place}: Excel files need fastexcel; pip install 'hptransfer[excel]'") from None
        try:
            reader = fastexcel.read_excel(place)
            sheets = {name: _sheet(reader, name, "string") for name in reader.sheet_names}
            tables = {name: row for name, sheet in sheets.items() if (row := _header(sheet)) is not None}
            if not tables:
                raise UsageError(f"{place} holds no rows below a row of names in any sheet ({listing(list(sheets))})")
            taken, above = next(iter(tables.items()))
            texts, numbers = sheets[taken], _sheet(reader, taken, "float")
        except (fastexcel.FastExcelError, pl.exceptions.PolarsError, OSError) as error:
            raise UsageError(f"{place} cannot be read as Excel: {first_line(error)}") from None
        others = [name for name in tables if name != taken]
        notes = [f"sheet {taken!r} is read; {listing(others)} may hold runs too: export one as CSV to read it"] if others else []
        below = ~texts.select(pl.all_horizontal(pl.all().is_null())).to_series() & (pl.arange(len(texts), eager=True) > above)
        columns = [
            _cells(text.filter(below), number.filter(below)).alias(name or "")
            for text, number, name in zip(texts, numbers, texts.row(above), strict=True)
        ]
        return raw_of(place, columns, (below.arg_true() + 1).cast(pl.Int64), f"Excel, sheet {taken!r}", notes)


SOURCE = Excel()


def _sheet(reader: ExcelReader, name: str, kind: Literal["string", "float"]) -> pl.DataFrame:
    """A sheet from its first row on, with all cells of one kind; null where they are not."""
    return reader.load_sheet(name, header_row=None, skip_rows=0, dtypes=kind).to_polars()


def _header(sheet: pl.DataFrame) -> int | None:
    """The row that names the columns: the first that has cells in half of the widest row's columns, with others below it; None
    where the sheet holds no table."""
    if not sheet.width:
        return None
    filled = sheet.select(pl.sum_horizontal(pl.all().is_not_null())).to_series()
    wide = (filled >= 2) & (filled * 2 > (filled.max() or 0))
    rows = wide.arg_true()
    return int(rows[0]) if len(rows) >= 2 else None


def _cells(text: pl.Series, number: pl.Series) -> pl.Series:
    """A column's cells: numbers, or text where not all are. The text that a number has is rounded, and is not taken."""
    truth = text.is_in(["true", "false"])
    if not (text.is_not_null() & (number.is_null() | truth)).any():
        return number
    whole = number.cast(pl.Int64, strict=False)
    written = pl.coalesce(pl.when(whole == number).then(whole.cast(pl.String)), number.cast(pl.String))
    return pl.select(pl.when(number.is_null() | truth).then(text).otherwise(written)).to_series()
