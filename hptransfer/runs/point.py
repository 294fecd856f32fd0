"""A run before it is trained: where it is (scales), what is tuned (hyperparameters), and all else that determines it (settings).

Everything that compares runs reads points. What trains them resolves a point to a `Job`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from hptransfer.base.frozen import STRICT, Frozen
from hptransfer.optimizers.rules.weight_decay import decay_between
from hptransfer.runs.lazy import LazyTuple

Number = int | float


class Point(Frozen):
    """One run before it is trained: where it is, what is tuned, and all else that determines it.

    ``scales``: width, depth, tokens, batch_tokens, or whatever a sweep is over. ``hyperparameters``: what is tuned, in base
    coordinates (lr, weight_decay, embedding_lr_ratio, ...). ``settings``: everything else, as JSON has it: trainer, optimizer
    with options, parametrization, base shape, horizon policy, schedule, data, whatever an arm sets. Runs that differ in their
    seeds alone are replicates. ``point["lr"]`` is a scale or a hyperparameter by its name, ``point.at(lr=0.01, width=256)`` the
    same run with changes, and `resolve` makes a `Job` of it, with final values.
    """

    scales: dict[str, Number]
    hyperparameters: dict[str, Number]
    settings: dict[str, Any] = {}
    init_seed: int = 0
    data_seed: int = 0

    def __getitem__(self, name: str) -> Number:
        """A scale or a hyperparameter by its name. Raises KeyError."""
        return self.scales[name] if name in self.scales else self.hyperparameters[name]

    def is_in(self, cell: Mapping[str, Number]) -> bool:
        """Whether the run has these values of its scales."""
        return cell.items() <= self.scales.items()

    def at(self, **changes: Any) -> Point:
        """The same run with other scales, hyperparameters, seeds or settings, each by its name. Another ``tokens`` is a fixed
        number of tokens, whatever the horizon's policy was."""
        if "tokens" in changes:
            changes = {"horizon": {"policy": "tokens"}, **changes}
        parts: dict[str, Any] = {"scales": {}, "hyperparameters": {}, "settings": {}}
        seeds = {}
        for name, value in changes.items():
            if name in ("init_seed", "data_seed"):
                seeds[name] = value
            else:
                where = next((part for part in ("scales", "hyperparameters") if name in getattr(self, part)), "settings")
                parts[where][name] = value
        return self.model_copy(update={part: getattr(self, part) | new for part, new in parts.items()} | seeds)

    def replicate(self, number: int) -> Point:
        """The same run with both seeds moved by ``number``."""
        return self.at(init_seed=self.init_seed + number, data_seed=self.data_seed + number)


def horizon_words(point: Point) -> str:
    """A horizon's policy and value."""
    horizon = point.settings["horizon"]
    if horizon["policy"] == "tpp":
        return f"{horizon['tpp']:g} tokens per parameter ({horizon['convention']})"
    return f"{point['tokens']} tokens"


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Kind:
    """One kind of weight and its final numbers: nothing is left to scale.

    ``role``: embedding, hidden, readout or vector; ``d_in`` and ``d_out`` are the role's (an embedding table (V, D) has d_in =
    V), ``count`` how many such matrices there are. ``weight_decay`` is independent of the LR. ``sides``: whether the output and
    the input axis are preconditioned.
    """

    name: str
    role: str
    d_out: int
    d_in: int
    count: int
    lr: float
    weight_decay: float
    epsilons: dict[str, float] = Field(default_factory=dict)
    sides: tuple[bool, bool] = (False, False)


class Job(Frozen):
    """A point as its trainer will run it: what `resolve` makes of it, and what a `Record` keeps.

    ``run_id``: a hash of everything that determines the run's numbers: equal ids are the same run. ``point`` is complete: every
    scale and setting that the trainer knows is in it, so that equal runs have equal points. ``flops``: forward and backward of
    the whole run, without the optimizer's; None where unknown, as ``parameters`` may be. ``kinds``: of every kind of weight its
    shape and its final learning rate, weight decay and epsilons. ``exponents``: by role, what theory expects of the best lr with
    width, d ln lr* / d ln width in the point's coordinates; empty where there is no theory. ``constants``: what a base and its
    target must share, by name, in words. ``uncovered``: what the theory does not cover, and what is assumed instead.
    ``details``: final values beside those of the kinds, by name, that another trainer needs to repeat the run.
    """

    run_id: str
    point: Point
    parameters: int | None = None
    flops: float | None = None
    kinds: LazyTuple[Kind] = LazyTuple()
    exponents: dict[str, float] = {}
    constants: dict[str, str] = {}
    uncovered: tuple[str, ...] = ()
    details: dict[str, Any] = {}

    @property
    def steps(self) -> int:
        """Optimizer steps. Raises KeyError where tokens or batch are unknown."""
        return int(self.point["tokens"] // self.point["batch_tokens"])

    @property
    def weight_decay(self) -> float:
        """The final independent weight decay of matrices; the point's own where no rule is known."""
        settings, own = self.point.settings, float(self.point.hyperparameters.get("weight_decay", 0.0))
        if "weight_decay_rule" not in settings:
            return own
        return own * decay_between(settings["weight_decay_rule"], settings["base"], self.point.scales)

    @property
    def title(self) -> str:
        """The run in words, for people."""
        point = self.point
        where = ", ".join(f"{name} {value:g}" for name, value in point.scales.items() if name == "width")
        tuned = ", ".join(f"{name} {value:.4g}" for name, value in point.hyperparameters.items())
        kind = point.settings.get("parametrization", "mup")
        what = f"{point.settings.get('optimizer', 'run')}{'' if kind in ('mup', 'unknown') else f' ({kind})'}"
        return ", ".join(part for part in (what, where, tuned) if part)
