"""The verdict of a coordinate check: log-log slopes over widths of how far each role's activations moved (DESIGN section 9).

Under a right parametrization RMS(h_t - h_0) does not depend on width, so the slope is 0; arXiv 2203.03466 (appendix D.1) reads
the same off plots. No torch here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Activation = Literal["embedding", "hidden", "readout"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

TOLERANCE = 0.08
# At t = 1 only the readout moves, the outputs being zero at init; long after, runs of different widths have learned different
# things.
JUDGED_STEPS = range(2, 11)


@dataclass(frozen=True)
class Run:
    """One run: RMS(h_t - h_0) by activation and step t, as far as it went, and what ended it early where something did."""

    width: int
    seed: int
    rms: Mapping[tuple[Activation, int], float]
    diverged: str | None = None


@dataclass(frozen=True)
class RoleSlope:
    """One activation at one step over all widths.

    ``rms`` are medians over seeds, None at a width where no run got that far. ``slopes`` are those of the seeds one by one: runs
    of one seed see the same batches at every width, so that what is particular to a seed cancels within its slope.
    """

    activation: Activation
    step: int
    widths: tuple[int, ...]
    rms: tuple[float | None, ...]
    slopes: tuple[float, ...]

    @property
    def slope(self) -> float | None:
        """The median over seeds; None where nothing moved, or no seed got that far at every width."""
        return statistics.median(self.slopes) if self.slopes else None

    @property
    def is_judged(self) -> bool:
        return self.step in JUDGED_STEPS

    @property
    def fails(self) -> bool:
        return self.is_judged and (self.slope is None or abs(self.slope) > TOLERANCE)

    @property
    def outcome(self) -> str:
        """What the line says about the check, in words."""
        if not self.is_judged:
            return "not judged"
        return "fails" if self.fails else "passes"


@dataclass(frozen=True)
class CheckResult:
    """All lines, by activation and then step, and the runs that diverged, in words."""

    lines: tuple[RoleSlope, ...]
    diverged: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.diverged and not any(line.fails for line in self.lines)

    @property
    def verdict(self) -> str:
        """One line: the largest judged slope of a check that passed, or everything that a failed one fails by."""
        if self.passed:
            largest = max((line for line in self.lines if line.is_judged), key=lambda line: abs(line.slope or 0.0))
            return f"passed: the steepest slope judged is that of {_named(largest)}; tolerance {TOLERANCE}"
        reasons = [*self.diverged, *(_named(line) for line in self.lines if line.fails)]
        return f"failed: {'; '.join(reasons)}; tolerance {TOLERANCE}"


def check(runs: Sequence[Run], steps: Sequence[int]) -> CheckResult:
    """The check of runs at two widths or more, with the same seeds at each; any order of runs gives the same one."""
    lines = tuple(_line(runs, activation, step) for activation in ACTIVATIONS for step in sorted(set(steps)))
    ended = sorted((run for run in runs if run.diverged), key=lambda run: (run.width, run.seed))
    return CheckResult(lines, tuple(f"width {run.width}, seed {run.seed}: {run.diverged}" for run in ended))


def fit_slope(widths: Sequence[int], rms: Sequence[float]) -> float:
    """Ordinary least squares of log2 RMS on log2 width."""
    return statistics.linear_regression([math.log2(width) for width in widths], [math.log2(value) for value in rms]).slope


def _line(runs: Sequence[Run], activation: Activation, step: int) -> RoleSlope:
    widths = tuple(sorted({run.width for run in runs}))
    found = {(run.seed, run.width): rms for run in runs if (rms := run.rms.get((activation, step))) is not None}
    at_widths = [[rms for (_, width), rms in found.items() if width == wanted] for wanted in widths]
    seeds = sorted({seed for seed, _ in found})
    # A seed has a slope where it moved at every width.
    by_seed = [moved for seed in seeds if all(moved := [found.get((seed, width), 0.0) for width in widths])]
    return RoleSlope(
        activation,
        step,
        widths,
        rms=tuple(statistics.median(values) if values else None for values in at_widths),
        slopes=tuple(fit_slope(widths, moved) for moved in by_seed),
    )


def _named(line: RoleSlope) -> str:
    slope = "no slope" if line.slope is None else f"{line.slope:+.3f}"
    return f"{line.activation} at t = {line.step}, {slope}"
