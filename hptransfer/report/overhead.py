"""What an optimizer itself costs in the predicted runs at the held-out width, and how many tokens they took to a target loss."""

from __future__ import annotations

from collections.abc import Sequence

from hptransfer.base.frozen import Frozen
from hptransfer.report.results import Results, Series
from hptransfer.runs import RunRecord
from hptransfer.runs.query import tokens_to_loss
from hptransfer.validate.arms import pace, slowdown
from hptransfer.validate.result import BASELINE


class Overhead(Frozen):
    """Means over the seeds of the predicted run; ``seconds_per_token`` over all runs of the validation, as the multiplier on
    wall-clock has it. ``against_baseline``: over AdamW's; None where that is unknown, and where devices differ."""

    time_share: float  # of the optimizer in the training time
    flops_share: float  # of the optimizer in all FLOPs
    seconds_per_token: float | None
    against_baseline: float | None
    state_bytes: int
    state_bytes_per_parameter: float


class TokensToLoss(Frozen):
    """Training tokens to the experiment's target loss. ``tokens`` is None where some seed did not reach it in ``trained`` tokens.
    ``mid_schedule``: it was passed before the end; a run with a schedule of that length would have needed no more."""

    loss: float
    tokens: float | None
    trained: int
    mid_schedule: bool


def overhead(results: Results, series: Series) -> Overhead | None:
    """Of the predicted run of ``series``; None before one has finished."""
    runs = predicted_runs(results, series)
    time, own, flops = (_sum(runs, name) for name in ("training_wall_seconds", "flops_optimizer", "flops"))
    if not time or not flops:
        return None
    ours, theirs = pace(_held_out(results, series)), pace(_held_out(results, (BASELINE, series[1])))
    state = max(run.optimizer_state_bytes for run in runs)
    return Overhead(
        time_share=_sum(runs, "optimizer_wall_seconds") / time,
        flops_share=own / (flops + own),
        seconds_per_token=ours.seconds if ours else None,
        against_baseline=slowdown(ours, theirs),
        state_bytes=state,
        state_bytes_per_parameter=state / runs[0].spec.model.parameters(),
    )


def tokens_to_target(results: Results, series: Series) -> TokensToLoss | None:
    """None where the experiment has no target loss, or no predicted run has finished."""
    target, runs = results.experiment.target_loss, predicted_runs(results, series)
    if target is None or not runs:
        return None
    reached = [tokens for run in runs if (tokens := tokens_to_loss(run.curve, target)) is not None]
    validation = results.validations.get(series)
    seeds = len(validation.predicted.run_ids) if validation and validation.predicted else 1
    mean = sum(reached) / len(reached) if len(reached) == seeds else None  # a seed that diverged did not reach it
    trained = runs[0].spec.tokens
    return TokensToLoss(loss=target, tokens=mean, trained=trained, mid_schedule=mean is not None and mean < trained)


def predicted_runs(results: Results, series: Series) -> tuple[RunRecord, ...]:
    """The finished runs of the prediction, every seed that the validation counts."""
    prediction, validation = results.predictions.get(series), results.validations.get(series)
    ids: tuple[str, ...] = (prediction.spec.run_id,) if prediction else ()
    if validation and validation.predicted:
        ids = validation.predicted.run_ids
    return tuple(record for record in results.records if record.run_id in ids and record.state == "complete")


def _held_out(results: Results, series: Series) -> list[RunRecord]:
    """Every run of ``series`` that the validations count, or the predicted one before there are any."""
    ids = {run.run_id for run in predicted_runs(results, series)}
    for validation in results.validations.values():
        if validation.parametrization == series[1]:
            own = validation.runs if validation.optimizer == series[0] else ()
            arms = (*own, *validation.baseline_runs) if series[0] == BASELINE else own
            ids |= {run_id for arm in arms for run_id in arm.run_ids}
    return [record for record in results.records if record.run_id in ids]


def _sum(runs: Sequence[RunRecord], name: str) -> float:
    return float(sum(getattr(run, name) for run in runs))
