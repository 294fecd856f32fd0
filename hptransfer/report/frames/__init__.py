"""Tidy frames, one per chart or table: results in, polars out. Losses in nats per token, LR and WD in base coordinates."""

import polars as pl

from hptransfer.report.frames.compute import loss_against_compute, multiplier_over_scale, multipliers
from hptransfer.report.frames.heldout import coordinate_checks, perturbations, regret, training_curves
from hptransfer.report.frames.runs import run_table
from hptransfer.report.frames.search import lr_basins, lr_curves, lr_fit, optimum_against_width, predictions, weight_decay_curves
from hptransfer.report.frames.searched import of_results
from hptransfer.validate.results import Results

__all__ = ["Frames", "all_frames", "run_table"]

Frames = dict[str, pl.DataFrame]
OF_SEARCHES = (predictions, lr_curves, lr_fit, lr_basins, weight_decay_curves, optimum_against_width)
OF_RESULTS = (coordinate_checks, loss_against_compute, training_curves, regret, perturbations, multipliers, multiplier_over_scale)


def all_frames(results: Results) -> Frames:
    """Every frame by its name."""
    searched = [*of_results(results)]
    of_searches = {make.__name__: make(searched) for make in OF_SEARCHES}
    return of_searches | {make.__name__: make(results) for make in OF_RESULTS}
