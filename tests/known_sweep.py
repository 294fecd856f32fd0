"""A sweep of known optimum, as the tests of trackers write it into each; and what a reader must find in it."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hptransfer.api import predict

WIDTHS = (128, 256)
LRS = tuple(0.008 * 2.0**octave for octave in range(-2, 3))
RUNS = tuple((width, lr) for width in WIDTHS for lr in LRS)


def optimum(width: int) -> float:
    return 0.01 * (width / 128) ** -0.5


def loss(width: int, lr: float) -> float:
    """A bowl in the logarithm of the LR."""
    return 3 + 0.1 * math.log2(lr / optimum(width)) ** 2


def assert_found(frame: pl.DataFrame, width: str, lr: str, value: str, exactly: float = 1e-9) -> None:
    """That the rows are the sweep's runs, each once, with the optimum where it lies."""
    assert len(frame) == len(RUNS)
    for (own,), rows in frame.group_by(width):
        octaves = np.log2(rows[lr].cast(pl.Float64).to_numpy())
        curve = np.polyfit(octaves, rows[value].cast(pl.Float64).to_numpy(), 2)
        assert math.isclose(-curve[1] / curve[0] / 2, math.log2(optimum(int(own))), abs_tol=exactly)


def assert_fitted(place: object, where: str | None = None) -> None:
    """That the intake and the fit, with the columns found by themselves, have the optimum of every width where it lies."""
    found = predict(str(place), where=where)
    best = {int(one.scales[width]): one.best[lr].value for one in found.optima for width, lr in [(*one.scales, *one.best)]}
    assert best == {width: pytest.approx(optimum(width), rel=0.02) for width in WIDTHS}


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """All files below a folder, with what changes when one is touched."""
    return {str(file.relative_to(folder)): (file.lstat().st_size, file.lstat().st_mtime_ns) for file in sorted(folder.rglob("*"))}
