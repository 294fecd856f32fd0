"""Frames of compute: final losses against it, and how much of it an optimizer saves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from hptransfer.experiment.arm import Arm
from hptransfer.experiment.membership import best_runs
from hptransfer.report.frames.tidy import begin, tidy
from hptransfer.runs import Record
from hptransfer.validate.result import Multiplier
from hptransfer.validate.results import Results, mean
from hptransfer.validate.verdict import annealed

MULTIPLIER = "value low high bracketed bound extrapolated p_value"


def loss_against_compute(results: Results) -> pl.DataFrame:
    """Final losses with what their training cost. ``kind``: search, the best run of a searched cell; predicted, at the held-out
    width; horizon, the baseline's ladder there; chosen, its configuration that won over the prediction and that the ladder
    then starts from. ``annealed``: whether the LR was brought to 0. FLOPs are those of one run; the loss is the mean over
    ``seeds``. A diverged run has no place here. A cost is null where it is unknown. ``compute`` counts the optimizer's FLOPs
    where any of the runs say them."""
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    for arm in results.arms:
        for best in best_runs(results.experiment, results.searched(arm.name)):
            rows.append(_point(arm, "search", [best], best.loss))
        prediction, validation = results.predictions.get(arm.name), results.validations.get(arm.name)
        if validation is None:
            if prediction and (told := results.by_id.get(prediction.run.run_id)) and told.loss is not None:
                rows.append(_point(arm, "predicted", [told], told.loss))
            continue
        own = [(arm, run, "predicted") for run in validation.runs if run.kind == "predicted"]
        baseline = results.experiment.arm(validation.baseline or arm.name)
        ladder = [
            (baseline, run, "horizon" if run.kind == "horizon" else "chosen")
            for run in validation.ladder
            if run.kind == "horizon" or run == validation.chosen
        ]
        for whose, run, kind in (*own, *ladder):
            made = [results.by_id[run_id] for run_id in run.run_ids if run_id in results.by_id]
            if run.loss is not None and made and run.run_ids not in seen:
                seen.add(run.run_ids)
                rows.append(_point(whose, kind, made, run.loss, run.standard_error))
    costs = "flops flops_optimizer compute"
    found = tidy(rows, f"kind width parameters tokens {costs} loss standard_error seeds annealed")
    return found if found["flops_optimizer"].is_not_null().any() else found.with_columns(compute=pl.col("flops"))


def _point(arm: Arm, kind: str, records: Sequence[Record], loss: float | None, error: float | None = None) -> dict[str, Any]:
    job = records[0].job
    flops, own = (mean(getattr(record.outcome, name) for record in records) for name in ("flops", "flops_optimizer"))
    return begin(arm) | {
        "kind": kind,
        "width": job.point["width"],
        "parameters": job.parameters,
        "tokens": job.point.scales.get("tokens"),
        "flops": flops,
        "flops_optimizer": own,
        "compute": None if flops is None or own is None else flops + own,
        "loss": loss,
        "standard_error": error,
        "seeds": len(records),
        "annealed": annealed(job.point),
    }


def multipliers(results: Results) -> pl.DataFrame:
    """Compute multipliers over the baseline at the held-out width. ``method``: ladder, from its runs of several horizons, on
    every axis; law, from a power law through them, on FLOPs; within_run, from the curve of the run itself, on tokens."""
    rows = []
    for name, validation in results.validations.items():
        if validation.speedup is None:
            continue
        found: list[tuple[str, str, Multiplier | None]] = [
            *((axis, "ladder", value) for axis, value in validation.speedup.compute_multiplier.items()),
            ("flops", "law", validation.speedup.law),
            ("tokens", "within_run", validation.speedup.within_run),
        ]
        own = begin(results.experiment.arm(name))
        rows += [own | {"axis": axis, "method": method} | one.model_dump() for axis, method, one in found if one is not None]
    return tidy(rows, f"axis method {MULTIPLIER}")


def multiplier_over_scale(results: Results) -> pl.DataFrame:
    """Compute multipliers on FLOPs at every model size. ``method``: sizes, from the baseline's losses over sizes, piecewise; law,
    from a power law through them; ladder, from the baseline's horizons at the held-out width, and at the searched ones where
    these were run. ``trend`` is the exponent of the multiplier in compute, the same in all rows of an arm."""
    rows: list[dict[str, Any]] = []
    for name, validation in results.validations.items():
        if (speedup := validation.speedup) is None:
            continue
        own = begin(results.experiment.arm(name))
        if trend := speedup.trend:
            own |= {"trend": trend.value, "trend_low": trend.low, "trend_high": trend.high}
        for size in speedup.sizes:
            numbers = size.model_dump(include={"width", "parameters", "flops", "baseline_loss", "loss"})
            ladder = speedup.compute_multiplier.get("flops") if size.width == validation.width else None
            for method, found in (("sizes", size.multiplier), ("law", size.law), ("ladder", ladder)):
                if found is not None:
                    rows.append(own | {"method": method} | numbers | found.model_dump())
        for one in validation.survival.scales if validation.survival else ():
            if not one.is_held_out:
                where = {"method": "ladder", "width": one.width, "flops": one.flops}
                rows.append(own | where | one.multiplier.model_dump())
    return tidy(rows, f"method width parameters flops baseline_loss loss {MULTIPLIER} trend trend_low trend_high")
