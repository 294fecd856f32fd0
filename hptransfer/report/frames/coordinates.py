"""The frame of the coordinate checks."""

from __future__ import annotations

import polars as pl

from hptransfer.report.frames.columns import arm_columns, tidy
from hptransfer.report.results import Results
from hptransfer.report.text import listing


def coordinate_checks(results: Results) -> pl.DataFrame:
    """The slope of every role and step of the coordinate checks beside the report, its range over seeds, and under which
    conditions it was measured, which need not be those of the experiment."""
    rows = [
        arm_columns(results.experiment.arm(name))
        | {
            "role": slope.role,
            "step": slope.step,
            "slope": slope.slope,
            "slope_low": min(slope.slopes_by_seed, default=None),
            "slope_high": max(slope.slopes_by_seed, default=None),
            "outcome": slope.outcome,
            "tolerance": check.tolerance,
            "passed": check.passed,
            "verdict": check.verdict,
            "lr": check.lr,
            "base_width": check.base_width,
            "widths": listing(list(check.widths)),
            "seeds": check.seeds,
            "corpus": check.corpus.corpus,
            "corpus_sha256": check.corpus.sha256,
        }
        for name, check in results.coordinate_checks.items()
        for slope in check.slopes
    ]
    return tidy(
        rows,
        {
            "role": pl.String,
            "step": pl.Int64,
            "slope": pl.Float64,
            "slope_low": pl.Float64,
            "slope_high": pl.Float64,
            "outcome": pl.String,
            "tolerance": pl.Float64,
            "passed": pl.Boolean,
            "verdict": pl.String,
            "lr": pl.Float64,
            "base_width": pl.Int64,
            "widths": pl.String,
            "seeds": pl.Int64,
            "corpus": pl.String,
            "corpus_sha256": pl.String,
        },
    )
