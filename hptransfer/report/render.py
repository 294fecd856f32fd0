"""A document as HTML and as Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hptransfer import __version__
from hptransfer.base.errors import UsageError, one_line
from hptransfer.base.files import cache_home, replace
from hptransfer.report.charts import VEGALITE_VERSION, theme
from hptransfer.report.document import Document, Table

REFRESH_SECONDS = 10  # of a live page
PAGE_THEME = theme(ink="currentColor", background=None, font="system-ui, sans-serif")
# Scripts and styles are those of the page alone, by their digests, and evaluate no text: Vega's expressions are interpreted.
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src {style}; script-src {scripts}"
TEMPLATES = PackageLoader("hptransfer.report")
OPENS = re.compile(r"^(\d*)([-+=.)])(?=[\s=-]|$)")  # a list, an underlined heading or a rule, at the start of a line
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|#~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def html(document: Document) -> str:
    """One self-contained page: no request leaves the machine, and a content security policy in the page sees to it."""
    page = _of_html()
    script = page.get_template("page.js").render(theme=PAGE_THEME)
    scripts = [*([_vega()] if document.figures else []), script]
    style = page.get_template("page.css").render()
    policy = POLICY.format(style=_source(style), scripts=" ".join(map(_source, scripts)))
    return page.get_template("page.html").render(
        document=document,
        policy=Markup(policy),
        style=Markup(style),
        scripts=[Markup(one) for one in scripts],
        version=__version__,
        seconds=REFRESH_SECONDS,
    )


def markdown(document: Document) -> str:
    """The same answer for a repository or a pull request, with links to the figures beside it."""
    text = _of_markdown().get_template("page.md").render(document=document)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _source(text: str) -> str:
    """A script or a style as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _script_data(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _sentence(text: str) -> Markup:
    """A number and its sign stay on one line."""
    return Markup.escape(text.replace(" %", "\N{NO-BREAK SPACE}%"))


def _softened(text: str) -> Markup:
    """A value with what follows it in brackets, told apart."""
    value, bracket, rest = text.partition(" (")
    return Markup("<b>{}</b> <span>{}</span>").format(value, bracket.strip() + rest)


def _code(text: str) -> Markup:
    return Markup(f"`{one_line(text).replace('`', chr(39))}`")


def _block(text: str) -> Markup:
    """What stands in a block of code, which it cannot end."""
    return Markup(text.replace("```", "'''"))


def _table(table: Table) -> Markup:
    columns, *rows = ([_text(cell) for cell in line] for line in (table.columns, *table.rows))
    text = "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows))
    return Markup(f"{_plain(table.caption)}\n\n{text}\n" if table.caption else f"{text}\n")


def _plain(value: Any) -> Any:
    """Whatever a template writes into Markdown, so that it is text there; what is marked up already stands as it is."""
    return value if isinstance(value, Markup) else OPENS.sub(r"\1\\\2", _text(value))


def _text(value: Any) -> str:
    return one_line(value).translate(MARKDOWN)


@cache
def _of_html() -> Environment:
    found = Environment(loader=TEMPLATES, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    found.filters |= {"data": _script_data, "sentence": _sentence, "softened": _softened}
    return found


@cache
def _of_markdown() -> Environment:
    found = Environment(loader=TEMPLATES, finalize=_plain, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    found.filters |= {"table": _table, "code": _code, "block": _block, "path": Markup}
    return found


@cache
def _vega() -> str:
    """Vega as one script. To put it together takes seconds: it is kept on disk."""
    kept = cache_home() / f"vega-{version('vl-convert-python')}-{VEGALITE_VERSION}.js"
    with suppress(OSError):
        return kept.read_text()
    made = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGALITE_VERSION))
    with suppress(OSError, UsageError):
        replace(kept, made)
    return made
