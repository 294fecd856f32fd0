"""The shell that every page shares: one self-contained document, sections of figures, tables.

No request leaves the machine, and a content security policy in the page sees to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import vl_convert

from hptransfer import __version__
from hptransfer.report import text
from hptransfer.report.charts import theme
from hptransfer.report.figures import VEGALITE_VERSION, Figure, Section
from hptransfer.report.summary import Missing

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data:"
REFRESH_SECONDS = 10  # of a live page
NUMBER = re.compile(r"([<>] ?)?[+-]?\d[\d,.]*(e-?\d+)?x?( |$)|-$")
MARKS = {"ok": "good", "failed": "bad", "diverged": "bad"}  # cells that are coloured
PAGE_THEME = theme(ink="currentColor", background=None, font="system-ui, sans-serif")


def document(title: str, body: str, figures: Sequence[Figure], *, is_live: bool = False) -> str:
    """The page as text. ``body`` is HTML with a place for each of ``figures``; a live page loads itself anew."""
    script = _resource("page.js").replace("CONFIG", _json(PAGE_THEME))
    # The script reloads a live page. A browser without one does it by itself, at an address without a fragment only.
    refresh = f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>\n' if is_live else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
{refresh}<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · hptransfer</title>
<style>{_resource("style.css")}</style>
</head>
<body>
<main>
{body}
<footer>Made by hptransfer {escape(__version__)}. Works offline: nothing is loaded from elsewhere.</footer>
</main>
{"".join(map(_chart_data, figures))}
{f"<script>{_vega()}</script>" if figures else ""}
<script>{script}</script>
</body>
</html>
"""


@cache
def _vega() -> str:
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGALITE_VERSION)


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text()


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def data(name: str, value: Any) -> str:
    """Data for the page's script, which finds it by its ``name``."""
    return f'<script type="application/json" id="{escape(name)}">{_json(value)}</script>\n'


def _chart_data(figure: Figure) -> str:
    return data(f"spec-{figure.name}", figure.spec())


def section(section: Section) -> str:
    """Figures with what is said about them, and what stands where there are none."""
    figures = "".join(
        f"<figure><figcaption><h3>{escape(figure.title)}</h3></figcaption>"
        f'<div class="chart" data-spec="spec-{escape(figure.name)}"></div><small>{escape(figure.note)}</small></figure>'
        for figure in section.figures
    )
    body = f'<div class="figures">{figures}</div>' if figures else ""
    body += "".join(f'<p class="absent">{escape(remark)}</p>' for remark in section.remarks)
    body += "".join(f'<p class="absent">{absent(part)}</p>' for part in section.missing)
    return part(section.anchor, section.title, section.intro, body)


def live(lines: Sequence[str]) -> str:
    """What a live page says at its top; nothing where there are no lines."""
    if not lines:
        return ""
    first, *rest = map(escape, lines)
    said = f"<strong>{first}</strong>{''.join(f'<p>{line}</p>' for line in rest)}"
    return f'<div class="notice live" role="status" data-seconds="{REFRESH_SECONDS}">{said}</div>'


def navigation(anchors: Iterable[tuple[str, str]]) -> str:
    """Links to the parts of the page, anchor and title of each, and how its charts are used."""
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in anchors)
    return f'<nav>{links}<span class="soft">{text.LEGENDS}</span></nav>'


def part(anchor: str, title: str, intro: str, body: str) -> str:
    """A part of the page, to which the header can link."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2><p>{escape(intro)}</p>{body}</section>\n'


def absent(missing: Missing) -> str:
    """What is missing, and the command that makes it."""
    return f"{escape(missing.sentence)} Next: <code>{escape(missing.command)}</code>"


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
