"""The saving in numbers: every axis, every size, what the optimizer costs, and which differences of loss are shown."""

from __future__ import annotations

from collections.abc import Sequence

from hptransfer.base.words import count, known, percent, plain, probability, share, short_time, size, times, within_signed
from hptransfer.report.document import Section, Table
from hptransfer.report.figures import BESIDE_THE_LADDER
from hptransfer.validate.pairs import Pair
from hptransfer.validate.result import AXES
from hptransfer.validate.summary import Answer


def section(answers: Sequence[Answer], compared: Sequence[Pair], where: str) -> Section:
    """The saving in numbers: every axis, every size, what the optimizer costs, and which differences of loss are shown."""
    made = (multiplier_table, survival_table, size_table, trend_table, overhead_table, target_table)
    tables = (*(make(answers) for make in made), pair_table(compared))
    intro = f"At {where} unless a width is named. Intervals are 80 %. P-values are one-sided."
    return Section("numbers", "In numbers", intro, tables=tuple(filter(None, tables)))


def multiplier_table(answers: Sequence[Answer]) -> Table:
    """Every axis, the law, and the bound from within the run."""
    rows = []
    for answer in answers:
        if speedup := answer.speedup:
            found = {name: speedup.compute_multiplier.get(axis) for axis, name in AXES.items()}
            found |= {"by a power law": speedup.law, "within its run": speedup.within_run}
            rows.append({"arm": answer.arm} | {name: "-" if one is None else one.in_full for name, one in found.items()})
    return Table.of(rows, f"What the baseline needs for the same loss, as a multiple. {BESIDE_THE_LADDER}")


def survival_table(answers: Sequence[Answer]) -> Table:
    """The multiplier at every scale where the baseline's ladder was run, and its slope."""
    rows = [
        {
            "arm": answer.arm,
            "width": str(one.width),
            "FLOPs of a run": plain(one.flops),
            "multiplier": one.multiplier.in_full,
            "slope": "" if not one.is_held_out else within_signed(survival.slope) if survival.slope else "-",
        }
        for answer in answers
        if (survival := answer.survival)
        for one in survival.scales
    ]
    caption = (
        "The multiplier on FLOPs at every scale, from the baseline's ladder of horizons there. Each arm is at the best of its "
        "search or, at the held-out width, at its prediction. Slope: of ln multiplier per ln compute, with a 90 % interval."
    )
    return Table.of(rows, caption)


def foretold_table(answers: Sequence[Answer]) -> Table:
    """The measured loss beside the one that the searched cells alone had foretold."""
    rows = [
        {
            "arm": answer.arm,
            "measured loss": known(answer.loss, "{:.4f}".format),
            "foretold": answer.foretold.words,
            "measured lies": answer.foretold.against(answer.loss) or "-",
        }
        for answer in answers
        if answer.foretold and answer.foretold.loss
    ]
    caption = (
        "The mean loss of the predicted runs beside what a law through the searched cells had foretold, with its 80 % interval, "
        "which holds their noise. The law has seen no run at the held-out cell."
    )
    return Table.of(rows, caption)


def size_table(answers: Sequence[Answer]) -> Table:
    """Both optimizers at every size, and the multipliers over sizes. Where survival was measured its ladders say it better: over
    sizes the baseline is extrapolated."""
    rows = [
        {
            "arm": answer.arm,
            "width": str(one.width),
            "parameters": known(one.parameters, count),
            "loss": f"{one.loss:.4f}",
            "the baseline's loss": f"{one.baseline_loss:.4f}",
            "interpolated over sizes": one.multiplier.in_full,
            "by a power law": one.law.in_full if one.law else "-",
        }
        for answer in answers
        if answer.speedup and not answer.survival
        for one in answer.speedup.sizes
    ]
    caption = (
        "Over model sizes, at the best of each search or, at the held-out width, at the predictions: the baseline's compute to "
        "the same loss, piecewise linear in ln compute against ln loss (arXiv 2512.05620), and by a power law through all sizes."
    )
    return Table.of(rows, caption)


def trend_table(answers: Sequence[Answer]) -> Table:
    """How each multiplier moves with compute."""
    rows = []
    for answer in answers:
        if answer.speedup and (trend := answer.speedup.trend) and not answer.survival:
            grows, shrinks = trend.low is not None and trend.low > 0, trend.high is not None and trend.high < 0
            says = "the saving grows with scale" if grows else "the saving shrinks with scale" if shrinks else "no trend is shown"
            rows.append({"arm": answer.arm, "exponent": within_signed(trend), "what it says": says})
    return Table.of(rows, "Over these sizes the multiplier goes as compute to this power.")


def overhead_table(answers: Sequence[Answer]) -> Table:
    """What each optimizer costs by itself."""
    rows = [
        {
            "arm": answer.arm,
            "of training time": share(spent.time_share),
            "of FLOPs": share(spent.flops_share),
            "time per token": known(spent.seconds_per_token, short_time),
            "over the baseline's": known(spent.against_baseline, times),
            "state": known(spent.state_bytes, size),
            "bytes per parameter": known(spent.state_bytes_per_parameter),
        }
        for answer in answers
        if (spent := answer.overhead)
    ]
    return Table.of(rows, "What the optimizer itself costs in the predicted run: its share, and its state.")


def target_table(answers: Sequence[Answer]) -> Table:
    """Tokens to the experiment's target loss."""
    rows, loss = [], 0.0
    for answer in answers:
        if target := answer.target_loss:
            loss, words = target.loss, "reached at the end of its schedule"
            if target.tokens is None:
                words = f"not reached in {count(target.trained)} tokens"
            elif target.mid_schedule:
                words = "passed mid-schedule: at most so many with a schedule of its own"
            rows.append({"arm": answer.arm, "tokens": known(target.tokens, count), "how to read it": words})
    return Table.of(rows, f"Training tokens of the predicted run to a loss of {loss:g} nats per token.")


def pair_table(pairs: Sequence[Pair]) -> Table:
    """Which of two losses is lower, and what would show it."""
    rows = [
        {
            "lower loss": pair.lower,
            "higher loss": pair.higher,
            "difference": f"{pair.difference:.4f}",
            "relative": percent(pair.relative),
            "p-value": probability(pair.p_value),
            "seeds run": " and ".join(map(str, pair.runs)),
            "seeds to show it": known(pair.seeds, lambda seeds: f"{seeds:,}"),
            "baseline's tokens": known(pair.tokens, times),
        }
        for pair in pairs
    ]
    caption = (
        "Losses of the predicted runs at the same tokens, nats per token. None at a constant LR is set against an annealed one. "
        "Seeds: of each optimizer, to show a difference of this size at 95 % one-sided, with a power of 80 %. Baseline's tokens: "
        "so many times as many would bring it from the higher loss to the lower, by a power law through its ladder of horizons."
    )
    return Table.of(rows, caption)
