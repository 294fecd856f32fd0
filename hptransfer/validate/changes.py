"""What another choice of hyperparameters does to the loss of the prediction, on the seeds that both have. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from hptransfer.validate.result import TargetRun


class Change(NamedTuple):
    """``value``: ln loss minus that of the prediction, the mean over ``seeds`` common seeds, which saw the same batches.
    ``error``: its standard deviation by the noise of single losses, as if the seeds of the two were independent."""

    value: float
    error: float
    seeds: int


def change(run: TargetRun, predicted: TargetRun | None, noise: float) -> Change | None:
    """Of ``run`` against the prediction; ``noise`` is the relative standard deviation of a single loss. None where either
    diverged on some seed."""
    if predicted is None or run.loss is None or predicted.loss is None:
        return None
    both = zip(run.losses, predicted.losses, strict=False)
    logs = [math.log(mine / other) for mine, other in both if mine is not None and other is not None]
    return Change(sum(logs) / len(logs), noise * math.sqrt(2 / len(logs)), len(logs))
