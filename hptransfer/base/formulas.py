"""Cells that a spreadsheet would evaluate (OWASP, CSV injection), written such that it takes them for text, and read back."""

from __future__ import annotations

from typing import TypeVar

import polars as pl

Text = TypeVar("Text", pl.Expr, pl.Series)

# How such a cell begins, after blanks, which some spreadsheets leave out; with the apostrophes that it has already.
_BEGINS = "'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]"


def guarded(text: Text) -> Text:
    """Text for a CSV file: an apostrophe before what a spreadsheet would evaluate."""
    return text.str.replace(f"^(?:{_BEGINS})", "'${0}")


def unguarded(text: Text) -> Text:
    """What was guarded, as it was."""
    return text.str.replace(f"^'({_BEGINS})", "${1}")
