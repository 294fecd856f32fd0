"""The first screen of the page: what to set, what it saves, and how sure that is, per arm."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hptransfer.report import html, text
from hptransfer.report.summary import Answer
from hptransfer.report.verdicts import Verdict, headline
from hptransfer.transfer.prediction import Estimate

MOST_CARDS = 2  # that fit on the first screen side by side
SOURCES = {"fitted": "identified", "rule": "not identified, rule used", "frozen": "kept"}  # of a value without an interval
UNKNOWN: dict[str, str] = {  # why there is no multiplier on an axis
    "flops_with_optimizer": "the optimizers' own are not known",
    "wall_clock": "not timed, or on different devices",
}


def answers(arms: Sequence[Answer]) -> str:
    """Cards for two; for more a table of all of them first."""
    cards = f'<div class="answers">{"".join(map(_card, arms))}</div>'
    if len(arms) <= MOST_CARDS:
        return cards
    return f'{_overview(arms)}<h2 class="cards">Each arm</h2>{cards}'


def _overview(arms: Sequence[Answer]) -> str:
    columns = ("arm", "learning rate", "weight decay", "measured regret", "speedup over the baseline")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    body = "".join(map(_overview_rows, arms))
    return f'<div class="scroll flat overview" tabindex="0"><table><thead><tr>{head}</tr></thead>{body}</table></div>'


def _overview_rows(answer: Answer) -> str:
    link = f'<a href="#{_anchor(answer)}">{escape(answer.arm)}</a>'
    cells = "".join(
        f'<td data-name="{escape(name)}"><b>{escape(value)}</b> <span>{escape(sure)}</span></td>'
        for name, value, sure, _ in _numbers(answer)
    )
    said = "".join(_paragraph(verdict, "verdict") for verdict in _first(answer))
    return (
        f'<tbody style="--hue: {answer.colour}"><tr><th scope="row">{link}</th>{cells}</tr>'
        f'<tr><td colspan="5">{said}</td></tr></tbody>'
    )


def _first(answer: Answer) -> list[Verdict]:
    """What is said of an arm where all arms are seen at once."""
    return [answer.saving, *([answer.survives] if answer.survives else []), *answer.judgement[:1], *answer.failures]


def _anchor(answer: Answer) -> str:
    return f"answer-{answer.arm}"


def _card(answer: Answer) -> str:
    digest = f'<code title="digest of the prediction">{escape(answer.prediction)}</code>' if answer.prediction else ""
    body = _paragraph(answer.saving, "said soft" if answer.is_baseline and answer.speed else "verdict")
    body += _paragraph(answer.survives, "verdict") if answer.survives else ""
    body += _known(answer) if answer.hyperparameters else ""
    head = f"<h2>{escape(answer.arm)}{digest}</h2>"
    return f'<article class="card" id="{_anchor(answer)}" style="--hue: {answer.colour}">{head}{body}</article>'


def _known(answer: Answer) -> str:
    numbers = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{escape(value)}</b><span>{escape(sure)}</span><small>{escape(note)}</small></dd></div>"
        for name, value, sure, note in _numbers(answer)
        if not (answer.is_baseline and name == "Speedup")
    )
    rows = [(role, text.plain(n.lr), text.plain(n.weight_decay), text.epsilons(n.epsilons)) for role, n in answer.roles.items()]
    final = html.table(("final values", "learning rate", "weight decay", "epsilon"), rows, wrap=(3,)) if rows else ""
    return f"""<dl class="numbers">{numbers}</dl>
{"".join(_paragraph(verdict, "said") for verdict in (*answer.judgement, *answer.failures))}
{_axes(answer)}{_overhead(answer)}
{final}"""


def _numbers(answer: Answer) -> list[tuple[str, str, str, str]]:
    """The four numbers of an arm: name, value, how sure, and a note."""
    unknown = [(name, "-", "", "") for name in ("Learning rate", "Weight decay", "Measured regret", "Speedup")]
    decay = answer.weight_decay
    if answer.expected_regret is None:
        return unknown
    lr = answer.hyperparameters["lr"]
    regret = ("Measured regret", "-", "", f"expected {text.percent(answer.expected_regret)}")
    if answer.regret:
        regret = (regret[0], text.percent(answer.regret.value), text.percent_bounds(answer.regret), regret[3])
    speedup = unknown[3]
    if answer.speedup and (found := headline(answer.speedup.compute_multiplier)):
        axis, multiplier = found
        speedup = (speedup[0], text.multiplier(multiplier), text.multiplier_bounds(multiplier), text.AXES[axis])
    return [("Learning rate", text.plain(lr.value), text.bounds(lr), _coordinates(answer)), _decay(decay), regret, speedup]


def _coordinates(answer: Answer) -> str:
    return "as the program takes it" if answer.parametrization == "unknown" else "base coordinates"


def _decay(decay: Estimate | None) -> tuple[str, str, str, str]:
    if decay is None:
        return "Weight decay", "-", "", "not tuned"
    known = decay.low is not None or decay.high is not None
    status = "" if known else f", {SOURCES[decay.status]}"
    return "Weight decay", text.plain(decay.value), text.bounds(decay) if known else "", f"final value{status}"


def _paragraph(verdict: Verdict, style: str) -> str:
    tone = "" if verdict.tone == "plain" else f" {verdict.tone}"
    sentence = escape(verdict.text).replace(" %", "&nbsp;%")  # a number and its sign stay on one line
    return f'<p class="{style}{tone}">{sentence}</p>'


def _axes(answer: Answer) -> str:
    if not answer.speedup:
        return ""
    items = []
    for axis, name in text.AXES.items():
        value = answer.speedup.compute_multiplier.get(axis)
        words, sure = (
            ("-", UNKNOWN.get(axis, "not known")) if value is None else (text.multiplier(value), text.multiplier_bounds(value))
        )
        items.append(f"<div><dt>{name}</dt><dd><b>{escape(words)}</b> <span>{escape(sure)}</span></dd></div>")
    return f'<div class="axes"><p>What the baseline needs for the same loss, as a multiple</p><dl>{"".join(items)}</dl></div>'


def _overhead(answer: Answer) -> str:
    if not (spent := answer.overhead):
        return ""
    words = (
        f"The optimizer itself: {text.share(spent.time_share)} of the training time, {text.share(spent.flops_share)} of the FLOPs"
    )
    if spent.against_baseline is not None and not answer.is_baseline:
        words += f", {text.times(spent.against_baseline)} the baseline's seconds per token"
    if spent.state_bytes is not None:
        words += f"; its state {text.size(spent.state_bytes)}"
    if spent.state_bytes_per_parameter is not None:
        words += f" ({text.plain(spent.state_bytes_per_parameter, 2)} bytes per parameter)"
    return _paragraph(Verdict(text=f"{words}."), "said soft")
