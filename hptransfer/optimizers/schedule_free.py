"""What the schedule-free recipes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hptransfer.optimizers.recipe import Options

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.schedule_free import ScheduleFreeAveraging


class ScheduleFree(Options):
    """Gradients at y = (1 - interpolation) z + interpolation x; x, the average of z, is evaluated (arXiv 2405.15682)."""

    averages: ClassVar[bool] = True

    interpolation: float = Field(0.9, gt=0, lt=1, description="beta of the paper; takes the place of Adam's beta1")
    decay_at: Literal["y", "z"] = "y"

    def averaging(self) -> ScheduleFreeAveraging:
        from hptransfer.optimizers.engine.schedule_free import ScheduleFreeAveraging

        return ScheduleFreeAveraging(self.interpolation, self.decay_at)

    def uncovered(self) -> tuple[str, ...]:
        return (*super().uncovered(), "averaged iterates: the rule of the optimizer inside is assumed")
