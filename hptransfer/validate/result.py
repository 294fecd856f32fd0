"""What a validation found, as it is stored and reported. Pure: neither torch nor ray."""

from __future__ import annotations

from typing import Literal

from hptransfer.spec import Spec
from hptransfer.transfer.prediction import Interval

Axis = Literal["tokens", "flops", "flops_with_optimizer", "wall_clock"]


class Multiplier(Interval):
    """AdamW's compute to the same loss over the compute spent. Not bracketed: the value is only a bound, ``bound`` says
    on which side ("> x" where AdamW's longest run did not reach the loss, "< x" where its shortest already had)."""

    bracketed: bool
    bound: Literal[">", "<"] | None = None


class TargetRun(Spec):
    """One configuration at the held-out width: mean over its seeds."""

    purpose: str  # predicted, probe x0.5, probe x2, horizon x2 ...
    lr: float  # base coordinates
    weight_decay: float  # base coordinates
    tokens: int
    loss: float | None  # None: a seed diverged
    standard_error: float | None
    run_ids: tuple[str, ...]


class Validation(Spec):
    """The result for one optimizer."""

    optimizer: str
    parametrization: str
    width: int
    prediction: str  # digest
    preregistered: bool  # whether the prediction was in the store before any run that tests it had finished
    regret: Interval | None  # None: the predicted run diverged
    compute_multiplier: dict[Axis, Multiplier]  # empty for the baseline itself, or where it is refused
    refusal: str | None = None  # why there is no compute multiplier
    runs: tuple[TargetRun, ...]
    baseline_runs: tuple[TargetRun, ...] = ()
