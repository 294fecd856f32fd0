"""Which records belong to an experiment, and what a record's curve says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hptransfer.experiment import Experiment
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.runs.record import CurvePoint, RunRecord


def runs_of(records: Iterable[RunRecord], experiment: Experiment) -> tuple[list[RunRecord], int]:
    """The runs that ``experiment`` makes, and how many were left out because they saw another version of its corpus.

    A run belongs when the experiment, given the run's optimizer and seeds, makes the very same one; at the held-out width, at
    any horizon, and with the weight decay that the smallest width had. Of several versions of the corpus that of the newest run
    is taken.
    """
    # A run under another name than its spec's was trained by other numerics: not the same run.
    made = (record for record in records if makes(experiment, record.spec, any_decay_rule=True))
    ours = [record for record in made if record.run_id == record.spec.run_id]
    newest = max(ours, key=lambda record: (record.finished_at, record.run_id), default=None)
    same = [record for record in ours if newest and record.spec.data.sha256 == newest.spec.data.sha256]
    return same, len(ours) - len(same)


def of_series(spec: RunSpec, recipe: str, parametrization: str) -> bool:
    """Whether a run counts for a recipe under a parametrization: at the base shape muP and sp are the same run."""
    at_base = (spec.model.width, spec.model.depth) == (spec.base.width, spec.base.depth)
    same = spec.parametrization == parametrization or (at_base and "spectral" not in (spec.parametrization, parametrization))
    return spec.optimizer.recipe == recipe and same


def makes(experiment: Experiment, spec: RunSpec, *, any_decay_rule: bool = False) -> bool:
    """Whether the experiment, given the run's optimizer and seeds, makes that run; at its target width, at any horizon and, with
    ``any_decay_rule``, under any rule of weight decay."""
    at_target = spec.model.width == experiment.target_width
    if not (at_target or spec.model.width in experiment.widths) or not experiment.data.names(spec.data):
        return False
    ours = experiment.run_spec(spec.data, spec.optimizer, width=spec.model.width, parametrization=spec.parametrization)
    free = ["init_seed", "data_seed"]
    if at_target:
        free += ["horizon", "weight_decay_rule"] if any_decay_rule else ["horizon"]
    return ours.model_copy(update={name: getattr(spec, name) for name in free}) == spec


def cost_to_loss(curve: Iterable[tuple[float, float]], target: float) -> float | None:
    """Cost at which a training curve of (cost, loss) was first at or below ``target``; None where it never was.

    Interpolated linearly between the two points around it; where the first point is below already, it is that point's cost.
    """
    before: tuple[float, float] | None = None
    for cost, loss in curve:
        if loss <= target:
            if before is None:
                return float(cost)
            start, higher = before
            return start + (higher - target) / (higher - loss) * (cost - start)
        before = cost, loss
    return None


def tokens_to_loss(curve: Sequence[CurvePoint], target: float) -> float | None:
    """Training tokens until the validation loss was first at or below ``target``, nats per token; None where it never was.

    Between evaluations as in `cost_to_loss`. A run with another horizon, annealed earlier, may need fewer.
    """
    return cost_to_loss(((point.tokens, point.val) for point in curve if point.val is not None), target)
