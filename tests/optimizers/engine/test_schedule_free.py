"""The schedule-free recipes: y, z and x against a plain step in float64, and against the published package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from optimizers.engine.references import Direction, Shape, adam, distance, muon, normuon
from schedulefree import AdamWScheduleFree, AdamWScheduleFreeReference
from tiny import gradients, hidden_optimizer, tiny_spec
from torch import Tensor

from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.optimizers.engine.optimizer import FAST

STEPS, LR, DECAY, WARMUP = 20, 0.05, 0.015, 5


def start(shape: Shape, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


def averaged(optimizer: ChainOptimizer, weight: Tensor) -> Tensor:
    with optimizer.averaged():
        return weight.detach().clone()


def sf_normuon(shape: Shape) -> Direction:
    return normuon(shape, muon(shape, momentum=0.8, nesterov=False))


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)], ids=str)
@pytest.mark.parametrize(
    ("recipe", "options", "reference"),
    [
        ("schedulefree-adamw", {}, lambda s: adam(s, beta1=0.0, beta2=0.999)),
        ("schedulefree-adamw", {"interpolation": 0.6, "decay_at": "z"}, lambda s: adam(s, beta1=0.0, beta2=0.999)),
        ("schedulefree-adamw", {"beta2": 0.9, "eps": 0.1}, lambda s: adam(s, beta1=0.0, beta2=0.9, eps=0.1)),
        ("schedulefree-adamw", {"cautious_weight_decay": True}, lambda s: adam(s, beta1=0.0, beta2=0.999)),
        ("sf-normuon", {}, sf_normuon),
        ("sf-normuon", {"interpolation": 0.6, "decay_at": "y"}, sf_normuon),
        ("sf-normuon", {"cautious_weight_decay": True}, sf_normuon),
    ],
)
def test_plain_reference(recipe: str, options: dict[str, Any], reference: Callable[[Shape], Direction], shape: Shape) -> None:
    """y = (1 - b) z + b x; z takes the steps and decays, or y does; x averages z with weights (largest schedule factor so far)^2,
    which falls here at the end while its largest does not."""
    weight = start(shape)
    spec = tiny_spec(recipe, options)
    optimizer = hidden_optimizer(spec, [weight], lr=LR, weight_decay=DECAY)
    direction, b = reference(shape), options.get("interpolation", 0.9)
    decays = options.get("decay_at", "z" if recipe == "sf-normuon" else "y")
    x, y, z = weight.clone(), weight.clone(), weight.clone()
    total = largest = 0.0
    for t, grad in enumerate(gradients(shape, STEPS, torch.float64), start=1):
        s, q = min(1.0, t / WARMUP) if t < STEPS - 3 else 0.3, 1.0 if t % 2 else 0.5
        weight.grad = grad.clone()
        optimizer.set_schedule(s, q)
        optimizer.step()
        update, decaying = direction(grad, t), y if decays == "y" else z
        mask = (update * decaying > 0).double() if options.get("cautious_weight_decay") else 1.0
        largest = max(largest, s)
        total += largest**2
        z = z - s * (LR * update + q * DECAY * mask * decaying)
        x = x + largest**2 / total * (z - x)
        y = (1 - b) * z + b * x
        assert distance(weight, y) < 1e-9, t
        assert distance(optimizer.state[weight][FAST], z) < 1e-9, t
        assert distance(averaged(optimizer, weight), x) < 1e-9, t


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("decay_at", ["y", "z"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("shape", [(16, 16), (24, 8)], ids=str)
def test_the_published_schedule_free_adamw(
    shape: Shape, dtype: torch.dtype, tolerance: float, decay_at: str, warmup: int
) -> None:
    """schedulefree 1.4.1: training weights y, and the weights x of its eval(). Its decay is lr * wd, ours independent; its
    warm-up is our schedule factor. Decay at z is an option of its reference class only."""
    coupled = 0.3
    ours, theirs = start(shape, dtype), start(shape, dtype).requires_grad_()
    options = {"beta2": 0.97, "eps": 1e-3, "interpolation": 0.8, "decay_at": decay_at}
    optimizer = hidden_optimizer(tiny_spec("schedulefree-adamw", options), [ours], lr=LR, weight_decay=LR * coupled)
    settings = {"lr": LR, "betas": (0.8, 0.97), "eps": 1e-3, "weight_decay": coupled, "warmup_steps": warmup}
    if decay_at == "y":
        published = AdamWScheduleFree([theirs], **settings)
    else:
        published = AdamWScheduleFreeReference([theirs], **settings, decay_at_z=True)
    published.train()
    for step, grad in enumerate(gradients(shape, STEPS, dtype)):
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        optimizer.set_schedule(min(1.0, (step + 1) / warmup) if warmup else 1.0)
        optimizer.step()
        published.step()
        assert distance(ours, theirs.detach()) < tolerance
        published.eval()
        assert distance(averaged(optimizer, ours), theirs.detach()) < tolerance
        published.train()
    assert distance(ours, start(shape, dtype)) > 0.1


def test_x_is_the_plain_average_of_z_under_a_constant_schedule() -> None:
    """Whatever the constant; and the first step's x is its z."""
    weight, fast = start((6, 6)), []
    optimizer = hidden_optimizer(tiny_spec("sf-normuon"), [weight], lr=LR)
    for grad in gradients((6, 6), 7, torch.float64):
        weight.grad = grad
        optimizer.set_schedule(0.4)
        optimizer.step()
        fast.append(optimizer.state[weight][FAST].clone())
        assert distance(averaged(optimizer, weight), torch.stack(fast).mean(0)) < 1e-12


def test_a_step_of_schedule_0_before_all_others_is_no_step() -> None:
    """Its weight in the average is 0 of 0."""
    weight = start((6, 6))
    optimizer = hidden_optimizer(tiny_spec("schedulefree-adamw"), [weight], lr=LR)
    weight.grad = torch.ones_like(weight)
    optimizer.set_schedule(0.0)
    optimizer.step()
    assert distance(weight, start((6, 6))) < 1e-15
