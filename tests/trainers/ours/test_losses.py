"""Losses and norms that are read late, as on an accelerator."""

import math
from types import SimpleNamespace

import pytest
import torch

from hptransfer.trainers.ours.losses import TOGETHER, PendingLosses
from hptransfer.trainers.ours.state import RunState


def pending(state: RunState, largest: float | None) -> PendingLosses:
    """On one worker with an accelerator, whose clock never says that a checkpoint is due."""
    world = SimpleNamespace(device=SimpleNamespace(type="cuda"), rank=0, mean=lambda values: values)
    return PendingLosses(state, world, lambda: False, largest)


def run(norms: list[float], largest: float | None) -> RunState:
    """The state after steps with these norms, read where they are full and at the end, as the loop reads them."""
    state = RunState()
    losses = pending(state, largest)
    for step, norm in enumerate(norms):
        losses.add(torch.tensor(2.0), torch.tensor(norm))
        if (step == len(norms) - 1 or losses.is_full) and not losses.read():
            break
        state.step += 1
    return state


@pytest.mark.parametrize(("largest", "clipped"), [(1.0, 20), (3.0, 0), (0.1, 40), (None, 0)])
def test_clipped_steps_are_counted_though_they_are_read_together(largest: float | None, clipped: int) -> None:
    state = run([0.5, 2.0] * 20, largest)
    assert TOGETHER > 1 and state.step == 40 and state.clipped == clipped


def test_of_a_run_that_diverged_the_steps_up_to_there_are_counted() -> None:
    state = run([2.0] * 5 + [math.inf] + [2.0] * 20, 1.0)
    assert state.diverged and (state.step, state.clipped) == (5, 5)
