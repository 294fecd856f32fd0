"""Pieces of HTML that every part of the page is made of. What goes in is text; what comes out is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

NUMBER = re.compile(r"([<>] ?)?[+-]?\d[\d,.]*(e-?\d+)?x?( |$)|-$")
MARKS = {"ok": "good", "failed": "bad", "diverged": "bad"}  # cells that are coloured


def part(anchor: str, title: str, intro: str, body: str) -> str:
    """A section of the page; ``body`` is HTML."""
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2><p>{escape(intro)}</p>{body}</section>\n'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], wrap: Sequence[int] = (), caption: str = "") -> str:
    """A table; columns of nothing but numbers stand to the right. Columns in ``wrap`` may break their lines."""
    rows = list(rows)
    numeric = [all(NUMBER.match(row[i]) for row in rows) for i in range(len(columns))]
    head = "".join(f'<th scope="col"{_class(numeric[i])}>{escape(name)}</th>' for i, name in enumerate(columns))
    body = "".join(f"<tr>{''.join(_cell(cell, numeric[i], i in wrap) for i, cell in enumerate(row))}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def framed(tables: str) -> str:
    """A table, as HTML, that scrolls sideways by itself where the page is narrow."""
    return f'<div class="scroll flat" tabindex="0">{tables}</div>'


def terms(pairs: Iterable[tuple[str, str]], style: str) -> str:
    """A list of terms with what they are."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f'<dl class="{style}">{items}</dl>'


def _class(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _cell(cell: str, numeric: bool, wrap: bool) -> str:
    name = "number" if numeric else "wrap" if wrap else MARKS.get(cell, "")
    return f'<td class="{name}">{escape(cell)}</td>' if name else f"<td>{escape(cell)}</td>"
