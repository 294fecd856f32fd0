"""The law of learning-rate annealing, L(s) = L0 + A S1^-alpha - C S2 (Tissue, Wang and Wang, arXiv 2408.11029)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from hptransfer.base.intervals import Array
from hptransfer.laws.curves import Curve
from hptransfer.laws.schedules import ScheduleLaw

EXPONENTS = (0.2, 0.35, 0.5, 0.7, 0.9)  # that fits start from
LEAST = 1e-3  # that an amplitude starts with, of the loss


class Annealing(ScheduleLaw):
    """S1 is the area under the learning rate, S2 that of the momentum of its falls. ``momentum`` is lambda, the decay of the
    latter per step. It is not fitted: of .9 to .9998 the usual .999 fits the curves of thu-yao-01-luo/MultiPowerLaw best at
    each of three sizes (dev/LOG.md). A warm-up counts as steps at the peak."""

    name = "annealing"
    summary = "L(s) = L0 + A S1^-alpha - C S2, of curves that differ in their schedule"
    coefficients = ("ln L0", "ln A", "alpha", "ln C")

    momentum: float = Field(0.999, gt=0, lt=1, description="decay of the momentum of the falls, per step")

    def features(self, curves: Sequence[Curve]) -> Array:
        """ln S1 and S2 (2, rows)."""
        areas = np.concatenate([one.area_at_peak for one in curves])
        return np.stack([np.log(areas), np.concatenate([one.momentum_area(self.momentum) for one in curves])])

    def ln_loss(self, theta: Array, features: Array) -> Array:
        """See `ScheduleLaw.ln_loss`."""
        ln_floor, ln_a, alpha, ln_c = theta.T[:, :, None]
        ln_area, momentum_area = features
        return np.asarray(np.log(np.exp(ln_floor) + np.exp(ln_a - alpha * ln_area) - np.exp(ln_c) * momentum_area))

    def starts(self, features: Array, loss: Array) -> Array:
        """At each exponent what is linear, by least squares."""
        found = []
        for alpha in EXPONENTS:
            terms = np.stack([np.ones_like(loss), np.exp(-alpha * features[0]), -features[1]], axis=1)
            floor, a, c = np.maximum(np.linalg.lstsq(terms, loss, rcond=None)[0], LEAST)
            found.append([np.log(floor), np.log(a), alpha, np.log(c)])
        return np.array(found)

    def named(self, theta: Array) -> dict[str, Array]:
        """In the paper's names; S1 and S2 in units of the learning rate times steps."""
        return {"L0": np.exp(theta[:, 0]), "A": np.exp(theta[:, 1]), "alpha": theta[:, 2], "C": np.exp(theta[:, 3])}
