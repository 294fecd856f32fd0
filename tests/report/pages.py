"""The page of some results, and what an HTML parser finds in it."""

from __future__ import annotations

from html.parser import HTMLParser

from hptransfer.report.build import build_page
from hptransfer.report.results import Results

OPTIONS = " --experiment sample"


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
