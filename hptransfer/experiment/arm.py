"""What is compared: arms, and what their runs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hptransfer.experiment.program import ProgramFiles
from hptransfer.experiment.settings import DataSpec, Parametrization
from hptransfer.optimizers import get_recipe

BASELINE = "adamw"  # the recipe that others are measured against
Inputs = DataSpec | ProgramFiles  # what an arm's runs read: tokens, or the files of a program
# What all arms share: what they cost, where they run, and at which scales.
NOT_OF_AN_ARM = {
    *("name", "plugins", "arms", "optimizers", "parametrizations", "baseline", "spaces", "search", "validation", "resources"),
    *("budget", "scales", "cells", "series", "budgets", "widths", "base_width", "target", "target_width", "target_loss"),
}


# Okabe and Ito's palette in the order in which neighbours differ most.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")


def colour_of_place(place: int) -> str:
    """Of what has no colour of its own."""
    return COLOURS[place % len(COLOURS)]


@dataclass(frozen=True)
class Arm:
    """What is compared: a named set of settings over those of the experiment. ``changes`` are dotted keys of the experiment file
    beside the optimizer, its options and the parametrization. A program's arm need not say its optimizer. ``place``: its own
    among the named arms."""

    name: str
    optimizer: str | None
    parametrization: Parametrization
    options: dict[str, Any]
    changes: dict[str, Any]
    place: int = field(default=0, compare=False)

    @classmethod
    def of(cls, optimizer: str, parametrization: Parametrization) -> Arm:
        """The arm of a recipe as it is: named by the recipe, and by the parametrization where that is not muP."""
        name = optimizer if parametrization == "mup" else f"{optimizer}-{parametrization}"
        return cls(name, optimizer, parametrization, {}, {})

    @classmethod
    def read(cls, name: str, settings: Mapping[str, Any], parametrization: Parametrization, place: int = 0) -> Arm:
        """An arm of the experiment file."""
        flat = {"parametrization": parametrization, **settings}
        options = {key.removeprefix("options."): flat.pop(key) for key in list(flat) if key.startswith("options.")}
        return cls(name, flat.pop("optimizer", None), flat.pop("parametrization"), options, flat, place)

    @property
    def colour(self) -> str:
        """A recipe's own where the arm is that recipe as it is; that of its place among the others, which are named for what they
        change."""
        if self.optimizer is not None and self == Arm.of(self.optimizer, self.parametrization):
            return get_recipe(self.optimizer).colour
        return colour_of_place(self.place)

    @property
    def settings(self) -> dict[str, Any]:
        """The arm as the experiment file has it."""
        optimizer = {"optimizer": self.optimizer} if self.optimizer else {}
        options = {f"options.{key}": value for key, value in self.options.items()}
        return {**optimizer, "parametrization": self.parametrization, **options, **self.changes}
