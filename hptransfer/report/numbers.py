"""The saving in numbers: every axis, every size, what the optimizer costs, and which differences of loss are shown."""

from __future__ import annotations

from collections.abc import Sequence

from hptransfer.base.intervals import Interval
from hptransfer.report import html, text
from hptransfer.report.overhead import TokensToLoss
from hptransfer.report.pairs import Pair
from hptransfer.report.summary import Answer, Summary
from hptransfer.validate.result import Size

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # caption, columns, rows


def section(summary: Summary) -> str:
    """The section of the page; empty where nothing was measured at the held-out width."""
    tables = number_tables(summary)
    body = "".join(html.framed(html.table(columns, rows, caption=caption)) for caption, columns, rows in tables)
    intro = f"At width {summary.scale.target_width} unless a width is named. Intervals are 80 %; p-values are one-sided."
    return html.part("numbers", "In numbers", intro, body) if tables else ""


def number_tables(summary: Summary) -> list[Table]:
    """The tables that have rows."""
    answers = summary.arms
    tables = [
        multiplier_table(answers),
        survival_table(answers),
        size_table(answers),
        trend_table(answers),
        overhead_table(answers),
        target_table(answers),
        pair_table(summary.pairs),
    ]
    return [found for found in tables if found[2]]


def multiplier_table(answers: Sequence[Answer]) -> Table:
    """Every axis, the law, and the bound from within the run."""
    columns = ("arm", *text.AXES.values(), "by a power law", "within its run")
    rows = []
    for answer in answers:
        if speedup := answer.speedup:
            axes = (speedup.compute_multiplier.get(axis) for axis in text.AXES)
            rows.append((answer.arm, *map(text.multiplier_in_full, (*axes, speedup.law, speedup.within_run))))
    return f"What the baseline needs for the same loss, as a multiple. {text.BESIDE_THE_LADDER}", columns, rows


def survival_table(answers: Sequence[Answer]) -> Table:
    """The multiplier at every scale where the baseline's ladder was run, and its slope."""
    rows: list[tuple[str, ...]] = []
    for answer in answers:
        if not (found := answer.survival):
            continue
        slope = "-" if found.slope is None else f"{found.slope.value:+.3f} {_signed(found.slope)}"
        for one in found.scales:
            where = (answer.arm, str(one.width), text.plain(one.flops), text.multiplier_in_full(one.multiplier))
            rows.append((*where, slope if one.is_held_out else ""))
    caption = (
        "The multiplier on FLOPs at every scale, from the baseline's ladder of horizons there, each arm at the best of its "
        "search or, at the held-out width, at its prediction. Slope: of ln multiplier per ln compute, with a 90 % interval."
    )
    return caption, ("arm", "width", "FLOPs of a run", "multiplier", "slope"), rows


def size_table(answers: Sequence[Answer]) -> Table:
    """Both optimizers at every size, and the multipliers over sizes."""
    columns = ("arm", "width", "parameters", "loss", "the baseline's loss", "interpolated over sizes", "by a power law")
    # Where survival was measured, its ladders say it better: over sizes the baseline is extrapolated.
    asked = [answer for answer in answers if answer.speedup and not answer.survival]
    rows = [_size(answer, size) for answer in asked if answer.speedup for size in answer.speedup.sizes]
    caption = (
        "Over model sizes, at the best of each search or, at the held-out width, at the predictions: the baseline's compute to "
        "the same loss, piecewise linear in ln compute against ln loss (arXiv 2512.05620), and by a power law through all sizes."
    )
    return caption, columns, rows


def _size(answer: Answer, size: Size) -> tuple[str, ...]:
    losses = (f"{size.loss:.4f}", f"{size.baseline_loss:.4f}")
    multipliers = map(text.multiplier_in_full, (size.multiplier, size.law))
    return answer.arm, str(size.width), text.known(size.parameters, text.count), *losses, *multipliers


def trend_table(answers: Sequence[Answer]) -> Table:
    """How each multiplier moves with compute."""
    asked = (answer for answer in answers if not answer.survival)
    found = [(answer.arm, answer.speedup.trend) for answer in asked if answer.speedup and answer.speedup.trend]
    rows: list[tuple[str, ...]] = [(name, f"{trend.value:+.3f} {_signed(trend)}", _trend(trend)) for name, trend in found]
    return "Over these sizes the multiplier goes as compute to this power.", ("arm", "exponent", "what it says"), rows


def _signed(trend: Interval) -> str:
    low, high = ("..." if end is None else f"{end:+.3f}" for end in (trend.low, trend.high))
    return f"({low} to {high})"


def _trend(trend: Interval) -> str:
    if trend.low is not None and trend.low > 0:
        return "the saving grows with scale"
    return "the saving shrinks with scale" if trend.high is not None and trend.high < 0 else "no trend is shown"


def overhead_table(answers: Sequence[Answer]) -> Table:
    """What each optimizer costs by itself."""
    columns = ("arm", "of training time", "of FLOPs", "time per token", "over the baseline's", "state", "bytes per parameter")
    rows: list[tuple[str, ...]] = [
        (
            answer.arm,
            text.share(spent.time_share),
            text.share(spent.flops_share),
            text.known(spent.seconds_per_token, text.seconds),
            text.known(spent.against_baseline, text.times),
            text.known(spent.state_bytes, text.size),
            text.known(spent.state_bytes_per_parameter, text.plain),
        )
        for answer in answers
        if (spent := answer.overhead)
    ]
    return "What the optimizer itself costs in the predicted run: its share, and its state.", columns, rows


def target_table(answers: Sequence[Answer]) -> Table:
    """Tokens to the experiment's target loss."""
    found = [(answer.arm, answer.target_loss) for answer in answers if answer.target_loss]
    loss = f"{found[0][1].loss:g}" if found else ""
    caption = f"Training tokens of the predicted run to a loss of {loss} nats per token."
    return caption, ("arm", "tokens", "how to read it"), [(name, *target_words(target)) for name, target in found]


def target_words(target: TokensToLoss) -> tuple[str, str]:
    """Tokens, and what they mean."""
    if target.tokens is None:
        return "-", f"not reached in {text.count(target.trained)} tokens"
    if target.mid_schedule:
        return text.count(target.tokens), "passed mid-schedule: at most so many with a schedule of its own"
    return text.count(target.tokens), "reached at the end of its schedule"


def pair_table(pairs: Sequence[Pair]) -> Table:
    """Which of two losses is lower, and what would show it."""
    columns = (
        "lower loss",
        "higher loss",
        "difference",
        "relative",
        "p-value",
        "seeds run",
        "seeds to show it",
        "baseline's tokens",
    )
    rows: list[tuple[str, ...]] = [
        (
            pair.lower,
            pair.higher,
            f"{pair.difference:.4f}",
            text.percent(pair.relative),
            text.probability(pair.p_value),
            " and ".join(map(str, pair.runs)),
            "-" if pair.seeds is None else f"{pair.seeds:,}",
            text.known(pair.tokens, text.times),
        )
        for pair in pairs
    ]
    caption = (
        "Losses of the predicted runs at the same tokens, nats per token; none at a constant LR against an annealed one. Seeds: "
        "of each optimizer, to show a difference of this size at 95 % one-sided, with a power of 80 %. Baseline's tokens: so "
        "many times as many would bring it from the higher loss to the lower, by a power law through its ladder of horizons."
    )
    return caption, columns, rows
