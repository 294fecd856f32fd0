"""Named rules of how a hyperparameter's optimum moves along a scale. They compete on the user's own runs; none is the rule.

Whatever columns of a table are called, a rule is for a kind of hyperparameter along a kind of scale. Of kinds that nobody has a
rule for, nothing moving competes with a free exponent. A named exponent has a spread of its own: published ones were fitted to
sweeps that scatter by about as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hptransfer.runs.sources.names import meaning, plain, without_logarithm

NARROW = 0.05  # of an exponent that theory or a published fit names
# How far theory's exponent of the LR with width may be off in known coordinates: published muP sweeps drift by a few hundredths,
# seldom by 0.3.
KNOWN = 0.1
# How likely it is that a trend flattens within reach: beyond the critical batch it must, at long horizons it may.
FLATTENS = {"batch": 0.75, "tokens": 0.25}
WIDE = 0.6  # of a free exponent: published ones lie between -1 and 1
NONE, FREE = "none", "free"
THEORY, WIDTH_RULES = "theory", "width rules of arXiv 2512.05620"


@dataclass(frozen=True)
class Hypothesis:
    """A rule: hp* ~ feature^exponent, the exponent known to ``spread`` (standard deviation of a normal prior). ``saturates``: the
    feature is the scale up to a knee that is not known, beyond which nothing moves; else the scale itself. ``weight``: of its
    prior, against others of the same hyperparameter along the same scale."""

    name: str
    exponent: float
    spread: float
    source: str
    saturates: bool = False
    weight: float = 1.0


def kind_of(name: str) -> str:
    """The kind of a hyperparameter or scale by its usual names, prefixes of logarithms aside; else its own name. At one batch
    size steps are tokens."""
    kind = meaning(name)
    return "tokens" if kind in ("step", "horizon") else kind or without_logarithm(plain(name))


def hypotheses(hyperparameter: str, scale: str) -> tuple[Hypothesis, ...]:
    """All that compete for a hyperparameter along a scale."""
    found = RULES.get((kind_of(hyperparameter), kind_of(scale)), _rules(WIDE))
    return saturating(found, scale)


def assumed(hyperparameter: str, scale: str) -> tuple[Hypothesis, ...]:
    """What is taken along a scale that did not vary among the runs, so that nothing competes: the usual rule, 80 % of whose prior
    lies within 0.25 of it."""
    key = (kind_of(hyperparameter), kind_of(scale))
    return (ASSUMED[key],) if key in ASSUMED else hypotheses(hyperparameter, scale)


def in_width(hidden: float, readout: float) -> tuple[Hypothesis, ...]:
    """Of the LR along the width in known coordinates: the exponents that theory expects of hidden weights and of the readout.
    Where they agree it is right but for a small correction with heavy tails; where they do not, one LR serves both, and its
    optimum may lie anywhere between, and need not."""
    if math.isclose(hidden, readout, abs_tol=1e-9):
        tails = ((KNOWN / 2, 0.4), (1.5 * KNOWN, 0.4), (5 * KNOWN, 0.2))
        return tuple(Hypothesis(THEORY, hidden, spread, WIDTH_RULES, weight=weight) for spread, weight in tails)
    free = (one for one in hypotheses("lr", "width") if one.name == FREE)
    between, spread = (hidden + readout) / 2, abs(hidden - readout) / math.sqrt(12)  # of a uniform distribution
    return (
        Hypothesis(f"{THEORY}, hidden weights", hidden, KNOWN, WIDTH_RULES, weight=0.25),
        Hypothesis(f"{THEORY}, readout", readout, KNOWN, WIDTH_RULES, weight=0.25),
        Hypothesis(f"{THEORY}, between", between, spread, WIDTH_RULES, weight=0.5),
        *free,
    )


def saturating(rules: Iterable[Hypothesis], scale: str) -> tuple[Hypothesis, ...]:
    """Rules along a scale, each also in a form that flattens beyond a knee where optima do so along a scale of its kind."""
    share = FLATTENS.get(kind_of(scale), 0.0)
    found = []
    for one in rules:
        flat = share == 0 or one.name == NONE
        found.append(one if flat else replace(one, weight=one.weight * (1 - share)))
        found += [] if flat else [replace(one, name=f"{one.name}, saturating", weight=one.weight * share, saturates=True)]
    return tuple(found)


def _rules(free: float, *named: Hypothesis) -> tuple[Hypothesis, ...]:
    """Nothing moves, one of the named rules, or a free exponent, as likely as both. That is rather small than large: ``free`` is
    its standard deviation in half of the cases, and a quarter of it in the others."""
    still = 0.25 if named else 0.5
    return (
        Hypothesis(NONE, 0.0, NARROW, "nothing moves", weight=still),
        *(replace(one, weight=(0.5 - still) / len(named)) for one in named),
        Hypothesis(FREE, 0.0, free / 4, "no rule", weight=0.25),
        Hypothesis(FREE, 0.0, free, "no rule", weight=0.25),
    )


RULES: dict[tuple[str, str], tuple[Hypothesis, ...]] = {
    ("lr", "width"): _rules(
        WIDE,
        Hypothesis("inverse width", -1.0, 2 * NARROW, "Adam's hidden weights, arXiv 2203.03466"),
        Hypothesis("inverse root of width", -0.5, 2 * NARROW, "one LR for weights of both exponents"),
    ),
    ("lr", "parameters"): _rules(
        0.5,
        Hypothesis("inverse width", -0.5, NARROW, "Adam's hidden weights, parameters ~ width^2, arXiv 2203.03466"),
        Hypothesis("steplaw", -0.713, NARROW, "arXiv 2503.04715"),
    ),
    ("lr", "depth"): _rules(0.5, Hypothesis("depth-mup", -0.5, NARROW, "arXiv 2310.02244")),
    ("lr", "batch"): _rules(
        0.5,
        Hypothesis("sqrt", 0.5, NARROW, "Adam, arXiv 2405.13698; saturating: arXiv 2405.14578"),
        Hypothesis("linear", 1.0, NARROW, "SGD, arXiv 1706.02677; saturating: arXiv 1812.06162"),
    ),
    ("lr", "tokens"): _rules(
        0.5,
        Hypothesis("bjorck", -0.32, NARROW, "arXiv 2409.19913"),
        Hypothesis("steplaw", 0.31, NARROW, "batch at its own optimum, arXiv 2503.04715"),
    ),
    ("batch", "tokens"): _rules(
        0.5,
        Hypothesis("power lines", 0.383, NARROW, "arXiv 2505.13738"),
        Hypothesis("steplaw", 0.571, NARROW, "arXiv 2503.04715"),
    ),
    ("weight_decay", "width"): _rules(
        WIDE,
        Hypothesis("inverse width", -1.0, 2 * NARROW, "arXiv 2512.05620, section 3.4"),
        Hypothesis("inverse width squared", -2.0, 2 * NARROW, "nanochat's log, January 2026"),
        Hypothesis("square root of width", 0.5, 2 * NARROW, "arXiv 2510.15262"),
    ),
    ("weight_decay", "tokens"): _rules(
        0.5,
        Hypothesis("constant tau", -1.0, NARROW, "arXiv 2405.13698"),
        Hypothesis("power lines", -0.473, NARROW, "arXiv 2505.13738"),
    ),
    ("weight_decay", "batch"): _rules(0.5, Hypothesis("constant tau", 1.0, NARROW, "arXiv 2405.13698")),
}

# Batch: published sweeps measured 0.3 to 0.5. Tokens at a given batch: published laws disagree on the sign (Step Law +0.31 with
# the batch tuned along, arXiv 2503.04715; -0.32 at a fixed one, arXiv 2409.19913), and Step Law's own sweeps show none. Depth:
# the residual multiplier and the LR rule are in the coordinates already.
ASSUMED = {
    ("lr", "batch"): Hypothesis("sqrt", 0.5, 0.2, "arXiv 2405.13698; not varied in the runs"),
    ("lr", "tokens"): Hypothesis(NONE, 0.0, 0.2, "published laws disagree on the sign; not varied in the runs"),
    ("lr", "depth"): Hypothesis(NONE, 0.0, 0.2, "in the coordinates; not varied in the runs"),
}
