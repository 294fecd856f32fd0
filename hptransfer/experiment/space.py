"""Search spaces: one file per recipe with ranges, fixed values, and the source of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hptransfer.base.config import checked, find_config, load_yaml, merge, nested
from hptransfer.base.errors import UsageError, unknown
from hptransfer.base.frozen import Written
from hptransfer.base.stored import shown
from hptransfer.experiment.program import Program
from hptransfer.experiment.settings import PARAMETRIZATIONS, Parametrization
from hptransfer.optimizers import get_recipe


class Range(Written):
    """A searched range, or a fixed value where ``low`` equals ``high``. ``log`` searches the logarithm."""

    low: float = Field(ge=0)
    high: float
    scale: Literal["log", "linear"] = "log"
    source: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high {self.high} is below low {self.low}")
        if self.scale == "log" and self.low == 0 < self.high:
            raise ValueError("low 0 of a log range is not positive")
        return self

    @property
    def is_searched(self) -> bool:
        return self.high > self.low

    def at(self, share: float) -> float:
        """The value at a share in [0, 1] of the range."""
        if not self.is_searched:
            return self.low
        if self.scale == "linear":
            return self.low + share * (self.high - self.low)
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))


class Choice(Written):
    """A short list of values to choose from, in ascending order."""

    values: tuple[float, ...] = Field(min_length=1)
    source: str

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if min(self.values) <= 0 or list(self.values) != sorted(set(self.values)):
            raise ValueError(f"values {list(self.values)} are not positive and ascending")
        return self


class Fixed(Written):
    """A value that is not searched."""

    value: float | int | bool | str
    source: str


class SearchSpace(Written):
    """What a study of one recipe searches. All values in base coordinates."""

    recipe: str
    lr: Range
    weight_decay: Range
    embedding_lr_ratio: Choice
    options: dict[str, Fixed] = Field({}, description="by name; adam.beta1 is an option of the embedding's Adam")

    @model_validator(mode="after")
    def _lr_is_searched(self) -> Self:
        if self.lr.low <= 0 or not self.lr.is_searched:
            raise ValueError(f"lr from {self.lr.low} to {self.lr.high} is no range of positive values to search")
        return self

    def fixed_options(self) -> dict[str, Any]:
        """The recipe's options that the space fixes."""
        options: dict[str, Any] = {}
        for name, fixed in self.options.items():
            options = merge(options, nested(name, fixed.value))
        return options

    def centre(self) -> dict[str, float]:
        """The middle of every range."""
        return {name: searched.at(0.5) for name, searched in self.ranges().items()}

    def ranges(self) -> dict[str, Range]:
        """The ranges that are searched."""
        both = {"lr": self.lr, "weight_decay": self.weight_decay}
        return {name: searched for name, searched in both.items() if searched.is_searched}


def load_space(recipe: str, parametrization: Parametrization, changes: Mapping[str, Any]) -> SearchSpace:
    """search_spaces/<recipe>.yaml, or the recipe's own space, with an experiment's changes over it; in both, what
    ``parametrizations`` says of one goes over the rest."""
    given = get_recipe(recipe).space
    path = find_config("search_spaces", recipe) if given is None else None
    source = f"the space of recipe {recipe!r}" if path is None else str(path)
    where = f"{source} with the experiment's spaces.{recipe}" if changes else source
    values: dict[str, Any] = {}
    for layer in (load_yaml(path) if path else {"recipe": recipe, **(given or {})}, changes):
        shared = {key: value for key, value in layer.items() if key != "parametrizations"}
        own = layer.get("parametrizations") or {}
        for part in (own, *(own.values() if isinstance(own, dict) else ())):
            if not isinstance(part, dict | None):
                raise UsageError(f"{where}: parametrizations: {shown(part)} is no mapping of names to values")
        for name in own:
            if name not in PARAMETRIZATIONS:
                raise unknown(f"{where}: parametrization", name, PARAMETRIZATIONS)
        values = merge(merge(values, shared), own.get(parametrization) or {})
    space = checked(SearchSpace, values, where)
    # Options are the recipe's own: a wrong one is found here rather than in a trial.
    checked(get_recipe(recipe).options, space.fixed_options(), f"{where}: options")
    return space


def program_space(name: str, program: Program, changes: Mapping[str, Any]) -> SearchSpace:
    """What is searched of a user's program: what its command takes, in ranges that an experiment's changes narrow."""
    source = "the default for programs, whose units are their own; narrow it with spaces"
    takes_decay, takes_ratio = ("weight_decay" in program.tuned), ("embedding_lr_ratio" in program.tuned)
    values: dict[str, Any] = {
        "recipe": name,
        "lr": {"low": 1e-4, "high": 1.0, "source": source},
        "weight_decay": {"low": 1e-3 if takes_decay else 0.0, "high": 1.0 if takes_decay else 0.0, "source": source},
        "embedding_lr_ratio": {"values": [1.0, 4.0, 16.0] if takes_ratio else [1.0], "source": source},
    }
    for tuned in ("weight_decay", "embedding_lr_ratio"):
        if tuned in changes and tuned not in program.tuned:
            raise UsageError(f"spaces.{name}.{tuned}: the command does not take it")
    given = {key: {"source": "the experiment", **value} if isinstance(value, dict) else value for key, value in changes.items()}
    return checked(SearchSpace, merge(values, given), f"spaces.{name}")
