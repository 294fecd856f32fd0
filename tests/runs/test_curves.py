"""Tokens to a loss, read off a curve."""

import pytest

from hptransfer.runs import CurvePoint
from hptransfer.runs.curves import tokens_to_loss


def curve(*losses: float | None) -> list[CurvePoint]:
    """One point every 100 tokens."""
    return [CurvePoint(step=i, tokens=100 * i, schedule=1.0, train=9.0, val=loss) for i, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "tokens"),
    [
        ((4.0, 3.0, 2.0), 250),
        ((4.0, 2.5, 2.0), 200),
        ((4.0, None, 2.0), 250),  # between 100 and 300 tokens
        ((4.0, 2.0, 3.0, 2.0), 175),  # the first time
        ((2.4, 2.0), 100),
        ((4.0, 3.0), None),
        ((), None),
    ],
)
def test_tokens_to_a_loss(losses: tuple[float | None, ...], tokens: float | None) -> None:
    assert tokens_to_loss(curve(*losses), 2.5) == pytest.approx(tokens)
