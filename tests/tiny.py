"""The smallest runs that train, with a learning rate for every recipe."""

from __future__ import annotations

from typing import Any

import torch

from hptransfer.experiment.settings import Parametrization
from hptransfer.optimizers import RECIPES
from hptransfer.testing.small import BATCH_TOKENS, DATA, VOCAB, gradients, hidden_optimizer, small_spec
from hptransfer.testing.small import small_corpus as tiny_corpus
from hptransfer.trainers.ours.spec import RunSpec

__all__ = [
    "BATCH_TOKENS",
    "DATA",
    "LRS",
    "RULED",
    "SPECTRAL_LR",
    "VOCAB",
    "gradients",
    "hidden_optimizer",
    "short_spec",
    "tiny_corpus",
    "tiny_spec",
]

torch.set_num_threads(1)

# Where 30 steps learn something: 0.02 for a recipe that is not named. Under spectral one LR suits all.
LRS = {"sgd": 0.1, "muon-all": 0.1, "shampoo-quarter-all": 0.5, "schedulefree-adamw": 0.1, "sf-normuon": 0.1}
SPECTRAL_LR = 0.2

# Recipes with the rules that their default options allow.
_RULES: tuple[Parametrization, ...] = ("mup", "spectral")
RULED = [(name, rule) for name in RECIPES.names() for rule in _RULES if RECIPES.get(name).options().refusal(rule) is None]


def tiny_spec(recipe: str = "adamw", options: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    """30 steps of 128 tokens at the base shape; keyword arguments are dotted changes, as in `RunSpec.at`."""
    lr = SPECTRAL_LR if changes.get("parametrization") == "spectral" else LRS.get(recipe, 0.02)
    return small_spec(recipe, options, lr=lr, **changes)


def short_spec(recipe: str, options: dict[str, Any] | None = None) -> RunSpec:
    """20 steps in float64, over a refresh of the preconditioners, with every step on the curve."""
    steps = {"horizon.tokens": 20 * BATCH_TOKENS, "evaluation.points": 20}
    return tiny_spec(recipe, options, precision="float64", **steps)
