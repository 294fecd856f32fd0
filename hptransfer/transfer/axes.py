"""The axes of a fit: every scale and hyperparameter is fitted in its logarithm, and told in its own terms."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hptransfer.base.intervals import Array
from hptransfer.runs.point import Number

LOGARITHMS = {"log2_": math.log(2.0), "log10_": math.log(10.0), "ln_": 1.0}  # prefixes of names whose values are logarithms


def unit(name: str) -> float:
    """What one unit of an axis is in ln; 0 where its values are no logarithms."""
    return next((factor for prefix, factor in LOGARITHMS.items() if name.startswith(prefix)), 0.0)


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
