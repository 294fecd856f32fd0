"""The best tokens per parameter at a fixed compute. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hptransfer.base.errors import UsageError


def isoflop_optimum(tpp: Sequence[float], loss: Sequence[float]) -> float:
    """Tokens per parameter at the vertex of the parabola of loss in log10 TPP, least squares (arXiv 2512.05620, figure 13).

    ``tpp`` and ``loss`` (nats per token): one run per model size, all of the same compute. Raises UsageError with fewer than
    three different TPP, and where the loss does not turn between the lowest and the highest.
    """
    if len(set(tpp)) < 3:
        raise UsageError(f"The best tokens per parameter needs runs at three or more, there are {len(set(tpp))}.")
    x = np.log10(tpp)
    # Centred: over a narrow range the powers of x would be nearly the same column.
    a, b, _ = np.polyfit(x - x.mean(), loss, 2)
    vertex = x.mean() - b / (2 * a) if a > 0 else np.nan
    if not x.min() <= vertex <= x.max():
        raise UsageError(f"The loss does not turn between {min(tpp):.3g} and {max(tpp):.3g} tokens per parameter.")
    return float(10**vertex)
