"""What an optimizer itself costs in the predicted runs at the held-out width, and how many tokens they took to a target loss."""

from __future__ import annotations

from hptransfer.base.frozen import Frozen
from hptransfer.runs import Record
from hptransfer.runs.curves import tokens_to_loss
from hptransfer.validate.configurations import pace, slowdown
from hptransfer.validate.results import Results, mean


class Overhead(Frozen):
    """Means over the seeds of the predicted run; ``seconds_per_token`` over all runs of the validation, as the multiplier on
    wall-clock has it. ``against_baseline``: over the baseline's; None where that is unknown, and where devices differ."""

    time_share: float  # of the optimizer in the training time
    flops_share: float  # of the optimizer in all FLOPs
    seconds_per_token: float | None
    against_baseline: float | None
    state_bytes: int | None
    state_bytes_per_parameter: float | None


class TokensToLoss(Frozen):
    """Training tokens to the experiment's target loss. ``tokens`` is None where some seed did not reach it in ``trained`` tokens.
    ``mid_schedule``: it was passed before the end; a run with a schedule of that length would have needed no more."""

    loss: float
    tokens: float | None
    trained: int
    mid_schedule: bool


def overhead(results: Results, arm: str) -> Overhead | None:
    """Of the predicted run of ``arm``; None before one has finished, and where its costs are unknown."""
    runs = predicted_runs(results, arm)
    names = ("training_wall_seconds", "optimizer_wall_seconds", "flops", "flops_optimizer")
    time, own_time, flops, own = (mean(getattr(run.outcome, name) for run in runs) for name in names)
    if not time or not flops or own_time is None or own is None:
        return None
    baseline = results.baseline(arm)
    ours, theirs = pace(_held_out(results, arm)), pace(_held_out(results, baseline)) if baseline else None
    state = max((held for run in runs if (held := run.outcome.optimizer_state_bytes) is not None), default=None)
    parameters = runs[0].job.parameters
    return Overhead(
        time_share=own_time / time,
        flops_share=own / (flops + own),
        seconds_per_token=ours.seconds if ours else None,
        against_baseline=slowdown(ours, theirs),
        state_bytes=state,
        state_bytes_per_parameter=state / parameters if state is not None and parameters else None,
    )


def tokens_to_target(results: Results, arm: str) -> TokensToLoss | None:
    """None where the experiment has no target loss, or no predicted run has finished."""
    target, runs = results.experiment.target_loss, predicted_runs(results, arm)
    if target is None or not runs:
        return None
    reached = [tokens for run in runs if (tokens := tokens_to_loss(run.outcome.curve, target)) is not None]
    validation = results.validations.get(arm)
    seeds = len(validation.predicted.run_ids) if validation and validation.predicted else 1
    tokens = mean(reached) if len(reached) == seeds else None  # a seed that diverged did not reach it
    trained = int(runs[0].point.scales.get("tokens", 0))
    return TokensToLoss(loss=target, tokens=tokens, trained=trained, mid_schedule=tokens is not None and tokens < trained)


def predicted_runs(results: Results, arm: str) -> tuple[Record, ...]:
    """The finished runs of the prediction, every seed that the validation counts."""
    prediction, validation = results.predictions.get(arm), results.validations.get(arm)
    ids: tuple[str, ...] = (prediction.run.run_id,) if prediction else ()
    if validation and validation.predicted:
        ids = validation.predicted.run_ids
    made = (results.by_id[run_id] for run_id in ids if run_id in results.by_id)
    return tuple(record for record in made if record.state == "complete")


def _held_out(results: Results, arm: str) -> list[Record]:
    """Every run of ``arm`` that the validations count, or the predicted one before there are any."""
    ids = {run.run_id for run in predicted_runs(results, arm)}
    for name, validation in results.validations.items():
        own = validation.runs if name == arm else ()
        lent = validation.baseline_runs if validation.baseline == arm else ()
        ids |= {run_id for run in (*own, *lent) for run_id in run.run_ids}
    return [results.by_id[run_id] for run_id in sorted(ids) if run_id in results.by_id]
