"""What is run at the held-out width, and what the records say of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hptransfer.cli import number
from hptransfer.spec import RunSpec
from hptransfer.store import RunRecord
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.result import Axis, TargetRun


@dataclass(frozen=True)
class Arm:
    """One configuration at the target and its seeds. ``factor``: LR over the predicted; ``horizon``: tokens over the target's."""

    purpose: str
    factor: float
    horizon: float
    specs: tuple[RunSpec, ...]

    def losses(self, records: Mapping[str, RunRecord]) -> list[float] | None:
        """Final losses by seed; None when a seed did not complete."""
        losses = [records[spec.run_id].loss for spec in self.specs]
        return None if None in losses else [loss for loss in losses if loss is not None]

    def mean(self, records: Mapping[str, RunRecord]) -> float:
        """Mean final loss; infinite when a seed diverged."""
        losses = self.losses(records)
        return sum(losses) / len(losses) if losses else math.inf

    def cost(self, axis: Axis, records: Mapping[str, RunRecord]) -> float:
        """Mean cost of one run on an axis: tokens, FLOPs, or seconds of training without evaluation."""
        found = [records[spec.run_id] for spec in self.specs]
        total = 0.0
        for record in found:
            match axis:
                case "tokens":
                    total += record.tokens
                case "flops":
                    total += record.flops
                case "flops_with_optimizer":
                    total += record.flops + record.flops_optimizer
                case "wall_clock":
                    total += record.training_wall_seconds
        return total / len(found)

    def summary(self, records: Mapping[str, RunRecord], noise: float) -> TargetRun:
        """The arm as a report shows it; ``noise``: relative standard deviation over seeds."""
        losses = self.losses(records)
        spec = self.specs[0]
        mean = sum(losses) / len(losses) if losses else None
        return TargetRun(
            purpose=self.purpose,
            lr=spec.optimizer.lr,
            weight_decay=spec.optimizer.weight_decay,
            tokens=spec.tokens,
            loss=mean,
            standard_error=noise * mean / math.sqrt(len(self.specs)) if mean is not None else None,
            run_ids=tuple(spec.run_id for spec in self.specs),
        )


def predicted_arm(prediction: Prediction, seeds: int) -> Arm:
    """The predicted run, with replicates that change both seeds."""
    return Arm("predicted", 1.0, 1.0, _replicates(prediction.spec, seeds))


def probe_arm(prediction: Prediction, factor: float) -> Arm:
    """The prediction with another LR, on the first seed of the predicted run: common random numbers."""
    spec = prediction.spec.at(**{"optimizer.lr": prediction.spec.optimizer.lr * factor})
    return Arm(f"probe x{number(factor)}", factor, 1.0, (spec,))


def ladder_arm(best: Arm, horizon: float, seeds: int) -> Arm:
    """A longer run of the baseline's best configuration at the target, with its own schedule."""
    spec = best.specs[0]
    longer = spec.at(horizon={"policy": "tokens", "tokens": round(spec.tokens * horizon)})
    return Arm(f"horizon x{number(horizon)}", best.factor, horizon, _replicates(longer, seeds))


def seed_noise(prediction: Prediction, arms: Sequence[Arm], records: Mapping[str, RunRecord]) -> float:
    """Relative standard deviation of the loss over seeds at the target: the larger of what the search and the arms saw.

    A handful of seeds can agree by chance; the larger one keeps an interval from being narrower than either evidence.
    """
    squares, freedom = 0.0, 0
    for arm in arms:
        losses = arm.losses(records)
        if losses and len(losses) > 1:
            mean = sum(losses) / len(losses)
            squares += sum((loss / mean - 1) ** 2 for loss in losses)
            freedom += len(losses) - 1
    return max(prediction.noise, math.sqrt(squares / freedom) if freedom else 0.0)


def _replicates(spec: RunSpec, seeds: int) -> tuple[RunSpec, ...]:
    return tuple(spec.at(init_seed=spec.init_seed + i, data_seed=spec.data_seed + i) for i in range(seeds))
