"""Width rules of models that are not ours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hptransfer import width_rules
from hptransfer.base.errors import UsageError
from hptransfer.modules.width import WidthRules
from hptransfer.optimizers import RECIPES
from hptransfer.optimizers.recipe import Sides
from hptransfer.optimizers.rules.width import AdamRule, MuonRule, Ratios, ShampooRule

VOCAB = 32


class Own(nn.Module):
    """One block with as many keys as anyone likes, a bias, and a gain; its readout is its embedding where ``tied``."""

    def __init__(self, width: int, keys: int = 8, *, tied: bool = False, depth: int = 1, vocab: int = VOCAB) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.keys = nn.ModuleList(nn.Linear(width, keys, bias=False) for _ in range(depth))
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width, bias=False)
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocab, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        x = x + self.down(self.up(x).relu()) * self.keys[0](x).mean(-1, keepdim=True)
        return self.head(self.norm(x))


def tied(width: int) -> Own:
    return Own(width, tied=True)


def by_name(rules: WidthRules) -> dict:
    return {rule.names[0]: rule for rule in rules.parameters}


def test_every_parameter_has_the_rule_of_its_role_and_growth() -> None:
    rules = by_name(width_rules(Own, 16, 64))
    grown = {name: (rule.role, rule.ratios.d_out, rule.ratios.d_in, rule.lr) for name, rule in rules.items()}
    assert grown == {
        "embed.weight": ("embedding", 4, 1, 1),
        "keys.0.weight": ("hidden", 1, 4, 0.25),  # a fixed number of keys
        "up.weight": ("hidden", 4, 4, 0.25),
        "up.bias": ("vector", 4, 1, 1),
        "down.weight": ("hidden", 4, 4, 0.25),
        "norm.weight": ("vector", 4, 1, 1),
        "head.weight": ("readout", 1, 4, 0.25),
    }
    assert {name: rule.epsilons["eps"] for name, rule in rules.items()} == {
        name: pytest.approx(1e-8 if name in ("keys.0.weight", "head.weight") else 2.5e-9) for name in rules
    }


def test_muon_takes_the_shape_into_account() -> None:
    rules = by_name(width_rules(Own, 16, 64, "muon"))
    assert rules["keys.0.weight"].lr == MuonRule().lr(Ratios(d_in=4)) == 0.5
    assert rules["up.weight"].lr == 1
    assert rules["head.weight"].lr == AdamRule().lr(Ratios(d_in=4)) == 0.25


def test_blocks_of_preconditioners_are_of_the_base_width() -> None:
    rules = by_name(width_rules(Own, 16, 64, "shampoo-quarter"))
    up = rules["up.weight"].ratios  # 48 x 16 has 3 blocks of 16, 192 x 64 has 12 x 4
    assert (up.n_out, up.n_in) == (4, 4)
    recipe = RECIPES.get("shampoo-quarter")
    rule = recipe.rule("hidden", recipe.options(), Sides(True, True))
    assert rules["up.weight"].lr == rule.lr(Ratios(d_in=4, d_out=4, n_in=4, n_out=4)) != ShampooRule(0.25, 0.25).lr(Ratios())
    unblocked = by_name(width_rules(Own, 16, 64, "shampoo-quarter", options={"block_size": 0}))
    assert unblocked["up.weight"].ratios.n == 1


def test_under_sp_nothing_is_scaled() -> None:
    rules = width_rules(Own, 16, 64, parametrization="sp")
    assert {(rule.lr, rule.init_rms) for rule in rules.parameters} == {(1.0, None)}
    assert {rule.epsilons["eps"] for rule in rules.parameters} == {1e-8}
    model = Own(64)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    rules.initialize(model)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def spread(weight: torch.Tensor) -> float:
    return weight.square().mean().sqrt().item()


def test_initial_values_follow_the_base_model() -> None:
    """Torch's own are U(-1/sqrt(d_in), 1/sqrt(d_in)) of linear layers and N(0, 1) of embeddings."""

    def fixed(width: int) -> Own:
        model = Own(width, keys=width)
        nn.init.normal_(model.down.weight, std=0.1)
        return model

    torch.manual_seed(1)
    model = fixed(64)
    width_rules(fixed, 16, 64).initialize(model)
    assert spread(model.down.weight) == pytest.approx(0.1 / 2, rel=0.1)
    assert spread(model.up.weight) == pytest.approx(1 / math.sqrt(3 * 64), rel=0.1)
    assert spread(model.up.bias) == pytest.approx(1 / math.sqrt(3 * 16), rel=0.2)  # as at the base, where torch's would halve
    assert spread(model.embed.weight) == pytest.approx(1, rel=0.1)
    assert torch.equal(model.norm.weight, torch.ones(64))
    assert spread(model.head.weight) == 0

    model = fixed(64)
    width_rules(fixed, 16, 64, zero_readout=False).initialize(model)
    assert spread(model.head.weight) == pytest.approx(1 / math.sqrt(3 * 16) / 4, rel=0.15)


def test_a_tied_readout_has_its_input_multiplied_once() -> None:
    rules = width_rules(tied, 16, 64)
    assert by_name(rules)["embed.weight"].names == ("embed.weight", "head.weight")
    assert (by_name(rules)["embed.weight"].lr, rules.logit_multiplier) == (1, 0.25)
    torch.manual_seed(0)
    model, tokens = tied(64), torch.arange(VOCAB).view(2, -1)
    rules.initialize(model)
    hooked = model(tokens)
    model.head._forward_pre_hooks.clear()
    torch.testing.assert_close(hooked, model(tokens) / 4)
    assert width_rules(Own, 16, 64).logit_multiplier == 1
    assert width_rules(tied, 16, 16).logit_multiplier == 1


def test_the_optimizer_s_groups_have_the_final_numbers() -> None:
    model = Own(64)
    rules = width_rules(Own, 16, 64, "muon")
    optimizer = rules.optimizer(model, lr=0.02, weight_decay=0.4, embedding_lr_ratio=8)
    found = {name: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for name in group["param_names"]}
    assert found == {
        "embed.weight": (0.16, 0.1),
        "keys.0.weight": (0.01, 0.1),
        "up.weight": (0.02, 0.1),
        "up.bias": (0.02, 0.0),
        "down.weight": (0.02, 0.1),
        "norm.weight": (0.02, 0.0),
        "head.weight": (0.04, 0.1),
    }
    before = model.up.weight.detach().clone()
    nn.functional.cross_entropy(model(torch.arange(VOCAB)[None]).flatten(0, 1), torch.arange(VOCAB)).backward()
    optimizer.step()
    assert not torch.equal(model.up.weight, before)
    constant = rules.optimizer(Own(64), lr=0.02, weight_decay=0.4, weight_decay_rule="constant")
    assert {group["weight_decay"] for group in constant.param_groups} == {0.0, 0.4}


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_every_recipe_trains_by_its_rules(recipe: str) -> None:
    rules = width_rules(tied, 16, 32, recipe)
    model, tokens = tied(32), torch.randint(VOCAB, (4, 8), generator=torch.Generator().manual_seed(0))
    rules.initialize(model)
    optimizer = rules.optimizer(model, lr=1e-3)
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_table_has_every_parameter_and_what_is_unknown() -> None:
    text = str(width_rules(lambda width: Own(width, depth=3), 16, 64))
    assert text.count("keys.*.weight") == 1 and "head.weight" in text
    assert "you must set this: attention scale" in text  # a bare module does not say its head dimension
    assert "you must set this" not in str(width_rules(Own, 16, 16))


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    width_rules(Own, 16, 32)
    assert torch.equal(torch.rand(1), expected)


class Flat(nn.Module):
    """No linear layer is its readout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, width)
        self.mix = nn.Linear(width, width)


def test_a_readout_that_is_no_layer_is_the_users_to_scale() -> None:
    rules = width_rules(Flat, 16, 64)
    assert rules.logit_multiplier == 1
    assert any("multiply them by 0.25" in one for one in rules.unset)


@pytest.mark.parametrize(
    ("model_fn", "base", "target", "says"),
    [
        (lambda width: Own(width, depth=width // 16), 16, 32, "keys.1.weight: width may differ, nothing else"),
        (lambda width: Own(width, keys=1024 // width), 16, 32, "keys.0.weight shrinks from 64 x 16 at width 16 to 32 x 32 at 32"),
        (lambda width: Own(width, vocab=2 * width), 16, 32, "embed.weight (embedding) has 32 tokens at width 16 and 64 at 32"),
        (Own, 64, 16, "target width 16 is below base width 64"),
        (lambda width: width, 16, 32, "is no torch.nn.Module but int"),
        (lambda width: nn.Conv2d(width, width, 3), 16, 32, "weight (16 x 16 x 3 x 3, in Conv2d): no rule gives it a role"),
        (lambda width: 1 / 0, 16, 32, "the model at width 16: ZeroDivisionError: division by zero"),
    ],
)
def test_what_has_no_rule_is_refused_in_one_line(model_fn, base: int, target: int, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        width_rules(model_fn, base, target)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_another_models_parameters_are_refused() -> None:
    rules = width_rules(Own, 16, 64)
    with pytest.raises(UsageError, match=r"keys\.1\.weight"):
        rules.initialize(Own(64, depth=2))
    with pytest.raises(UsageError, match=r"embed\.weight is 32 x 32; at width 64 it is 64 x 32"):
        rules.optimizer(Own(32), lr=0.1)


def test_sides_that_the_base_has_and_the_target_not_have_no_rule() -> None:
    with pytest.raises(UsageError, match="change max_preconditioner_dim"):
        width_rules(Own, 16, 64, "shampoo", options={"max_preconditioner_dim": 100})


def test_overrides_give_roles() -> None:
    rules = by_name(width_rules(Own, 16, 64, roles={"keys": "readout"}))
    assert rules["keys.0.weight"].role == "readout"


def test_mistaken_names_and_options_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="did you mean 'muon'"):
        width_rules(Own, 16, 64, "muom")
    with pytest.raises(UsageError, match="parametrization"):
        width_rules(Own, 16, 64, parametrization="mpu")
    with pytest.raises(UsageError, match="options of adamw: unknown key"):
        width_rules(Own, 16, 64, options={"beta9": 1})
