"""What the numbers of a validation come to, in plain words and with their certainty. Pure: numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from hptransfer.base.frozen import Frozen
from hptransfer.report import text
from hptransfer.report.changes import Change, change
from hptransfer.report.pairs import Pair
from hptransfer.validate.result import Axis, Kind, Multiplier, Speedup, Survival, Validation

LEVEL = 0.05  # one-sided: what is called shown
ERRORS = 2.0  # standard errors, within which no two losses are told apart
MOST_SEEDS = 1000  # beyond it the number of seeds says nothing but "no difference"

Finding = Literal["faster", "slower", "open"]


class Verdict(Frozen):
    """A sentence, and whether it is good news."""

    text: str
    tone: Literal["good", "bad", "plain"] = "plain"


def headline(multipliers: Mapping[Axis, Multiplier]) -> tuple[Axis, Multiplier] | None:
    """The axis that the verdict speaks about: compute with the optimizer's own, where it was measured."""
    axes: tuple[Axis, ...] = ("flops_with_optimizer", "flops", "tokens", "wall_clock")
    return next(((axis, multipliers[axis]) for axis in axes if axis in multipliers), None)


def finding(multiplier: Multiplier) -> Finding:
    """Whether a multiplier shows a speedup, the opposite, or neither, at 95 % one-sided; without a p-value by the interval.
    A bound says nothing on its open side."""
    value, p = multiplier.value, multiplier.p_value
    sure_above = p < LEVEL if p is not None else multiplier.low is not None and multiplier.low > 1
    sure_below = p > 1 - LEVEL if p is not None else multiplier.high is not None and multiplier.high < 1
    if multiplier.bound != "<" and value > 1 and sure_above:
        return "faster"
    if multiplier.bound != ">" and value < 1 and sure_below:
        return "slower"
    return "open"


def speed_verdict(name: str, baseline: str, width: int, speedup: Speedup, pair: Pair | None = None) -> Verdict:
    """Of the compute multiplier over the baseline, in words, at ``width``; ``pair`` is the comparison of the two losses at the
    same tokens."""
    multipliers = speedup.compute_multiplier
    found = headline(multipliers)
    if found is None:
        return _over_sizes(name, baseline, speedup)
    axis, multiplier = found
    what = {"tokens": "tokens", "wall_clock": "time"}.get(axis, "compute")
    sure, sense, where = certainty(multiplier), finding(multiplier), f"at width {width}"
    value = text.times(multiplier.value)
    if sense == "faster":
        amount = f"more than {value}" if multiplier.bound else value
        reason = f", and its longest run there did not reach {name}'s loss" if multiplier.bound else ""
        needs = f"{baseline} needs {amount} the {what} for the same loss {where}{reason}"
        return Verdict(text=f"{name} saves {what}: {needs}{sure}{_otherwise(axis, multipliers)}.", tone="good")
    if sense == "slower":
        amount = f"less than {value}" if multiplier.bound else value
        needs = f"{baseline} reaches its loss with {amount} the {what} {where}"
        return Verdict(text=f"{name} costs more {what} than {baseline}: {needs}{sure}.", tone="bad")
    if multiplier.bound == ">":
        longest = f"{baseline}'s longest run, at {value} the {what} of {name}, did not reach its loss {where}"
        return Verdict(text=f"No speedup is shown yet: {longest}{sure}; a longer one is needed.")
    if multiplier.bound == "<":
        shortest = f"{baseline}'s shortest run, at {value} the {what} of {name}, already had its loss {where}"
        return Verdict(text=f"No speedup is shown: {shortest}{sure}; a shorter one is needed.")
    return Verdict(text=f"No speedup is shown: {value} {where}{sure}{_seeds(name, pair)}.")


def _over_sizes(name: str, baseline: str, speedup: Speedup) -> Verdict:
    """Where the runs have no other horizons, so that sizes are all there is to compare over."""
    if not speedup.sizes:
        return Verdict(text="No compute multiplier was measured.")
    size = speedup.sizes[-1]
    sense, value = finding(size.multiplier), text.multiplier(size.multiplier)
    tone: Literal["good", "bad", "plain"] = {"faster": "good", "slower": "bad", "open": "plain"}[sense]  # type: ignore[assignment]
    words = f"Over model sizes {baseline} needs {value} the compute of {name} at width {size.width}{certainty(size.multiplier)}"
    return Verdict(text=f"{words}; its runs have no other horizon to compare over.", tone=tone)


def survival_verdict(found: Survival) -> Verdict:
    """Whether a saving survives scale, with the slope and what it comes to."""
    if found.verdict == "cannot_tell" or found.slope is None:
        return Verdict(text=f"Whether it survives scale cannot be told: {found.reason.text if found.reason else 'no slope'}.")
    slope, widths = found.slope, [one.width for one in found.scales if one.is_measured]
    ends = f"{slope.low:+.3f} to {slope.high:+.3f}"
    measured = f"ln multiplier per ln compute {slope.value:+.3f} (90 %: {ends}) over widths {text.listing(widths)}"
    tenfold = f"ten times the compute multiply it by {10**slope.value:.2f}"
    if found.verdict == "holds":
        return Verdict(text=f"It survives scale: {measured}.", tone="good")
    if found.verdict == "grows":
        return Verdict(text=f"It grows with scale: {tenfold}; {measured}.", tone="good")
    return Verdict(text=f"It shrinks with scale: {tenfold}; {measured}.", tone="bad")


def prediction_verdict(validation: Validation) -> Verdict:
    """How the predicted hyperparameters compare with the best found around them."""
    regret, predicted = validation.regret, validation.predicted
    if regret is None or predicted is None or predicted.loss is None:
        lost, seeds = (predicted.losses.count(None), len(predicted.losses)) if predicted else (0, 0)
        which = f"{lost} of {seeds} seeds of the predicted run" if lost < seeds and lost else "The predicted run"
        return Verdict(text=f"{which} {'failed' if predicted and predicted.failed else 'diverged'}.", tone="bad")
    above = f"{text.percent(regret.value)} above the best found around it"
    if regret.high is None:
        probes = any(run.kind == "lr_probe" and run.loss is not None for run in validation.runs)
        reason = "The probes do not bracket the optimum" if probes else "No probe around it has a loss"
        return Verdict(text=f"{reason}: the prediction is {above}, or more.")
    error = validation.noise.sd * math.sqrt(2)  # of two single losses: the regret is that of one seed
    spread = f" (80 %: {text.percent_bounds(regret)[1:-1]})"
    if regret.value <= ERRORS * error:
        small = f"{text.percent(regret.value)} above{spread}"
        return Verdict(text=f"The prediction is within the noise of the best found around it: {small}.", tone="good")
    return Verdict(text=f"The prediction is {above}{spread}.")


def against_verdict(validation: Validation) -> Verdict | None:
    """The prediction against transfers without a fit: the same hyperparameters at every width, and muP's rules alone."""
    predicted = validation.predicted
    others: dict[Kind, str] = {"same_hyperparameters": "the same hyperparameters", "mup_only": "muP alone"}
    runs = [(name, run) for kind, name in others.items() for run in validation.runs if run.kind == kind]
    if predicted is None or predicted.loss is None or not runs:
        return None
    parts = [f"{name}: {_compared(change(run, predicted, validation.noise.sd))}" for name, run in runs]
    return Verdict(text=f"Against {'; against '.join(parts)}.")


def certainty(multiplier: Multiplier) -> str:
    """The interval and the p-value in brackets; empty where neither is known. Of a slowdown it is the p-value of that."""
    low, high, p = multiplier.low, multiplier.high, multiplier.p_value
    ends = [] if low is None and high is None else [f"80 %: {text.multiplier_ends(multiplier)}"]
    known = [] if p is None else [text.p_value(1 - p if finding(multiplier) == "slower" else p)]
    return f" ({'; '.join(ends + known)})" if ends + known else ""


def _otherwise(axis: Axis, multipliers: Mapping[Axis, Multiplier]) -> str:
    """A saving in compute that wall-clock does not show must say so."""
    clock = multipliers.get("wall_clock")
    if axis == "wall_clock" or clock is None or finding(clock) == "faster":
        return ""
    how = "it is slower" if finding(clock) == "slower" else "nothing is shown"
    return f"; by wall-clock {how}, {text.multiplier(clock)}{certainty(clock)}"


def _seeds(name: str, pair: Pair | None) -> str:
    if pair is None or pair.seeds is None or pair.lower != name:
        return ""
    if pair.seeds > MOST_SEEDS:
        return (
            f"; more than {MOST_SEEDS:,} seeds of each would be needed to show a loss that is {text.percent(pair.relative)} lower"
        )
    if pair.seeds <= min(pair.runs):
        return ""
    return f"; {pair.seeds} seeds of each would show a loss that is {text.percent(pair.relative)} lower"


def _compared(found: Change | None) -> str:
    """The prediction against another run, as that run's loss changes against it."""
    if found is None:
        return "diverged, which the prediction did not"
    words = f"{text.percent(abs(math.expm1(found.value)))} {'better' if found.value >= 0 else 'worse'}"
    return f"not distinguishable ({words})" if abs(found.value) <= ERRORS * found.error else words
