"""Which records belong to an experiment."""

from __future__ import annotations

from collections.abc import Iterable

from hptransfer.experiment import Experiment
from hptransfer.spec import RunSpec
from hptransfer.store.record import RunRecord


def runs_of(records: Iterable[RunRecord], experiment: Experiment) -> tuple[list[RunRecord], int]:
    """The runs that ``experiment`` makes, and how many were left out because they saw another version of its corpus.

    A run belongs when the experiment, given the run's optimizer and seeds, makes the very same one; at the held-out width, at
    any horizon. Of several versions of the corpus that of the newest run is taken.
    """
    # A run under another name than its spec's was trained by other numerics: not the same run.
    ours = [record for record in records if makes(experiment, record.spec) and record.run_id == record.spec.run_id]
    newest = max(ours, key=lambda record: (record.finished_at, record.run_id), default=None)
    same = [record for record in ours if newest and record.spec.data.sha256 == newest.spec.data.sha256]
    return same, len(ours) - len(same)


def of_series(spec: RunSpec, recipe: str, parametrization: str) -> bool:
    """Whether a run counts for a recipe under a parametrization: at the base shape muP and sp are the same run."""
    at_base = (spec.model.width, spec.model.depth) == (spec.base.width, spec.base.depth)
    same = spec.parametrization == parametrization or (at_base and "spectral" not in (spec.parametrization, parametrization))
    return spec.optimizer.recipe == recipe and same


def makes(experiment: Experiment, spec: RunSpec) -> bool:
    """Whether the experiment, given the run's optimizer and seeds, makes that run; at its target width, at any horizon."""
    at_target = spec.model.width == experiment.target_width
    if not (at_target or spec.model.width in experiment.widths) or not experiment.data.names(spec.data):
        return False
    ours = experiment.run_spec(spec.data, spec.optimizer, width=spec.model.width, parametrization=spec.parametrization)
    free = {"init_seed": spec.init_seed, "data_seed": spec.data_seed} | ({"horizon": spec.horizon} if at_target else {})
    return ours.model_copy(update=free) == spec
