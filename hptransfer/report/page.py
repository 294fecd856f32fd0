"""One self-contained HTML page: no request leaves the machine, and a content security policy in the page sees to it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import polars as pl

from hptransfer.report import html, numbers, runs, text
from hptransfer.report.cards import answers
from hptransfer.report.figures import Section
from hptransfer.report.summary import Missing, Summary


def render_page(summary: Summary, sections: Sequence[Section], run_table: pl.DataFrame, live: Sequence[str] = ()) -> str:
    """The page as text. ``live`` are the lines that a page which follows a search has at its top."""
    in_numbers = numbers.section(summary)
    parts = [in_numbers, _checks(summary), runs.failures(run_table), runs.section(run_table)]
    body = f"""{html.live(live)}
{_header(summary, sections, bool(in_numbers))}
{_notice(summary.missing)}
{answers(summary.arms)}
{"".join(map(html.section, sections))}
{"".join(parts)}
{_provenance(summary)}"""
    figures = [figure for section in sections for figure in section.figures]
    return html.document(summary.experiment, body, figures, is_live=bool(live))


def _header(summary: Summary, sections: Sequence[Section], has_numbers: bool) -> str:
    scale = summary.scale
    anchors = [(section.anchor, section.title) for section in sections]
    anchors += [("numbers", "In numbers")] if has_numbers else []
    anchors += [("checks", "Checks"), ("runs", "Runs"), ("provenance", "Provenance")]
    description = f"<p>{escape(summary.description)}</p>" if summary.description else ""
    widths = text.listing(list(scale.widths))
    return f"""<header>
<h1>{escape(summary.experiment)}</h1>
{description}
<p>Speaks about <strong>width {scale.target_width}</strong>: {scale.words}.
Tuned only at width {widths}; the base width is {scale.base_width}. {text.COORDINATES} Intervals are 80 %.</p>
{html.navigation(anchors)}
</header>"""


def _notice(missing: Sequence[Missing]) -> str:
    if not missing:
        return ""
    items = "".join(f"<li>{html.absent(part)}</li>" for part in missing)
    return f'<div class="notice"><strong>This experiment is not finished.</strong><ul>{items}</ul></div>'


def _checks(summary: Summary) -> str:
    rows = []
    for answer in summary.arms:
        name = answer.arm
        rows += [(name, check.name, "ok" if check.ok else "failed", check.detail) for check in answer.checks]
        if drift := answer.drift:
            fitted = "no fit"
            if drift.fitted is not None:
                fitted = f"fit alone {drift.fitted:+.3f} [{_signed(drift.low)}, {_signed(drift.high)}]"
            theory = "no theory" if drift.theory is None else f"theory {drift.theory:+.3f}"
            detail = f"{theory}, {fitted}, used {drift.used:+.3f}: {drift.reason}"
            rows.append((name, "drift of the best LR with width", "", detail))
        if hold_out := answer.hold_out:
            lrs = f"LR {text.plain(hold_out.predicted)} for its own {text.plain(hold_out.own)}"
            detail = f"{lrs}, regret {text.percent(hold_out.regret)}"
            rows.append((name, f"{hold_out.cell} from the smaller ones", "", detail))
        if answer.weight_decay:
            rows.append((name, "weight decay", "", answer.weight_decay.words))
        if answer.budget:
            budget = ", ".join(f"{runs} at {cell}" for cell, runs in answer.budget.items())
            rows.append((name, "runs of the search", "", budget))
        if answer.noise is not None:
            rows.append((name, "noise of the loss between seeds", "", text.percent(answer.noise)))
    if not rows:
        body = '<p class="absent">Checks come with a prediction.</p>'
    else:
        body = html.framed(html.table(("arm", "check", "", "detail"), rows, wrap=(1, 3)))
    return html.part("checks", "Checks", "What the predictions rest on.", body)


def _provenance(summary: Summary) -> str:
    origin = summary.provenance
    rows = [("Runs", ", ".join(f"{n} {state}" for state, n in summary.runs.items()) or "none yet")]
    for name, cost in summary.cost.items():
        parts = [f"{cost.runs} runs", f"{text.duration(cost.wall_seconds)} of training"]
        parts += [f"{text.plain(cost.flops)} FLOPs of training"] if cost.flops else []
        parts += [f"{text.plain(cost.flops_optimizer)} of optimizers"] if cost.flops_optimizer else []
        spent = ", ".join(parts)
        spent += f"; {cost.unknown} of them do not say all of it" if cost.unknown and cost.flops_optimizer else ""
        rows.append((f"Cost, {'validation' if name == 'held_out' else name}", spent))
    if data := origin.corpus:
        rows.append(("Corpus", f"{data.corpus}, tokens: {data.tokenizer}, vocabulary {data.vocab}, sha256 {data.sha256}"))
    if origin.runs_on_other_corpora:
        rows.append(("Left out", f"{origin.runs_on_other_corpora} runs on other versions of the corpus"))
    rows.append(("Machines", "; ".join(f"{device} ({n} runs)" for device, n in origin.devices.items()) or "none yet"))
    versions = ", ".join(f"{name} {' and '.join(found)}" for name, found in origin.versions.items())
    rows.append(("Versions that trained", versions or "none yet"))
    made = f"hptransfer {origin.hptransfer}" + (f", commit {origin.commit}" if origin.commit else "")
    rows.append(("This report", made))
    rows.append(("Last run", origin.last_run_at or "none yet"))
    for name, found in origin.predictions.items():
        rows.append((f"Prediction, {name}", ", ".join(f"{key}: {_brief(value)}" for key, value in found.items())))
    return html.part("provenance", "Provenance", "Where the numbers come from.", html.terms(rows, "provenance"))


def _brief(value: Any) -> str:
    """A value of a provenance: lists by their length."""
    if isinstance(value, dict):
        return " ".join(f"{key} {_brief(item)}" for key, item in value.items())
    return str(len(value)) if isinstance(value, list) else str(value)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
