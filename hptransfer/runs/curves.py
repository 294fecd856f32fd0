"""What a training curve says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hptransfer.runs.record import CurvePoint


def cost_to_loss(curve: Iterable[tuple[float, float]], target: float) -> float | None:
    """Cost at which a training curve of (cost, loss) was first at or below ``target``; None where it never was.

    Interpolated linearly between the two points around it; where the first point is below already, it is that point's cost.
    """
    before: tuple[float, float] | None = None
    for cost, loss in curve:
        if loss <= target:
            if before is None:
                return float(cost)
            start, higher = before
            return start + (higher - target) / (higher - loss) * (cost - start)
        before = cost, loss
    return None


def tokens_to_loss(curve: Sequence[CurvePoint], target: float) -> float | None:
    """Training tokens until the validation loss was first at or below ``target``, nats per token; None where it never was.

    Between evaluations as in `cost_to_loss`. A run with another horizon, annealed earlier, may need fewer.
    """
    return cost_to_loss(
        ((point.tokens, point.val) for point in curve if point.tokens is not None and point.val is not None), target
    )
