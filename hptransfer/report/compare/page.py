"""A comparison as one self-contained page, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hptransfer.report import html, markdown, text
from hptransfer.report.compare import words
from hptransfer.report.compare.result import Comparison, Pairing
from hptransfer.report.figures import Section

INTRO = f"Intervals are 80 %; that of a ratio takes the two as independent. {text.COORDINATES}"


def render_page(comparison: Comparison, sections: Sequence[Section]) -> str:
    """The page as text."""
    anchors = [("settings", "Settings"), *((section.anchor, section.title) for section in sections)]
    body = f"""<header>
<h1>{escape(comparison.a)} against {escape(comparison.b)}</h1>
<p>{escape(_runs(comparison))} {escape(INTRO)}</p>
{html.navigation(anchors)}
</header>
<ul class="findings">{"".join(f"<li>{escape(sentence)}</li>" for sentence in words.findings(comparison))}</ul>
{_caveats(comparison.caveats)}
<div class="answers compared">{"".join(_card(comparison, pairing) for pairing in comparison.arms)}</div>
{html.part("settings", "Settings", words.settings(comparison), _settings(comparison))}
{"".join(map(html.section, sections))}"""
    figures = [figure for section in sections for figure in section.figures]
    return html.document(f"{comparison.a} against {comparison.b}", body, figures)


def render_markdown(comparison: Comparison, sections: Sequence[Section]) -> str:
    """compare.md, with links to the figures beside it."""
    lines = [f"# {comparison.a} against {comparison.b}", "", f"{_runs(comparison)} {INTRO}", ""]
    lines += [f"- {sentence}" for sentence in (*words.findings(comparison), *comparison.caveats)] + [""]
    for pairing in comparison.arms:
        lines += [f"## {pairing.name}", ""]
        lines += markdown.table(_columns(comparison), words.rows(pairing))
        lines += [f"{note}\n" for note in pairing.notes]
    lines += ["## Settings", "", words.settings(comparison), ""]
    if comparison.settings:
        lines += markdown.table(("setting", comparison.a, comparison.b), _setting_rows(comparison))
    for section in sections:
        lines += markdown.evidence(section)
    return "\n".join(lines)


def _runs(comparison: Comparison) -> str:
    return f"{comparison.runs[0]} runs of {comparison.a} and {comparison.runs[1]} of {comparison.b}."


def _caveats(caveats: Sequence[str]) -> str:
    if not caveats:
        return ""
    return f'<div class="notice"><ul>{"".join(f"<li>{escape(caveat)}</li>" for caveat in caveats)}</ul></div>'


def _card(comparison: Comparison, pairing: Pairing) -> str:
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in pairing.notes)
    table = f'<div class="aside">{html.table(_columns(comparison), words.rows(pairing))}</div>'
    style = f"--hue: {pairing.colour}"
    return f'<article class="card" style="{style}"><h2>{escape(pairing.name)}</h2>{table}{notes}</article>'


def _settings(comparison: Comparison) -> str:
    if not comparison.settings:
        return ""
    return html.framed(html.table(("setting", comparison.a, comparison.b), _setting_rows(comparison), wrap=(1, 2)))


def _columns(comparison: Comparison) -> tuple[str, ...]:
    return "", comparison.a, comparison.b, f"{comparison.b} / {comparison.a}"


def _setting_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    return [(s.name, words.ABSENT if s.a is None else s.a, words.ABSENT if s.b is None else s.b) for s in comparison.settings]
