"""Robust least squares of many fits at once: the starts of one fit, or the resamples of its bootstrap, side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hptransfer.base.intervals import Array

Form = Callable[[Array], Array]  # parameters (fits, p) -> what is predicted (fits, n)

STEPS = 200  # of a fit, at most
SETTLED = 1e-9  # relative gain of the objective below which a fit has arrived
DRAWN = 1e-7  # and one of many that are drawn: a standard deviation of n runs is 1/n of it
DIFFERENCE = 1e-6  # of a parameter, for the derivatives
CHUNK = 2**17  # predicted numbers at once: what stays in a CPU's cache
CORES = os.cpu_count() or 1


def huber(residual: Array, threshold: float) -> Array:
    """r^2/2 up to the threshold, and linear beyond it (Huber, Ann. Math. Statist. 35, 73, 1964)."""
    size = np.abs(residual)
    return np.where(size <= threshold, size**2 / 2, threshold * (size - threshold / 2))


def fit_many(
    form: Form,
    y: Array,
    starts: Array,
    *,
    weights: Array | None = None,
    threshold: float = math.inf,
    settled: float = SETTLED,
    slopes: Form | None = None,
) -> tuple[Array, Array]:
    """The parameters (fits, p) that minimise sum weight * huber(form - y) from each of ``starts`` (fits, p); the minima (fits,).

    ``y`` (n,), or (fits, n) where each fit has its own; ``weights`` (fits, n), 1 unless given. Damped Gauss-Newton steps
    (Levenberg, Marquardt) with the weights of iteratively reweighted least squares; a step that does not lower the objective is
    taken back. A fit that meets no finite number stays where it was, with an infinite minimum. ``slopes``: the derivatives
    (fits, n, p) of the form, by differences where there are none. The fits are shared among as many threads as there are cores.
    """
    count, points = len(starts), y.shape[-1]
    y, every = (np.broadcast_to(one, (count, points)) for one in (y, 1.0 if weights is None else weights))
    size = max(1, min(CHUNK // points, math.ceil(count / CORES)))

    def part(i: int) -> tuple[Array, Array]:
        own = slice(i, i + size)
        return _fit(form, y[own], starts[own], every[own], threshold, settled, slopes)

    with ThreadPoolExecutor(CORES) as pool:
        parts = list(pool.map(part, range(0, count, size)))
    return np.concatenate([one[0] for one in parts]), np.concatenate([one[1] for one in parts])


def _fit(
    form: Form, y: Array, starts: Array, weights: Array, threshold: float, settled: float, slopes: Form | None
) -> tuple[Array, Array]:
    found, count = starts.copy(), len(starts)
    with np.errstate(all="ignore"):
        residual = form(found) - y
        value = _objective(residual, weights, threshold)
        damping, active, calm = np.full(count, 1e-3), np.isfinite(value), np.zeros(count, dtype=int)
        for _ in range(STEPS):
            at = np.flatnonzero(active)
            if not len(at):
                break
            theta, r, w, target = found[at], residual[at], weights[at], y[at]
            slope = jacobian(form, theta, r + target) if slopes is None else np.nan_to_num(slopes(theta), posinf=0.0, neginf=0.0)
            pull = w * np.minimum(1.0, threshold / np.maximum(np.abs(r), 1e-300))  # reweighted
            normal = np.einsum("fnp,fn,fnq->fpq", slope, pull, slope, optimize=True)
            gradient = np.einsum("fnp,fn->fp", slope, pull * r)
            diagonal = np.einsum("fpp->fp", normal).copy()
            scale = diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
            normal += np.einsum("fp,pq->fpq", damping[at, None] * scale, np.eye(theta.shape[1]))
            step = _solved(normal, gradient)
            tried = theta - step
            new = form(tried) - target
            reached = _objective(new, w, threshold)
            better = reached < value[at]
            gain = (value[at] - reached) / np.maximum(value[at], 1e-300)
            kept = at[better]
            found[kept], residual[kept], value[kept] = tried[better], new[better], reached[better]
            damping[at] = np.clip(np.where(better, damping[at] / 5, damping[at] * 4), 1e-12, 1e12)
            calm[at] = np.where(better & (gain > settled), 0, calm[at] + np.where(better, 1, 0))
            active[at] = (calm[at] < 3) & (damping[at] < 1e10)
    return found, np.where(np.isfinite(value), value, math.inf)


def _objective(residual: Array, weights: Array, threshold: float) -> Array:
    loss = residual**2 / 2 if math.isinf(threshold) else huber(residual, threshold)
    total = np.einsum("fn,fn->f", weights, loss)
    return np.where(np.isnan(total), math.inf, total)


def jacobian(form: Form, theta: Array, at: Array) -> Array:
    """Derivatives (fits, n, p) by forward differences from ``at`` (fits, n)."""
    slopes = []
    for k in range(theta.shape[1]):
        step = DIFFERENCE * np.maximum(1.0, np.abs(theta[:, k]))
        moved = theta.copy()
        moved[:, k] += step
        slopes.append((form(moved) - at) / step[:, None])
    return np.nan_to_num(np.stack(slopes, axis=-1), posinf=0.0, neginf=0.0)


def _solved(normal: Array, gradient: Array) -> Array:
    try:
        return np.asarray(np.linalg.solve(normal, gradient[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(normal, hermitian=True) @ gradient[:, :, None])[:, :, 0])


def line(x: Array, y: Array) -> tuple[Array, Array]:
    """Value at the mean of x (n,) and slope (rows,) of the least-squares line through y (rows, n)."""
    centred = x - x.mean()
    spread = (centred**2).sum()
    slope = y @ centred / spread if spread > 0 else np.zeros(len(y))
    return y.mean(axis=1), slope
