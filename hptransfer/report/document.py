"""What a page consists of, whatever it is shown as: HTML, Markdown, or lines in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hptransfer.report.charts import Chart, svg_of
from hptransfer.validate.sentences import Verdict
from hptransfer.validate.summary import Missing

NUMBER = re.compile(r"([<>] ?)?[+-]?\d[\d,.]*(e-?\d+)?x?( |$)|-$")
TONES = {"ok": "good", "failed": "bad", "diverged": "bad"}  # cells that are coloured
LONG = 44  # characters: a column with longer cells may break its lines


@dataclass(frozen=True)
class Table:
    """Rows of text. A column of nothing but numbers stands to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, str]], caption: str = "") -> Table:
        """The table of rows that name their cells; a dash where a row lacks one."""
        found = list(rows)
        columns = tuple(dict.fromkeys(name for row in found for name in row))
        return cls(columns, tuple(tuple(row.get(name, "-") for name in columns) for row in found), caption)

    def __bool__(self) -> bool:
        return bool(self.rows)

    @cached_property
    def styles(self) -> list[str]:
        """The class of every column."""
        columns = zip(*self.rows, strict=True)
        return [
            "number" if all(map(NUMBER.match, cells)) else "wrap" if any(len(cell) > LONG for cell in cells) else ""
            for cells in columns
        ]

    def style(self, column: int, cell: str) -> str:
        """The class of a cell."""
        own = self.styles[column]
        return own if own == "number" else TONES.get(cell, own)


@dataclass(frozen=True)
class Figure:
    """A chart with its file name, a title, and how to read it where the section does not say."""

    name: str
    title: str
    note: str
    chart: Chart

    def __post_init__(self) -> None:
        # A file's, whatever a group of a table is called: those of "< 1" and "> 1" are two.
        words = re.sub(r"[\s,]+", "-", self.name)
        object.__setattr__(self, "name", re.sub(r"[^\w.-]", lambda odd: f"{ord(odd[0]):x}", words))

    @property
    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification for the page, without the title, which the page sets as text."""
        return self.chart | {"description": f"{self.title}. {self.note}".strip()}

    @property
    def svg(self) -> str:
        """The chart as it stands by itself. Nothing is fetched."""
        return svg_of(self.spec | {"title": self.title})


@dataclass(frozen=True)
class Section:
    """A part of the page. ``remarks`` are sentences that stand where something is refused, ``terms`` names with what they are,
    ``runs`` the columns of the table of runs, which the page's script draws."""

    anchor: str
    title: str
    intro: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    runs: tuple[dict[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.figures or self.tables or self.terms or self.remarks or self.missing or self.runs)


@dataclass(frozen=True)
class Number:
    """One of the numbers that a card shows large: its name, how sure it is, and what it is."""

    name: str
    value: str
    sure: str = ""
    note: str = ""


@dataclass(frozen=True)
class Card:
    """What is known of one arm, in its colour. ``mark`` is a small remark beside the title; ``copy`` are values to be copied."""

    title: str
    hue: str
    mark: str = ""
    verdicts: tuple[Verdict, ...] = ()
    numbers: tuple[Number, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    copy: str = ""

    @property
    def anchor(self) -> str:
        """Where the page has it."""
        return f"answer-{self.title}"


@dataclass(frozen=True)
class Document:
    """A page. ``lead`` says what it speaks about, ``missing`` and ``caveats`` what must be known before a number is read.
    ``live`` is what a page that follows a search has at its top, ``headlines`` the verdicts that all arms begin with."""

    title: str
    lead: tuple[str, ...]
    overview: Table
    verdicts: tuple[Verdict, ...]
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    headlines: tuple[Verdict, ...] = ()
    missing: tuple[Missing, ...] = ()
    caveats: tuple[str, ...] = ()
    live: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Of all sections."""
        return tuple(figure for section in self.sections for figure in section.figures)
