"""The conformance suites say what is wrong with a member that does not conform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny import VOCAB

from hptransfer.models import FAMILIES
from hptransfer.models.family import Shape
from hptransfer.models.gpt.family import GptConfig, GptFamily
from hptransfer.models.gpt.model import GPT
from hptransfer.optimizers import RECIPES
from hptransfer.optimizers.adamw import ADAMW, AdamOptions
from hptransfer.optimizers.rules.width import AdamRule
from hptransfer.testing import families, recipes

SHAPE = Shape(16, 2, VOCAB, GptConfig(head_dim=8, context=16))
RATES = {"mup": 0.02}


class Twice(AdamRule):
    def lr(self, r):
        return 2 * super().lr(r)


class Doubled(AdamOptions):
    def rule(self, sides):
        return Twice()


class TwoNames(AdamOptions):
    def chain(self, setting):
        return super().chain(setting) * 2


@pytest.mark.parametrize(
    ("options", "check", "says"),
    [
        (Doubled, recipes.rules_are_one_at_the_base_shape, "the LR multiplier of embedding is 2.0 at the base shape"),
        (TwoNames, recipes.every_parameter_is_in_one_group_with_the_final_numbers, "has a name twice"),
    ],
)
def test_a_recipe_that_does_not_conform(options: type, check: Callable[..., None], says: str, monkeypatch) -> None:
    recipe = replace(ADAMW, options=options)
    monkeypatch.setattr(RECIPES, "_members", RECIPES._members | {"adamw": recipe})
    with pytest.raises(AssertionError, match=says):
        check(recipe, RATES)


def test_a_recipe_that_learns_nothing() -> None:
    with pytest.raises(AssertionError, match=r"adamw under mup at LR 1e-09: 30 steps bring the loss from 3\.466 to 3\.466 only"):
        recipes.the_loss_falls_and_the_same_run_gives_the_same_bits(ADAMW, {"mup": 1e-9})


def test_one_that_is_not_registered() -> None:
    with pytest.raises(AssertionError, match=r"adamw is not registered: RECIPES\.add"):
        recipes.options_are_sound(replace(ADAMW, rank=3), RATES)
    with pytest.raises(AssertionError, match=r"gpt is not registered: FAMILIES\.add"):
        families.keys_are_its_own(GptFamily(), SHAPE)


class Miscounted(GptFamily):
    def weights(self, shape):
        return tuple(replace(one, count=3 * shape.depth) if one.kind == "attention" else one for one in super().weights(shape))


class Fixed(GptFamily):
    def weights(self, shape):
        return super().weights(replace(shape, width=16))


class Free(GptFamily):
    def flops_per_token(self, shape):
        return 1.0


class Leaky(GptFamily):
    """It sees the token that it is to predict."""

    def build(self, shape, residual_multiplier=1.0):
        class Model(GPT):
            def forward(self, tokens, targets=None, reduction="mean"):
                return super().forward(tokens.roll(-1, 1), targets, reduction)

        return Model(shape, residual_multiplier)


class Unseeded(GptFamily):
    def build(self, shape, residual_multiplier=1.0):
        class Model(GPT):
            def initialize(self, generator):
                torch.nn.init.normal_(self.embedding.weight)

        return Model(shape, residual_multiplier)


@pytest.mark.parametrize(
    ("family", "check", "says"),
    [
        (Miscounted, families.kinds_cover_every_parameter, "8 of attention, where `weights` says 6"),
        (Fixed, families.mup_agrees_with_the_ratios, r"embedding.weight grew by .* where `weights` says \(1.0, 1.0\)"),
        (Free, families.flops_grow, "twice the width costs 1.0 FLOPs per token, not more than 1.0"),
        (Leaky, families.tokens_to_logits_and_losses, "a later token changes earlier logits"),
        (Unseeded, families.initialisation_is_of_its_seed_alone, "init depends on torch's own generator"),
    ],
)
def test_a_family_that_does_not_conform(family: type[GptFamily], check: Callable[..., None], says: str, monkeypatch) -> None:
    broken = family()
    monkeypatch.setattr(FAMILIES, "_members", FAMILIES._members | {"gpt": broken})
    with pytest.raises(AssertionError, match=says):
        check(broken, SHAPE)
