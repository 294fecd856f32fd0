"""Shampoo against weights that facebookresearch/optimizers made (golden/make_shampoo.py says how)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from optimizers.engine.golden.make_shampoo import gradient, initial_weight
from tiny import hidden_optimizer, tiny_spec

from hptransfer.optimizers.engine import ChainOptimizer

CASES = {case["name"]: case for case in json.loads((Path(__file__).parent / "golden" / "shampoo.json").read_text())}

# Rounding is all that may differ. In adam_half the first left factor has a null space of two, which the root inflates by 1e4.
TOLERANCES = {
    "plain": 1e-12,
    "adam_half": 1e-10,
    "adam_half_blocked_frequency_5": 1e-13,
    "blocked_decay": 1e-13,
    "sum": 1e-8,
}
# Sums of Gram matrices are t times their mean, which is a moving average with this beta2.
SUM_BETA2 = 1 - 2.0**-30


def recipe_of(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Our recipe and options."""
    options = {
        "beta1": case["betas"][0],
        "beta2": SUM_BETA2 if case["betas"][1] == 1 else case["betas"][1],
        "exponent": case["exponent"],
        "matrix_eps": case["epsilon"],
        "relative_eps": False,
        "precondition_frequency": case["frequency"],
        "block_size": case["block"] or 0,
    }
    if not case["grafting"]:
        return "shampoo-quarter", options
    assert case["grafting"]["beta2"] == options["beta2"]
    graft = {"eps": case["grafting"]["eps"], "graft_eps": 1e-16, "graft_per_block": True}
    return "shampoo", {**options, **graft, "precondition_start": case["start"]}


def optimizer_of(case: dict[str, Any], weight: torch.Tensor) -> ChainOptimizer:
    decay = case["lr"] * case["weight_decay"]
    return hidden_optimizer(tiny_spec(*recipe_of(case)), [weight], lr=case["lr"], weight_decay=decay)


@pytest.mark.parametrize("name", CASES)
def test_weights_of_distributed_shampoo(name: str) -> None:
    """The refreshes that ours has besides, at the first three steps, are refreshes there too: by frequency 1, or none before
    the start. A plain sum of Gram matrices, which ours does not have, is an average times t: with roots 1/4 on either side a
    schedule of 1/sqrt(t)."""
    case = CASES[name]
    shape = (case["shape"][0], case["shape"][1])
    weight, wanted = initial_weight(shape), torch.tensor(case["weights"], dtype=torch.float64)
    optimizer = optimizer_of(case, weight)
    for step in range(1, case["steps"] + 1):
        weight.grad = gradient(shape, step)
        optimizer.set_schedule(step**-0.5 if case["betas"][1] == 1 else 1.0)
        optimizer.step()
    assert ((weight - wanted).norm() / wanted.norm()).item() < TOLERANCES[name]
    assert (wanted - initial_weight(shape)).norm() > 0.02 * wanted.norm()
