"""The runs of a check, short ones on small batches. No torch: a command that is mistaken need not load it."""

from __future__ import annotations

from hptransfer.experiment.settings import ScheduleSpec
from hptransfer.runs import Point

# A check asks how far weights move, not what they learn: a batch of 256 tokens shows it, and leaves width 512 to a CPU.
SEQUENCES = 4
CONTEXT = 64


def shortened(point: Point, steps: int) -> Point:
    """A run of ``steps`` steps on small batches instead, at a constant learning rate from the first step on."""
    model = point.settings["model"]
    model = model | {"context": min(CONTEXT, model["context"])}
    batch_tokens = SEQUENCES * model["context"]
    scales = point.scales | {"tokens": steps * batch_tokens, "batch_tokens": batch_tokens}
    schedule = ScheduleSpec(shape="constant").model_dump()
    return point.model_copy(update={"scales": scales}).at(model=model, schedule=schedule, horizon={"policy": "tokens"})
