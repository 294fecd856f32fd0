"""What the numbers of a validation come to, in plain words and with their certainty. Pure: numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from hptransfer.base.frozen import Frozen
from hptransfer.base.words import ends, listing, percent, percent_ends, probability, times
from hptransfer.validate.changes import Change, change
from hptransfer.validate.pairs import Pair
from hptransfer.validate.result import Axis, Finding, Foretold, Kind, Multiplier, Speedup, Survival, Validation

ERRORS = 2.0  # standard errors, within which no two losses are told apart
MOST_SEEDS = 1000  # beyond it the number of seeds says nothing but "no difference"
Tone = Literal["good", "bad", "plain"]
TONES: dict[Finding, Tone] = {"faster": "good", "slower": "bad", "open": "plain"}


class Verdict(Frozen):
    """A sentence or two, and whether they are good news."""

    text: str
    tone: Tone = "plain"


def speed_verdict(name: str, baseline: str, where: str, speedup: Speedup, pair: Pair | None = None) -> Verdict:
    """Of the compute multiplier over the baseline, in words, at ``where``; ``pair`` is the comparison of the two losses at the
    same tokens."""
    multipliers = speedup.compute_multiplier
    if speedup.headline is None:
        return _over_sizes(name, baseline, speedup)
    axis, multiplier = speedup.headline
    what = {"tokens": "tokens", "wall_clock": "time"}.get(axis, "compute")
    sure, value, where, tone = certainty(multiplier), times(multiplier.value), f"at {where}", TONES[multiplier.finding]
    if multiplier.finding == "faster":
        amount = f"more than {value}" if multiplier.bound else value
        reason = f", and its longest run there did not reach {name}'s loss" if multiplier.bound else ""
        needs = f"{baseline} needs {amount} the {what} for the same loss {where}{reason}"
        return Verdict(text=f"{name} saves {what}: {needs}{sure}.{_otherwise(axis, multipliers)}", tone=tone)
    if multiplier.finding == "slower":
        amount = f"less than {value}" if multiplier.bound else value
        needs = f"{baseline} reaches its loss with {amount} the {what} {where}"
        return Verdict(text=f"{name} costs more {what} than {baseline}: {needs}{sure}.", tone=tone)
    if multiplier.bound == ">":
        longest = f"{baseline}'s longest run, at {value} the {what} of {name}, did not reach its loss {where}"
        return Verdict(text=f"No speedup is shown yet: {longest}{sure}. A longer one is needed.")
    if multiplier.bound == "<":
        shortest = f"{baseline}'s shortest run, at {value} the {what} of {name}, already had its loss {where}"
        return Verdict(text=f"No speedup is shown: {shortest}{sure}. A shorter one is needed.")
    return Verdict(text=f"No speedup is shown: {value} {where}{sure}.{_seeds(name, pair)}")


def _over_sizes(name: str, baseline: str, speedup: Speedup) -> Verdict:
    """Where the runs have no other horizons, so that sizes are all there is to compare over."""
    if not speedup.sizes:
        return Verdict(text="No compute multiplier was measured.")
    size, found = speedup.sizes[-1], speedup.sizes[-1].multiplier
    words = f"Over model sizes {baseline} needs {found.words} the compute of {name} at width {size.width}{certainty(found)}"
    return Verdict(text=f"{words}. Its runs have no other horizon to compare over.", tone=TONES[found.finding])


def survival_verdict(found: Survival) -> Verdict:
    """Whether a saving survives scale, with the slope and what it comes to."""
    if found.verdict == "cannot_tell" or found.slope is None:
        return Verdict(text=f"Whether it survives scale cannot be told: {found.reason.text if found.reason else 'no slope'}.")
    slope, widths = found.slope, [one.width for one in found.scales if one.is_measured]
    measured = (
        f"Ln multiplier per ln compute is {slope.value:+.3f} (90 %: {slope.low:+.3f} to {slope.high:+.3f}) over widths "
        f"{listing(widths)}"
    )
    tenfold = f"ten times the compute multiply it by {10**slope.value:.2f}"
    if found.verdict == "holds":
        return Verdict(text=f"It survives scale. {measured}.", tone="good")
    if found.verdict == "grows":
        return Verdict(text=f"It grows with scale: {tenfold}. {measured}.", tone="good")
    return Verdict(text=f"It shrinks with scale: {tenfold}. {measured}.", tone="bad")


def prediction_verdict(validation: Validation) -> Verdict:
    """How the predicted hyperparameters compare with the best found around them."""
    regret, predicted = validation.regret, validation.predicted
    if regret is None or predicted is None or predicted.loss is None:
        lost, seeds = (predicted.losses.count(None), len(predicted.losses)) if predicted else (0, 0)
        which = f"{lost} of {seeds} seeds of the predicted run" if lost < seeds and lost else "The predicted run"
        return Verdict(text=f"{which} {'failed' if predicted and predicted.failed else 'diverged'}.", tone="bad")
    above = f"{percent(regret.value)} above the best found around it"
    if regret.high is None:
        probes = any(run.kind == "lr_probe" and run.loss is not None for run in validation.runs)
        reason = "The probes do not bracket the optimum" if probes else "No probe around it has a loss"
        return Verdict(text=f"{reason}: the prediction is {above}, or more.")
    error = validation.noise.sd * math.sqrt(2)  # of two single losses: the regret is that of one seed
    spread = f" (80 %: {percent_ends(regret)})"
    if regret.value <= ERRORS * error:
        small = f"{percent(regret.value)} above{spread}"
        return Verdict(text=f"The prediction is within the noise of the best found around it: {small}.", tone="good")
    return Verdict(text=f"The prediction is {above}{spread}.")


def against_verdict(validation: Validation) -> Verdict | None:
    """The prediction against transfers without a fit: the same hyperparameters at every width, and muP's rules alone."""
    predicted = validation.predicted
    others: dict[Kind, str] = {"same_hyperparameters": "the same hyperparameters", "mup_only": "muP alone"}
    runs = [(name, run) for kind, name in others.items() for run in validation.runs if run.kind == kind]
    if predicted is None or predicted.loss is None or not runs:
        return None
    parts = (f"Against {name}: {_compared(change(run, predicted, validation.noise.sd))}." for name, run in runs)
    return Verdict(text=" ".join(parts))


def foretold_sentences(found: Mapping[str, Foretold]) -> tuple[str, ...]:
    """By which law the losses of arms were foretold, or why they were not; arms of which it is the same together."""
    arms: dict[str, list[str]] = {}
    for arm, one in found.items():
        what = f"no loss is foretold: {one.reason.text}" if one.reason else f"foretold by {one.law}"
        arms.setdefault(what, []).append(arm)
    return tuple(f"{listing(names)}: {what}." for what, names in arms.items())


def certainty(multiplier: Multiplier) -> str:
    """The interval and the p-value in brackets; empty where neither is known. Of a slowdown it is the p-value of that."""
    found = []
    if multiplier.low is not None or multiplier.high is not None:
        found.append(f"80 %: {ends(multiplier, lambda end: f'{end:.2f}')}")
    if (p := multiplier.p_value) is not None:
        words = probability(1 - p if multiplier.finding == "slower" else p)
        found.append(f"p {words}" if words[0] in "<>" else f"p = {words}")
    return f" ({'; '.join(found)})" if found else ""


def _otherwise(axis: Axis, multipliers: Mapping[Axis, Multiplier]) -> str:
    """A saving in compute that wall-clock does not show must say so."""
    clock = multipliers.get("wall_clock")
    if axis == "wall_clock" or clock is None or clock.finding == "faster":
        return ""
    how = "it is slower" if clock.finding == "slower" else "nothing is shown"
    return f" By wall-clock {how}: {clock.words}{certainty(clock)}."


def _seeds(name: str, pair: Pair | None) -> str:
    if pair is None or pair.seeds is None or pair.lower != name or pair.seeds <= min(pair.runs):
        return ""
    many = f"More than {MOST_SEEDS:,}" if pair.seeds > MOST_SEEDS else f"{pair.seeds}"
    return f" {many} seeds of each would show a loss that is {percent(pair.relative)} lower."


def _compared(found: Change | None) -> str:
    """The prediction against another run, as that run's loss changes against it."""
    if found is None:
        return "diverged, which the prediction did not"
    words = f"{percent(abs(math.expm1(found.value)))} {'better' if found.value >= 0 else 'worse'}"
    return f"not distinguishable ({words})" if abs(found.value) <= ERRORS * found.error else words
