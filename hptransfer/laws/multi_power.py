"""The Multi-Power law of schedules (Luo et al., arXiv 2503.12811):
L(s) = L0 + A S1^-alpha - B sum_k (lr_(k-1) - lr_k) G(lr_k^-gamma S_k), with G(x) = 1 - (C x + 1)^-beta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.sparse import csr_matrix

from hptransfer.base.intervals import Array
from hptransfer.laws.schedules import Curve, ScheduleLaw

# Shapes that fits start from, around those that the authors print for three sizes.
ALPHAS, CS, BETAS, GAMMAS = (0.35, 0.5, 0.7), (1.0, 3.0), (0.4, 0.7), (0.4, 0.65)
LEAST = 1e-3  # that an amplitude starts with
NO_LR = 1e-12  # an LR of 0 has no power: the gain of a fall to it is all there at once


@dataclass(frozen=True)
class Falls:
    """ln S1 (rows,), and each pair of a logged step with a fall before it: ln LR after the fall, ln of the area since (pairs,),
    and by ``falls`` (rows, pairs) how much it fell."""

    ln_area: Array
    ln_lr: Array
    ln_since: Array
    falls: csr_matrix

    def gain(self, ln_c: Array, ln_beta: Array, gamma: Array) -> Array:
        """The sum over falls (fits, rows), of shapes (fits, 1)."""
        g = -np.expm1(-np.exp(ln_beta) * np.logaddexp(0.0, ln_c - gamma * self.ln_lr + self.ln_since))
        return np.asarray((self.falls @ g.T).T)


class MultiPower(ScheduleLaw):
    """S_k is the area under the learning rate since the k-th fall: what a fall gives grows with it, towards a limit, and the
    sooner the lower the learning rate is. A rise takes as much away: that of a warm-up, which is taken to be a line from 0 to the
    first logged LR, is in L0 + A S1^-alpha otherwise. Falls of a run are taken together in at most 64 pieces."""

    name = "multi-power"
    summary = "L(s) = L0 + A S1^-alpha - B sum of what each fall of the LR has given, of curves that differ in their schedule"
    coefficients = ("ln L0", "ln A", "alpha", "ln B", "ln C", "ln beta", "gamma")

    def features(self, curves: Sequence[Curve]) -> Falls:
        """See `Falls`."""
        rows, falls, lrs, areas, first = [], [], [], [], 0
        for one in curves:
            fall, lr, since = one.drops()
            row, piece = np.nonzero(since > 0)
            rows.append(row + first)
            falls.append(fall[piece])
            lrs.append(lr[piece])
            areas.append(since[row, piece])
            first += len(one.step)
        row, fall = np.concatenate(rows), np.concatenate(falls)
        return Falls(
            np.log(np.concatenate([one.area_after_warmup for one in curves])),
            np.log(np.maximum(np.concatenate(lrs), NO_LR)),
            np.log(np.concatenate(areas)),
            csr_matrix((fall, (row, np.arange(len(row)))), shape=(first, len(row))),
        )

    def ln_loss(self, theta: Array, features: Falls) -> Array:
        """See `ScheduleLaw.ln_loss`."""
        ln_floor, ln_a, alpha, ln_b, ln_c, ln_beta, gamma = theta.T[:, :, None]
        power = np.exp(ln_floor) + np.exp(ln_a - alpha * features.ln_area)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.log(power - np.exp(ln_b) * features.gain(ln_c, ln_beta, gamma)))

    def starts(self, features: Falls, loss: Array) -> Array:
        """At each shape what is linear, by least squares."""
        found = []
        for alpha, c, beta, gamma in product(ALPHAS, CS, BETAS, GAMMAS):
            shape = np.log(c), np.log(beta), gamma
            gain = features.gain(*(np.array([[value]]) for value in shape))[0]
            terms = np.stack([np.ones_like(loss), np.exp(-alpha * features.ln_area), -gain], axis=1)
            floor, a, b = np.log(np.maximum(np.linalg.lstsq(terms, loss, rcond=None)[0], LEAST))
            found.append([floor, a, alpha, b, *shape])
        return np.array(found)

    def named(self, theta: Array) -> dict[str, Array]:
        """In the paper's names; areas in units of the learning rate times steps."""
        floor, a, alpha, b, c, beta, gamma = theta.T
        amplitudes = {"L0": np.exp(floor), "A": np.exp(a), "alpha": alpha, "B": np.exp(b)}
        return amplitudes | {"C": np.exp(c), "beta": np.exp(beta), "gamma": gamma}
