"""The axes of a fit: every scale and hyperparameter is fitted in its logarithm, and told in its own terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hptransfer.base.intervals import Array
from hptransfer.runs.point import Number
from hptransfer.runs.sources.names import unit

TOGETHER = 0.05  # of a scale's own range: what it leaves a line in other scales by, if it goes with them


def logarithm(name: str, value: Number) -> float:
    """ln of a value on the axis ``name``."""
    return value * unit(name) if unit(name) else math.log(value)


def logarithms(name: str, values: Array) -> Array:
    """`logarithm` of many values."""
    return values * unit(name) if unit(name) else np.log(values)


def from_ln(name: str, ln_value: float) -> float:
    """A value in the axis's own terms from its logarithm, less the last digits that the way there and back costs."""
    return float(f"{ln_value / unit(name) if unit(name) else math.exp(ln_value):.12g}")


def cell_words(scales: Mapping[str, Number]) -> str:
    """A cell in words: width 64, tokens 1e+06."""
    return ", ".join(f"{name} {value:.6g}" for name, value in scales.items())


def cell_order(words: str) -> tuple[float, ...]:
    """A key that sorts cells in words by their numbers rather than by their digits."""
    return tuple(float(word.rstrip(",")) for word in words.split() if word[0].isdigit())


@dataclass(frozen=True)
class Dial:
    """A scale (its place) that goes with earlier ones in all cells: ln of it is ``level + slopes . ln of those``, so that what it
    does is not known apart from what they do."""

    scale: int
    level: float
    slopes: dict[int, float]

    def is_kept(self, x: Array, x_target: Array) -> bool:
        """Whether a target is where cells ``x`` (cells, scales) say that it would be."""
        own = self.level + sum(slope * x_target[place] for place, slope in self.slopes.items())
        return bool(abs(x_target[self.scale] - own) <= TOGETHER * np.ptp(x[:, self.scale]))


def dials(x: Array) -> tuple[Dial, ...]:
    """The scales of ``x`` (cells, scales), ln, that go with earlier ones."""
    apart: list[int] = []
    found = []
    for scale in np.flatnonzero(np.ptp(x, axis=0) > 0).tolist():
        design = np.column_stack([np.ones(len(x)), x[:, apart]])
        level, *slopes = np.linalg.lstsq(design, x[:, scale], rcond=None)[0]
        left = x[:, scale] - design @ [level, *slopes]
        if np.ptp(left) > TOGETHER * np.ptp(x[:, scale]):
            apart.append(scale)
        else:
            found.append(Dial(scale, float(level), dict(zip(apart, map(float, slopes), strict=True))))
    return tuple(found)
