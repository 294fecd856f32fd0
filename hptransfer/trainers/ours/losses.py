"""Training losses on their way from the device to the `RunState`, without a wait at every step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hptransfer.trainers.ours.parallel import World
from hptransfer.trainers.ours.state import RunState

# Steps whose losses are read together on an accelerator, where every reading waits for the device. A run that diverges goes on
# that much longer, which its record does not show.
TOGETHER = 16


class PendingLosses:
    """Collects each step's loss and gradient norm, and reads them, averaged over workers, all at once: on a CPU at every step.

    ``saving``: whether it is time for a checkpoint by rank 0's clock ``is_due``, which a reading says; the same on every rank.
    ``largest``: the norm above which gradients are clipped, None for never.
    """

    def __init__(self, state: RunState, world: World, is_due: Callable[[], bool], largest: float | None) -> None:
        self._state, self._world, self._is_due, self._largest = state, world, is_due, largest
        self._together = 1 if world.device.type == "cpu" else TOGETHER
        self._seen: list[tuple[Tensor, Tensor]] = []
        self.saving = False

    def add(self, loss: Tensor, gradient_norm: Tensor) -> None:
        """Those of the step that `RunState.step` counts next."""
        self._seen.append((loss, gradient_norm))
        self.saving = False

    @property
    def is_full(self) -> bool:
        """Whether it is time to read."""
        return len(self._seen) >= self._together

    def read(self) -> bool:
        """Take in what has been collected, up to the step under way. False where the run has diverged; the state is then at
        the step that showed it."""
        due = float(self._world.rank == 0 and self._is_due())
        losses = torch.stack([loss for loss, _ in self._seen])
        averaged = self._world.mean(torch.cat((losses, losses.new_tensor([due])))).tolist()
        # Clipping has made the norm the same on every rank.
        norms = torch.stack([norm for _, norm in self._seen]).tolist()
        first = self._state.step - len(self._seen) + 1
        self._seen.clear()
        self.saving = averaged.pop() > 0
        for step, (loss, norm) in enumerate(zip(averaged, norms, strict=True), start=first):
            if not self._state.see(loss, norm, step):
                self._state.step = step
                return False
            if self._state.clipped is not None and self._largest is not None:
                self._state.clipped += norm > self._largest
        return True
