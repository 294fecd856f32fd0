"""What a validation found, as it is stored and reported. Pure: neither torch nor ray."""

from __future__ import annotations

from typing import Literal

from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.base.survival import SurvivalVerdict
from hptransfer.base.words import ends, times

Axis = Literal["tokens", "flops", "flops_with_optimizer", "wall_clock"]
AXES: dict[Axis, str] = {  # in words
    "tokens": "tokens",
    "flops": "FLOPs",
    "flops_with_optimizer": "FLOPs + optimizer",
    "wall_clock": "wall-clock",
}
Finding = Literal["faster", "slower", "open"]
LEVEL = 0.05  # one-sided: what is called shown
Kind = Literal["predicted", "lr_probe", "weight_decay_probe", "same_hyperparameters", "mup_only", "horizon"]


class Multiplier(Interval):
    """The baseline's compute to the same loss over the compute spent, with an 80 % interval.

    Not bracketed: the baseline's runs lie all on one side of the loss. The value is then a bound, and ``bound`` says which ("> x"
    where its longest run did not reach the loss, "< x" where its shortest already had), or ``extrapolated`` (over sizes, and by a
    law).
    ``p_value`` is one-sided: how probable it is that there is no speedup at all (multiplier <= 1).
    """

    bracketed: bool
    bound: Literal[">", "<"] | None = None
    extrapolated: bool = False
    p_value: float | None = None

    @property
    def finding(self) -> Finding:
        """Whether it shows a speedup, the opposite, or neither, at 95 % one-sided; without a p-value by the interval. A bound
        says nothing on its open side."""
        value, p = self.value, self.p_value
        sure_above = p < LEVEL if p is not None else self.low is not None and self.low > 1
        sure_below = p > 1 - LEVEL if p is not None else self.high is not None and self.high < 1
        if self.bound != "<" and value > 1 and sure_above:
            return "faster"
        return "slower" if self.bound != ">" and value < 1 and sure_below else "open"

    @property
    def words(self) -> str:
        """1.42x, or > 2.00x where the baseline's ladder did not bracket the loss."""
        return f"{f'{self.bound} ' if self.bound else ''}{times(self.value)}"

    @property
    def ends(self) -> str:
        """The interval of a bracketed multiplier; of another one, what it is instead."""
        if not self.bracketed and not self.extrapolated:
            return "not bracketed"
        return ends(self, lambda end: f"{end:.2f}") + (", extrapolated" if self.extrapolated else "")

    @property
    def in_full(self) -> str:
        """With its interval: 1.42x (1.30-1.60)."""
        return f"{self.words} ({self.ends})"


class SeedNoise(Frozen):
    """Relative standard deviation of the final loss over seeds at the held-out width, and the degrees of freedom it rests on."""

    sd: float
    freedom: int


class TargetRun(Frozen):
    """One configuration at the held-out width and its seeds. ``factor`` is that of a probe (on LR or weight decay) or of a
    horizon (on tokens); 1 otherwise. ``failed``: a seed's program did not come to an end."""

    kind: Kind
    factor: float
    lr: float  # base coordinates
    weight_decay: float | None  # base coordinates
    tokens: int | None
    losses: tuple[float | None, ...]  # nats per token, by seed; None: diverged or failed
    loss: float | None  # their mean; None where a seed has none
    standard_error: float | None  # of the mean, nats per token
    run_ids: tuple[str, ...]
    failed: bool = False


class AtSize(Frozen):
    """Both arms at one model size, at the best of their searches or, at the held-out width, at their predictions.

    ``multiplier`` is what the baseline's curve over sizes gives, ln compute piecewise linear in ln loss (arXiv 2512.05620,
    section 4), ``law`` a power law through all of its points.
    """

    width: int
    parameters: int | None
    flops: float  # of the run: forward and backward
    baseline_loss: float
    loss: float
    multiplier: Multiplier
    law: Multiplier | None  # None with fewer than three sizes


class Speedup(Frozen):
    """What the challenger saves against the baseline.

    ``compute_multiplier``: at the held-out width, from the baseline's ladder of horizons. ``law``: on FLOPs, from a power law
    through the same runs (None with fewer than three). ``within_run``: on tokens, from where the challenger's own training curve
    passes the baseline's final loss; its schedule has not ended there, so that it can only be a lower bound. ``sizes`` and
    ``trend``, the exponent of the multiplier in compute over them (None with fewer than three).
    """

    compute_multiplier: dict[Axis, Multiplier]
    law: Multiplier | None
    within_run: Multiplier | None
    sizes: tuple[AtSize, ...]
    trend: Interval | None

    @property
    def headline(self) -> tuple[Axis, Multiplier] | None:
        """What is spoken of first: the multiplier on compute with the optimizer's own, where it was measured."""
        order: tuple[Axis, ...] = ("flops_with_optimizer", "flops", "tokens", "wall_clock")
        return next(((axis, self.compute_multiplier[axis]) for axis in order if axis in self.compute_multiplier), None)


class AtScale(Frozen):
    """The multiplier on FLOPs at one scale; ``flops`` of the challenger's run there."""

    width: int
    flops: float
    multiplier: Multiplier
    is_held_out: bool

    @property
    def is_measured(self) -> bool:
        """Whether the multiplier and both ends of its interval lie inside the ladder."""
        return self.multiplier.bracketed and None not in (self.multiplier.low, self.multiplier.high)


class Survival(Frozen):
    """How the multiplier moves with scale. ``slope``: of ln multiplier per unit of ln compute, with a 90 % interval; None with
    too few scales. ``scatter``: by what factor that is wider than noise makes it, as multipliers scatter about the line.
    ``reason``: why nothing can be told."""

    verdict: SurvivalVerdict
    slope: Interval | None
    scatter: float = 1.0
    scales: tuple[AtScale, ...]
    reason: Refusal | None = None


class Foretold(Frozen):
    """What the searched cells alone had said of the predicted run's loss. ``loss``: its mean over seeds, nats per token, with an
    80 % interval that holds the noise of that mean; ``law``: the form that was fitted. ``reason``: why nothing is foretold."""

    loss: Interval | None = None
    law: str = ""
    reason: Refusal | None = None

    @property
    def words(self) -> str:
        """The loss with its interval: 1.7635 (1.7389-1.7907)."""
        return f"{self.loss.value:.4f} ({ends(self.loss, '{:.4f}'.format)})" if self.loss else "-"

    def against(self, loss: float | None) -> str:
        """Where a measured loss lies, in words; "" where nothing is known."""
        if loss is None or self.loss is None or self.loss.low is None or self.loss.high is None:
            return ""
        return "below" if loss < self.loss.low else "above" if loss > self.loss.high else "inside"


class Validation(Frozen):
    """What the runs at the held-out width say of one arm's prediction: what `hptransfer.validate` returns for each.

    ``regret``: the loss at the prediction over the lowest of a bowl through the probes around it, minus 1. ``speedup``: the
    baseline's compute to the same loss over the compute spent, on four axes; None where ``refusal`` says why none is claimed.
    ``survival``: how that moves with scale. ``foretold``: the loss as the searched cells have it (None: an older version wrote
    this). Intervals are 80 % unless they say otherwise; losses are nats per token.

    ``baseline``: the arm that it is measured against; None where there is none, or it is the baseline
    itself. ``baseline_runs`` are that arm's: predicted, probes and horizons."""

    arm: str
    optimizer: str | None
    parametrization: str
    width: int
    baseline: str | None = None
    prediction: str  # digest
    preregistered: bool  # whether the prediction was in the store before any run that tests it began
    noise: SeedNoise
    regret: Interval | None  # None: the predicted run diverged; no upper end: the probes do not locate the optimum
    speedup: Speedup | None  # None for the baseline itself, or where it is refused
    refusal: Refusal | None = None  # why there is no speedup
    survival: Survival | None = None  # None: not measured at the searched scales
    foretold: Foretold | None = None
    runs: tuple[TargetRun, ...]
    baseline_runs: tuple[TargetRun, ...] = ()

    @property
    def predicted(self) -> TargetRun | None:
        """The prediction itself, with all of its seeds."""
        return next((run for run in self.runs if run.kind == "predicted"), None)

    @property
    def chosen(self) -> TargetRun | None:
        """The baseline's configuration that won over its prediction, which ``baseline_runs`` hold twice: the second time, after
        everything around the prediction, with fresh seeds. None where nothing won."""
        around = [run for run in self.baseline_runs if run.kind != "horizon"]
        is_twin = any((run.kind, run.factor) == (around[-1].kind, around[-1].factor) for run in around[:-1])
        return around[-1] if is_twin else None

    @property
    def ladder(self) -> tuple[TargetRun, ...]:
        """The baseline at its best configuration, the predicted or the chosen one, over all of its horizons, shortest first."""
        start = self.chosen or next((run for run in self.baseline_runs if run.kind == "predicted"), None)
        rungs = [run for run in self.baseline_runs if run.kind == "horizon"]
        return tuple(sorted((*([start] if start else []), *rungs), key=lambda run: run.tokens or 0))
