"""What a report refuses although a stage has run: a multiplier no longer fair, a search that allows no prediction. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hptransfer.base.errors import HptransferError
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import Parametrization
from hptransfer.runs import RunRecord
from hptransfer.transfer.command import select
from hptransfer.transfer.decision import predict
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.result import BASELINE, Validation
from hptransfer.validate.verdict import unequal_budgets

DRAWS = 50  # of a prediction that is made for its refusal only


def unfair(validation: Validation, prediction: Prediction, baseline: Prediction | None) -> str | None:
    """Why a multiplier that a validation found may not be shown, in one sentence: AdamW may have been searched further or
    predicted anew since. ``baseline`` is AdamW's prediction as it is now, None where it is not at hand."""
    if validation.speedup is None or baseline is None:
        return None
    if unequal := unequal_budgets(prediction, baseline):
        return unequal
    tested = {run_id for run in validation.baseline_runs for run_id in run.run_ids}
    if tested and baseline.spec.run_id not in tested:
        compared = f"{BASELINE} has been predicted anew since {prediction.optimizer} was compared with it"
        return f"No speedup is claimed: {compared}; validate it again."
    return None


def no_prediction(
    experiment: Experiment, records: Sequence[RunRecord], recipe: str, parametrization: Parametrization
) -> str | None:
    """Why a complete search allows no prediction, in one sentence; None where it does, and while it is not complete."""
    searched, _ = select(records, experiment, recipe, parametrization)
    finished = Counter(run.spec.model.width for run in searched)
    if any(finished[width] < experiment.search.trials for width in experiment.widths):
        return None
    spec, width = searched[0].spec, experiment.target_width
    target = experiment.run_spec(spec.data, spec.optimizer, width=width, parametrization=parametrization)
    try:
        predict(searched, target, draws=DRAWS)
    except HptransferError as error:
        return f"No prediction: {error}."
    return None
