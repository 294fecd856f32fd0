"""One self-contained HTML page: no request leaves the machine, and a content security policy in the page sees to it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import polars as pl

from hptransfer.report import html, text
from hptransfer.report.charts import colour
from hptransfer.report.figures import Section
from hptransfer.report.results import label
from hptransfer.report.summary import Answer, Missing, Summary


def render_page(summary: Summary, sections: Sequence[Section], runs: pl.DataFrame, live: Sequence[str] = ()) -> str:
    """The page as text. ``live`` are the lines that a page which follows a search has at its top."""
    body = f"""{html.live(live)}
{_header(summary, sections)}
{_notice(summary.missing)}
<div class="answers">{"".join(_card(answer) for answer in summary.optimizers)}</div>
{"".join(map(html.section, sections))}
{_checks(summary)}
{_runs(runs)}
{_provenance(summary)}"""
    figures = [figure for section in sections for figure in section.figures]
    return html.document(summary.experiment, body, figures, is_live=bool(live))


def _header(summary: Summary, sections: Sequence[Section]) -> str:
    scale = summary.scale
    anchors = [(section.anchor, section.title) for section in sections]
    anchors += [("checks", "Checks"), ("runs", "Runs"), ("provenance", "Provenance")]
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in anchors)
    description = f"<p>{escape(summary.description)}</p>" if summary.description else ""
    widths = text.listing(list(scale.widths))
    return f"""<header>
<h1>{escape(summary.experiment)}</h1>
{description}
<p>Speaks about <strong>width {scale.target_width}</strong>: {scale.words}.
Tuned only at width {widths}; the base width is {scale.base_width},
in whose coordinates learning rates are given; weight decay is independent. Intervals are 80 %.</p>
<nav>{links}<span class="soft">Click a legend to filter its chart.</span></nav>
</header>"""


def _notice(missing: Sequence[Missing]) -> str:
    if not missing:
        return ""
    items = "".join(f"<li>{html.absent(part)}</li>" for part in missing)
    return f'<div class="notice"><strong>This experiment is not finished.</strong><ul>{items}</ul></div>'


def _card(answer: Answer) -> str:
    name = escape(label(answer.series))
    digest = f'<code title="digest of the prediction">{escape(answer.prediction)}</code>' if answer.prediction else ""
    body = _numbers(answer) if answer.hyperparameters else '<p class="soft">No prediction yet.</p>'
    return f'<article class="card" style="--hue: {colour(answer.optimizer)}"><h2>{name}{digest}</h2>{body}</article>'


def _numbers(answer: Answer) -> str:
    assert answer.hyperparameters is not None and answer.expected_regret is not None
    lr, decay = answer.hyperparameters.lr, answer.hyperparameters.weight_decay
    known = decay.status == "identified"
    certainty = f"<span>{text.bounds(decay)}</span>" if known else f"<small>{escape(decay.status)}</small>"
    measured = "<span>not tested yet</span>"
    if answer.regret:
        measured = f"<b>{text.percent(answer.regret.value)}</b><span>{text.percent_bounds(answer.regret)}</span>"
    final = html.table(
        ("final values", "learning rate", "weight decay", "epsilon"),
        [(role, text.plain(n.lr), text.plain(n.weight_decay), text.epsilons(n.epsilons)) for role, n in answer.roles.items()],
    )
    return f"""<dl class="numbers">
<div><dt>Learning rate</dt><dd><b>{text.plain(lr.value)}</b><span>{text.bounds(lr)}</span></dd></div>
<div><dt>Weight decay</dt><dd><b>{text.plain(decay.value)}</b>{certainty}</dd></div>
<div><dt>Expected regret</dt><dd><b>{text.percent(answer.expected_regret)}</b></dd></div>
<div><dt>Measured regret</dt><dd>{measured}</dd></div>
</dl>
{_failed_checks(answer)}
{_speedup(answer)}
{final}"""


def _failed_checks(answer: Answer) -> str:
    failed = "; ".join(f"{check.name} ({check.detail})" for check in answer.checks if not check.ok)
    return f'<p class="bad">Check failed: {escape(failed)}</p>' if failed else ""


def _speedup(answer: Answer) -> str:
    if answer.refusal:
        return f'<p class="speedup">{escape(answer.refusal)}</p>'
    if answer.optimizer == "adamw":
        return '<p class="speedup soft">The baseline that the compute multipliers of the others refer to.</p>'
    if not answer.speedup:
        return '<p class="speedup soft">Compute multiplier over AdamW: not measured yet.</p>'
    items = "".join(
        f"<div><dt>{text.AXES[axis]}</dt>"
        f"<dd><b>{escape(text.multiplier(value))}</b> <span>{text.multiplier_bounds(value)}</span></dd></div>"
        for axis, value in answer.speedup.compute_multiplier.items()
    )
    return f'<div class="speedup"><p>Compute that AdamW needs for the same loss, as a multiple</p><dl>{items}</dl></div>'


def _checks(summary: Summary) -> str:
    rows = []
    for answer in summary.optimizers:
        name = label(answer.series)
        rows += [(name, check.name, "ok" if check.ok else "failed", check.detail) for check in answer.checks]
        if drift := answer.drift:
            fitted = "no fit"
            if drift.fitted is not None:
                fitted = f"fit alone {drift.fitted:+.3f} [{_signed(drift.low)}, {_signed(drift.high)}]"
            detail = f"theory {drift.theory:+.3f}, {fitted}, used {drift.used:+.3f}: {drift.reason}"
            rows.append((name, "drift of the best LR with width", "", detail))
        if hold_out := answer.hold_out:
            lrs = f"LR {text.plain(hold_out.predicted_lr)} for its own {text.plain(hold_out.own_lr)}"
            detail = f"{lrs}, regret {text.percent(hold_out.regret)}"
            rows.append((name, f"width {hold_out.width} from the narrower ones", "", detail))
        if answer.budget:
            budget = ", ".join(f"{runs} at width {width}" for width, runs in answer.budget.items())
            rows.append((name, "runs of the search", "", budget))
        if answer.noise is not None:
            rows.append((name, "noise of the loss between seeds", "", text.percent(answer.noise)))
    if not rows:
        body = '<p class="absent">Checks come with a prediction.</p>'
    else:
        body = f'<div class="scroll flat">{html.table(("optimizer", "check", "", "detail"), rows, wrap=(1, 3))}</div>'
    return html.part("checks", "Checks", "What the predictions rest on.", body)


def _runs(runs: pl.DataFrame) -> str:
    columns = ["optimizer", "width", "LR", "WD", "LR ratio", "seed", "state", "loss"]
    columns += ["tokens", "FLOPs", "wall time", "run", "reason"]
    rows = [
        (
            label((run["optimizer"], run["parametrization"])),
            str(run["width"]),
            text.plain(run["lr"]),
            text.plain(run["weight_decay"]),
            text.plain(run["embedding_lr_ratio"]),
            str(run["init_seed"]),
            run["state"],
            "" if run["loss"] is None else f"{run['loss']:.4f}",
            text.count(run["tokens"]),
            text.plain(run["flops"] + run["flops_optimizer"], 2),
            text.duration(run["training_wall_seconds"]),
            run["run_id"],
            run["reason"] or "",
        )
        for run in runs.iter_rows(named=True)
    ]
    body = f'<div class="scroll" tabindex="0">{html.table(columns, rows)}</div>'
    return html.part("runs", "Runs", f"All {len(rows)} of them, those that diverged or failed too.", body)


def _provenance(summary: Summary) -> str:
    origin = summary.provenance
    states = ", ".join(f"{n} {state}" for state, n in summary.runs.items())
    rows = [("Runs", states)]
    for name, cost in summary.cost.items():
        flops = f"{text.plain(cost.flops)} FLOPs of training and {text.plain(cost.flops_optimizer)} of optimizers"
        spent = f"{cost.runs} runs, {text.duration(cost.wall_seconds)} of training, {flops}"
        rows.append((f"Cost, {name.replace('_', '-')}", spent))
    if data := origin.corpus:
        rows.append(("Corpus", f"{data.corpus}, tokens: {data.tokenizer}, vocabulary {data.vocab}, sha256 {data.sha256}"))
    if origin.runs_on_other_corpora:
        rows.append(("Left out", f"{origin.runs_on_other_corpora} runs on other versions of the corpus"))
    rows.append(("Devices", ", ".join(f"{device} ({n} runs)" for device, n in origin.devices.items())))
    rows.append(("Versions", ", ".join(f"{name} {' and '.join(found)}" for name, found in origin.versions.items())))
    rows.append(("Last run", origin.last_run_at or "none yet"))
    for name, found in origin.predictions.items():
        rows.append((f"Prediction, {name}", ", ".join(f"{key}: {_brief(value)}" for key, value in found.items())))
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return html.part("provenance", "Provenance", "Where the numbers come from.", f'<dl class="provenance">{items}</dl>')


def _brief(value: Any) -> str:
    """A value of a provenance: lists by their length."""
    if isinstance(value, dict):
        return " ".join(f"{key} {_brief(item)}" for key, item in value.items())
    return str(len(value)) if isinstance(value, list) else str(value)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
