"""torch.compile of a step: the same weights as without. Float64, because SOAP and Shampoo make rounding visible in float32."""

from __future__ import annotations

import logging

import pytest
import torch
from tiny import gradients, hidden_optimizer, tiny_spec
from torch import Tensor

from hptransfer.optimizers import RECIPES

# As these serve a hidden matrix, they are the recipe without the ending.
RECIPES_OF_HIDDEN = [recipe for recipe in RECIPES.names() if not recipe.endswith("-all")]
# aot_eager traces as the default backend does, down to kernels; a schedule that varies makes it compile every step anew.
FAST = ("adamw", "muon", "shampoo", "soap")  # one of each kind of state
CASES = [
    *(
        pytest.param(recipe, "aot_eager", False, marks=[] if recipe in FAST else [pytest.mark.slow])
        for recipe in RECIPES_OF_HIDDEN
    ),
    *((recipe, "eager", True) for recipe in ("adamw", "muon", "shampoo")),
    pytest.param("schedulefree-adamw", "aot_eager", True, marks=pytest.mark.slow),
]


def trained(recipe: str, *, backend: str | None, vary: bool, shape: tuple[int, int] = (8, 6)) -> Tensor:
    """The weight after 12 steps, over refreshes of the preconditioners."""
    torch.compiler.reset()
    options = {"precondition_frequency": 10} if "shampoo" in recipe or "soap" in recipe else {}
    weight = torch.ones(shape, dtype=torch.float64)
    optimizer = hidden_optimizer(tiny_spec(recipe, options), [weight], lr=0.1, weight_decay=0.01)
    step = torch.compile(optimizer.step, backend=backend) if backend else optimizer.step
    for number, grad in enumerate(gradients(shape, 12, torch.float64)):
        weight.grad = grad
        optimizer.set_schedule(1 - number / 12 if vary else 0.5)
        step()
    return weight


@pytest.mark.parametrize(("recipe", "backend", "vary"), CASES)
def test_a_compiled_step_is_the_step(recipe: str, backend: str, vary: bool, caplog) -> None:
    caplog.set_level(logging.ERROR, logger="torch._dynamo")
    compiled = trained(recipe, backend=backend, vary=vary)
    plain = trained(recipe, backend=None, vary=vary)
    torch.testing.assert_close(compiled, plain, rtol=1e-9, atol=1e-9)
    assert (plain - 1).norm() > 0.1
