"""What the other groups of a table or store say is usual: how optima move with the scales, and how far they leave any rule.

It competes with a group's own runs as one more hypothesis, and no hypothesis is stronger for it than all the others together, so
that one odd group is neither dragged nor drags: where its runs are clear they decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hptransfer.base.intervals import REACH, Array
from hptransfer.transfer.forecast import Expected, Fit
from hptransfer.transfer.hypotheses import Hypothesis, saturating
from hptransfer.transfer.law import Measured, fit_line, usual_sizes

SPREADS = (0.05, 0.15, 0.4)  # standard deviations of exponents over groups, each as likely as the others
ODD = 0.1  # share of groups whose exponent may be anything: normal, standard deviation 1
LEFT = 0.1  # standard deviation, ln, by which optima leave a line, beside their errors
GRID = 401  # exponents at which their common value is looked for
REACHED = 3.0  # on both sides of 0: no published exponent is larger


@dataclass(frozen=True)
class Siblings:
    """``exponents``: by hyperparameter and scale, what is usual of them; ``weights``: likewise, how likely each
    hypothesis is on average, by name; ``sizes``: ln of the prior of the wander's."""

    exponents: Mapping[tuple[str, str], tuple[Hypothesis, ...]]
    weights: Mapping[tuple[str, str], Mapping[str, float]]
    sizes: Array

    def join(self, expected: Expected, hyperparameters: Sequence[str], scales: Sequence[str]) -> Expected:
        """The hypotheses with what siblings say of them."""
        return [
            [self._join(one, (name, scale)) for scale, one in zip(scales, of, strict=True)]
            for name, of in zip(hyperparameters, expected, strict=True)
        ]

    def _join(self, own: Sequence[Hypothesis], key: tuple[str, str]) -> tuple[Hypothesis, ...]:
        total, seen = sum(one.weight for one in own), self.weights.get(key, {})
        known = {one.name: sum(two.weight for two in own if two.name == one.name) for one in own}
        shared = sum(seen.get(name, 0.0) for name in known)
        weighed = own
        if shared > 0:
            share = {name: (known[name] / total + seen.get(name, 0.0) / shared) / 2 for name in known}
            weighed = [replace(one, weight=one.weight / known[one.name] * share[one.name] * total) for one in own]
        found = saturating(self.exponents.get(key, ()), key[1])
        return (*weighed, *(replace(one, weight=one.weight * total) for one in found))


def siblings(fits: Sequence[Fit]) -> Siblings | None:
    """What groups say of another, in coordinates of which no theory is known; None where no group of two cells is among them."""
    exponents: dict[tuple[str, str], list[tuple[float, float]]] = {}
    weights: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    sizes = np.zeros(len(usual_sizes()))
    for fit in fits:
        if len(fit.sweep.x) < 2:
            continue
        said = _said(fit)
        sizes += said.sizes
        for key, exponent in said.exponents.items():
            exponents.setdefault(key, []).append(exponent)
            weights.setdefault(key, []).append(said.weights[key])
    if not exponents:
        return None
    prior = usual_sizes()
    learned = prior + sizes
    return Siblings(
        exponents={key: tuple(_usual(values)) for key, values in exponents.items()},
        weights={key: _average(values) for key, values in weights.items()},
        sizes=np.logaddexp(prior, learned - np.logaddexp.reduce(learned)) - math.log(2.0),
    )


@dataclass(frozen=True)
class _Said:
    exponents: Mapping[tuple[str, str], tuple[float, float]]
    weights: Mapping[tuple[str, str], Mapping[str, float]]
    sizes: Array


def _said(fit: Fit) -> _Said:
    """What one group says by its own runs alone: exponents with standard errors, weights of its hypotheses, sizes."""
    sweep, optimum = fit.sweep, fit.measured.optimum
    left = fit.measured.covariance + LEFT**2 * np.eye(optimum.size)
    line = fit_line(sweep.x, Measured(optimum, left), draws=400, rng=np.random.default_rng(0))
    law, expected = fit.alone, fit.expected
    keys = [(k, s, (name, scale)) for k, name in enumerate(sweep.hyperparameters) for s, scale in enumerate(sweep.scales)]
    keys = [(k, s, key) for k, s, key in keys if not math.isnan(line.exponent[s, k])]
    weights: dict[tuple[str, str], dict[str, float]] = {}
    for k, s, key in keys:
        named = weights.setdefault(key, {})
        for one, weight in zip(expected[k][s], law.weights[k][s].tolist(), strict=True):
            named[one.name] = named.get(one.name, 0.0) + weight
    errors = (line.high - line.low) / 2 / REACH
    return _Said({key: (float(line.exponent[s, k]), float(errors[s, k])) for k, s, key in keys}, weights, law.sizes)


def _usual(values: Sequence[tuple[float, float]]) -> list[Hypothesis]:
    """The exponent that groups (exponent, standard error) have in common, for each spread of theirs, by how likely it is."""
    exponent, error = np.array(values).T
    at = np.linspace(-REACHED, REACHED, GRID)[:, None]
    odd = ODD * _normal(exponent, np.hypot(1.0, error))
    found = []
    for spread in SPREADS:
        likely = np.log((1 - ODD) * _normal(exponent - at, np.hypot(spread, error)) + odd).sum(axis=1)
        likely += np.log(_normal(at[:, 0], np.ones(1)))
        posterior = np.exp(likely - np.logaddexp.reduce(likely))
        mean = float(posterior @ at[:, 0])
        variance = float(posterior @ (at[:, 0] - mean) ** 2)
        found.append((mean, math.hypot(spread, math.sqrt(variance)), np.logaddexp.reduce(likely)))
    best = np.logaddexp.reduce([one[2] for one in found])
    source = f"{len(values)} other groups"
    return [Hypothesis("siblings", mean, spread, source, weight=math.exp(likely - best)) for mean, spread, likely in found]


def _normal(distance: Array, spread: Array) -> Array:
    """The density of a normal distribution at a distance from its middle."""
    return np.asarray(np.exp(-((distance / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi)), float)


def _average(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one.get(name, 0.0) for one in values])) for name in {name for one in values for name in one}}
