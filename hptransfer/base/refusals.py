"""What is refused, and why, as values: a code with its numbers. Each is worded here and nowhere else."""

from __future__ import annotations

from typing import Any

from hptransfer.base.errors import CheckFailed
from hptransfer.base.frozen import Frozen

WORDS = {
    # No prediction.
    "precondition": "{name}: no prediction, {check}: {detail} (--force goes on all the same)",
    "lower_edge": "{name} at {cell}: the best {hyperparameter} is at the lower edge of its sweep ({end:.4g}) or below; add runs "
    "at lower {hyperparameter}",
    "upper_edge": "{name} at {cell}: the best {hyperparameter} is at the upper edge of its sweep ({end:.4g}) or above; add runs "
    "at higher {hyperparameter}",
    "divergence_bounds": "{name} at {cell}: the best {hyperparameter} is bounded by divergence at {ceiling:.4g}, far above "
    "{end:.4g}, the highest that finished; add runs in between",
    # An optimum that lies where runs cease to be stable.
    "bounded": "{cell}: the best {hyperparameter} is bounded by divergence at {ceiling:.4g}, next to {end:.4g}, the highest that "
    "finished",
    "nothing_to_fit": "{name}: nothing to fit; {detail}",
    "no_fit": "{name}: no fit can take these numbers ({why}); leave out what is far from the rest",
    "too_few_runs": "{name} has {complete} complete runs at {cell} and needs {needed}",
    "too_few_optima": "{name}: {optima} optima are too few to say how far they scatter; three is the least",
    # A hyperparameter that is not fitted.
    "not_varied": "{hyperparameter} was not varied, or is 0 in some runs",
    "no_dependence": "the loss does not depend on it beyond the noise",
    "below_range": "its optimum is below the swept range, which begins at {end:.4g}",
    "above_range": "its optimum is above the swept range, which ends at {end:.4g}",
    "no_minimum": "the loss shows no significant minimum in it",
    "frozen": "searched at the smallest {scale}, then kept",
    "asked": "by the rule {rule}, as asked",
    # No verdict on survival.
    "few_scales": "the baseline's horizons bracket the loss at {bracketed} scales, and a slope needs {needed}",
    "wide_slope": "the slope is between {low:.3f} and {high:.3f} (90 %), neither within {flat:g} of 0 nor beside it",
    # No loss foretold.
    "few_sizes": "a law of {sizes} searched sizes says nothing of another; it needs {needed}",
    "few_horizons": "a law of sizes and horizons needs {needed} of each; {sizes} and {horizons} were searched",
    "other_scale": "cells that differ in {scale} beside their size are on no law",
    "off_the_cells": "no law of the searched cells leads to the target, whose {scale} is another",
    "not_said": "the runs do not say their {what}",
    "not_falling": "the searched losses do not fall with compute",
    # No speedup.
    "no_baseline": "No speedup is claimed: there is no tuned {baseline} to compare with; search, transfer and validate it too.",
    "different_runs": "No speedup is claimed: the predictions of {baseline} and {name} are for different runs.",
    "mid_schedule": "No speedup is claimed: runs of {early} end in mid-schedule (constant), those of {late} annealed.",
    "checks_failed": "No speedup is claimed: the prediction of {name} fails its checks ({checks}).",
    "unequal_budgets": "No speedup is claimed: the searches had unequal budgets, {budgets}.",
    "failed": "No speedup is claimed: the predicted run {run} failed; mend it, and validate with --retry-failed.",
    "diverged": "No speedup is claimed: a predicted run of {name} diverged.",
    "baseline_diverged": "No speedup is claimed: a run of {baseline} at this width diverged.",
    "same_seeds": "No speedup is claimed: the {runs} runs of {name}'s predicted configuration have the very same loss, so that "
    "nothing says how far losses scatter; let the command take {{seed}}.",
    "baseline_not_tuned": "No speedup is claimed: {baseline} is not tuned at this width; "
    "its best probe, {probe}, is the outermost.",
    "several_baselines": "No speedup is claimed: {arms} are all of {baseline}, and which one is the baseline is not said.",
    "baseline_not_compared": "No speedup is claimed: {baseline} is not among the arms of this experiment; "
    "name another with baseline.",
    "alone": "{name} is alone in this experiment: there is no other arm to compare it with.",
}
# The stage that helps, and its options.
REMEDIES = {
    "precondition": "transfer --force",
    "lower_edge": "search --set spaces.{space}.{hyperparameter}.low=...",
    "upper_edge": "search --set spaces.{space}.{hyperparameter}.high=...",
    "divergence_bounds": "search --trials N",
    "nothing_to_fit": "search --trials N",
    "too_few_runs": "search --trials N",
}


class Refusal(Frozen):
    """Why something is not said or not done. ``values`` are what the words of its ``code`` need."""

    code: str
    values: dict[str, Any] = {}

    @classmethod
    def of(cls, code: str, **values: Any) -> Refusal:
        """The refusal of that code."""
        return cls(code=code, values=values)

    @property
    def text(self) -> str:
        """In words."""
        return WORDS[self.code].format(**self.values)

    def remedy(self, space: str) -> str | None:
        """The stage that helps an arm whose ranges are those of ``space``, with its options; None where none is known to."""
        found = REMEDIES.get(self.code)
        return found and found.format(**{"hyperparameter": "", **self.values, "space": space})


class Refused(CheckFailed):
    """The input was fine, and the runs do not allow the answer, such as an optimum on the edge of its sweep.

    The message says why and what to do. ``refusal`` is the same as a value: a ``code`` with its ``values``, and ``text``. Exit
    code 1.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal

    def __reduce__(self) -> tuple[type[Refused], tuple[Refusal]]:
        return type(self), (self.refusal,)
