"""Tidy frames, one per chart or table: results in, polars out. Losses in nats per token, LR and WD in base coordinates."""

from collections.abc import Callable

import polars as pl

from hptransfer.report.frames.compute import loss_against_compute, multiplier_over_scale, multipliers
from hptransfer.report.frames.coordinates import coordinate_checks
from hptransfer.report.frames.heldout import perturbations, regret, training_curves
from hptransfer.report.frames.runs import run_table
from hptransfer.report.frames.search import lr_basins, lr_curves, lr_fit, predictions, weight_decay_curves
from hptransfer.report.frames.width import optimum_against_width
from hptransfer.report.results import Results

__all__ = ["FRAMES", "run_table"]

FRAMES: dict[str, Callable[[Results], pl.DataFrame]] = {
    "predictions": predictions,
    "lr_curves": lr_curves,
    "lr_fit": lr_fit,
    "lr_basins": lr_basins,
    "weight_decay_curves": weight_decay_curves,
    "optimum_against_width": optimum_against_width,
    "coordinate_checks": coordinate_checks,
    "loss_against_compute": loss_against_compute,
    "training_curves": training_curves,
    "regret": regret,
    "perturbations": perturbations,
    "multipliers": multipliers,
    "multiplier_over_scale": multiplier_over_scale,
}
