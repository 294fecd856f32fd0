"""From the runs at the target to a verdict: regret, and the compute multiplier over AdamW or why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from hptransfer.cli import number
from hptransfer.experiment import ValidationSettings
from hptransfer.store import RunRecord
from hptransfer.transfer.prediction import Interval, Prediction
from hptransfer.validate.arms import Arm, predicted_arm, probe_arm, seed_noise
from hptransfer.validate.regret import regret
from hptransfer.validate.result import Axis, Multiplier, Validation
from hptransfer.validate.speedup import Point, compute_multiplier

BASELINE = "adamw"


@dataclass(frozen=True)
class Entry:
    """One optimizer at the target: its prediction, the predicted runs and the probes around them."""

    prediction: Prediction
    arms: tuple[Arm, ...]

    @classmethod
    def of(cls, prediction: Prediction, settings: ValidationSettings) -> Entry:
        probes = tuple(probe_arm(prediction, factor) for factor in settings.probes)
        return cls(prediction, (predicted_arm(prediction, settings.seeds), *probes))

    def best(self, records: Mapping[str, RunRecord]) -> Arm:
        """The arm with the lowest loss on the first seed, which all arms share."""
        return min(self.arms, key=lambda arm: records[arm.specs[0].run_id].loss or math.inf)


def verdict(
    entry: Entry, baseline: Entry | None, rungs: Sequence[Arm], records: Mapping[str, RunRecord], registered_at: str | None = None
) -> Validation:
    """What the runs say of one prediction; ``registered_at``: when it came into the store (UTC, ISO 8601)."""
    prediction = entry.prediction
    noise = seed_noise(prediction, entry.arms, records)
    multipliers: dict[Axis, Multiplier] = {}
    refusal = None
    if prediction.optimizer != BASELINE:
        refusal = _refusal(entry, baseline, rungs, records)
        if refusal is None and baseline is not None:
            multipliers = _multipliers(entry, baseline, rungs, records)
    baseline_noise = seed_noise(baseline.prediction, baseline.arms, records) if baseline else 0.0
    return Validation(
        optimizer=prediction.optimizer,
        parametrization=prediction.parametrization,
        width=prediction.target.width,
        prediction=prediction.digest,
        preregistered=registered_at is not None
        and all(records[spec.run_id].finished_at >= registered_at for arm in entry.arms for spec in arm.specs),
        regret=_regret(entry, noise, records),
        compute_multiplier=multipliers,
        refusal=refusal,
        runs=tuple(arm.summary(records, noise) for arm in entry.arms),
        baseline_runs=tuple(arm.summary(records, baseline_noise) for arm in (*(baseline.arms if baseline else ()), *rungs)),
    )


def _regret(entry: Entry, noise: float, records: Mapping[str, RunRecord]) -> Interval | None:
    predicted, *probes = entry.arms
    own = records[predicted.specs[0].run_id].loss
    if own is None:
        return None
    found = [(arm.factor, math.log(loss / own)) for arm in probes if (loss := records[arm.specs[0].run_id].loss) is not None]
    # Both runs of a difference carry noise.
    errors = [noise * math.sqrt(2)] * len(found)
    return regret([factor for factor, _ in found], [difference for _, difference in found], errors)


def _refusal(entry: Entry, baseline: Entry | None, rungs: Sequence[Arm], records: Mapping[str, RunRecord]) -> str | None:
    """Why no compute multiplier may be claimed, in one sentence, or None."""
    if baseline is None:
        return f"No multiplier: there is no tuned {BASELINE} to compare with; search, transfer and validate it too."
    if not _same_run(entry.prediction, baseline.prediction):
        return f"No multiplier: the predictions of {BASELINE} and {entry.prediction.optimizer} are for different experiments."
    for prediction in (entry.prediction, baseline.prediction):
        if failed := [check.name for check in prediction.checks if not check.ok]:
            return f"No multiplier: the prediction of {prediction.optimizer} fails its checks ({', '.join(failed)})."
    own, other = entry.prediction.budget, baseline.prediction.budget
    if own != other:
        return f"No multiplier: runs searched per width differ, {BASELINE} {other}, {entry.prediction.optimizer} {own}."
    if not math.isfinite(entry.arms[0].mean(records)):
        return f"No multiplier: a predicted run of {entry.prediction.optimizer} diverged."
    best = baseline.best(records)
    if not all(math.isfinite(arm.mean(records)) for arm in (baseline.arms[0], best, *rungs)):
        return f"No multiplier: a run of {BASELINE} at this width diverged."
    noise = seed_noise(baseline.prediction, baseline.arms, records)
    gain = math.log(baseline.arms[0].mean(records) / best.mean(records))
    outermost = best.factor in (min(arm.factor for arm in baseline.arms), max(arm.factor for arm in baseline.arms))
    if best is not baseline.arms[0] and outermost and gain > 2 * math.sqrt(2) * noise:
        return (
            f"No multiplier: {BASELINE} is not tuned at this width; its best probe, LR x {number(best.factor)}, is the outermost."
        )
    return None


def _same_run(one: Prediction, other: Prediction) -> bool:
    """Whether two predictions are for runs that differ in nothing but the optimizer."""
    return one.spec.model_copy(update={"optimizer": other.spec.optimizer}) == other.spec


def _multipliers(entry: Entry, baseline: Entry, rungs: Sequence[Arm], records: Mapping[str, RunRecord]) -> dict[Axis, Multiplier]:
    """The challenger's predicted run against the baseline at its best configuration: predicted or probe."""
    arms = (baseline.best(records), *rungs)
    noise = seed_noise(baseline.prediction, (*baseline.arms, *rungs), records)
    own = seed_noise(entry.prediction, entry.arms, records)

    def point(arm: Arm, axis: Axis, relative: float) -> Point:
        loss = arm.mean(records)
        return Point(arm.cost(axis, records), loss, relative * loss / math.sqrt(len(arm.specs)))

    axes: tuple[Axis, ...] = get_args(Axis)
    return {axis: compute_multiplier([point(arm, axis, noise) for arm in arms], point(entry.arms[0], axis, own)) for axis in axes}
