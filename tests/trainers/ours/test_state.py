import math

import pytest

from hptransfer.runs import CurvePoint
from hptransfer.trainers.ours.state import DIVERGENCE_NATS, DIVERGENCE_WINDOW, RunState


def after(losses: list[float], state: RunState | None = None) -> RunState:
    """The state once it has seen these losses, as the loop counts: a step is done when its loss has passed."""
    state = state or RunState()
    for loss in losses:
        if not state.see(loss, 1.0, state.step):
            break
        state.step += 1
    return state


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_divergence_at_once(loss: float) -> None:
    state = after([3.0, 2.9, loss, 2.8])
    assert state.step == 2 and state.diverged == f"loss {loss} at step 2"


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_divergence(norm: float) -> None:
    state = after([3.0, 2.9])
    assert not state.see(2.8, norm, 2)
    assert state.diverged == f"gradient norm {norm} at step 2"


def test_a_mean_far_above_the_start_is_divergence() -> None:
    """One high loss is not; a window of them is, and not before the window is full."""
    high = 3.0 + DIVERGENCE_NATS + 0.02
    assert after([3.0, 99.0]).diverged is None
    assert after([3.0, *[3.0 + DIVERGENCE_NATS - 0.01] * 40]).diverged is None
    state = after([3.0, *[high] * 40])
    assert state.step == DIVERGENCE_WINDOW  # the start itself has left the window
    assert state.diverged == f"mean loss {high:.3f} over the 10 steps to step 10, after a start at 3.000"


@pytest.mark.parametrize(("final", "diverged"), [(2.0, False), (3.0 + DIVERGENCE_NATS - 0.01, False), (4.0, True), (None, True)])
def test_the_final_validation_loss_counts_too(final: float | None, diverged: bool) -> None:
    state = after([3.0] * 20)
    state.see_final(final)
    assert (state.diverged is not None) == diverged


def test_a_restored_state_judges_as_the_one_that_was_saved() -> None:
    """The start is that of the run, not of its last leg; the window goes over the interruption."""
    state = after([3.0, *[2.0] * 7, 4.0, 4.0])
    state.curve.append(CurvePoint(step=5, tokens=640, schedule=0.5, train=2.0, val=2.1))
    restored = RunState.from_dict(state.to_dict(), 1000)
    assert restored == state
    for one in (restored, state):
        after([4.0] * 40, one)
        assert one.start_loss == 3.0 and one.diverged is not None
    assert restored == state
