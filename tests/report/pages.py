"""The document of some results, its page, and what an HTML parser finds in it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from hptransfer.report.build import build_page
from hptransfer.report.document import Document, Figure, Section
from hptransfer.report.frames import all_frames, run_table
from hptransfer.report.page import document
from hptransfer.validate.results import Results
from hptransfer.validate.summary import summarize

OPTIONS = ("--experiment", "sample")


def document_of(found: Results) -> Document:
    return document(summarize(found, OPTIONS), all_frames(found), run_table(found), OPTIONS)


def section(found: Results, anchor: str) -> Section:
    return next(one for one in document_of(found).sections if one.anchor == anchor)


def figures(found: Results) -> dict[str, Figure]:
    return {figure.name: figure for figure in document_of(found).figures}


def rows(figure: Figure, look: str | None = None) -> list[dict[str, Any]]:
    """The data of a chart, or what of it looks so."""
    return [row for row in figure.spec["data"]["values"] if look in (None, row["look"])]


def layers(figure: Figure, look: str) -> list[dict[str, Any]]:
    """The layers that draw what looks so."""
    return [layer for layer in figure.spec["layer"] if f"=== '{look}'" in str(layer["transform"])]


def encoding(figure: Figure, channel: str) -> dict[str, Any]:
    """How a channel is shown, by the last layer that says it in full."""
    shown = [layer["encoding"][channel] for layer in figure.spec["layer"] if channel in layer["encoding"]]
    return [one for one in shown if "scale" in one or "axis" in one][-1]


def page(found: Results) -> str:
    return build_page(found, OPTIONS, ())


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._quiet = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._quiet = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._quiet = False

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.words += data.replace("\N{NO-BREAK SPACE}", " ")


def words(found: Results) -> str:
    """The text of the page."""
    return Elements(page(found)).words


def first_screen(found: Results) -> str:
    """The text of the page before the evidence."""
    text = words(found)
    return text[: text.index("Every run of the search")]
