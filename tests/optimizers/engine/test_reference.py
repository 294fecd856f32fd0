"""Each recipe against its plain step in `references`: weights agree after every step, with weight decay and schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from optimizers.engine.references import (
    Direction,
    Shape,
    adam,
    adamuon,
    along_the_sphere,
    cut,
    distance,
    muon,
    normuon,
    rms,
    sgd,
    shampoo,
    signum,
    soap,
    spectral,
)
from tiny import BATCH_TOKENS, gradients, hidden_optimizer, tiny_spec
from torch import Tensor

from hptransfer.optimizers.engine import ChainOptimizer

STEPS, LR, DECAY = 12, 0.05, 0.01
SCHEDULE, DECAY_SCHEDULE = [1.0, 0.3, 0.0, 0.8], [1.0, 0.5, 0.0]


def plain_start(shape: Shape, steps: int = STEPS, block: int = 0, *, rows: bool = True, columns: bool = True) -> list[Tensor]:
    """Random gradients after a first one that is diagonal in each block: it leaves the null space of SOAP's first basis, which
    rounding would choose, along the axes."""
    grads = gradients(shape, steps, torch.float64)
    for i in cut(shape, block, rows=rows, columns=columns):
        first = grads[0][i]
        first.zero_().fill_diagonal_(1).mul_(torch.linspace(2, 1, first.size(1)))
    return grads


def follow(
    optimizer: ChainOptimizer, weight: Tensor, direction: Direction, grads: list[Tensor], *, cautious: bool = False
) -> None:
    """Step both and compare them: W <- W - s (LR U + q DECAY W), masked entry by entry where decay is cautious."""
    expected = weight.clone()
    for t, grad in enumerate(grads, start=1):
        s, q = SCHEDULE[t % len(SCHEDULE)], DECAY_SCHEDULE[t % len(DECAY_SCHEDULE)]
        weight.grad = grad.clone()
        optimizer.set_schedule(s, q)
        optimizer.step()
        update = direction(grad, t)
        mask = (update * expected > 0).double() if cautious else 1.0
        expected = expected - s * (LR * update + q * DECAY * mask * expected)
        assert distance(weight, expected) < 1e-9, t


def start(shape: Shape) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


Case = tuple[str, dict[str, Any], Callable[[Shape], Direction]]

# recipe, options, the plain step with the same options
CASES: list[Case] = [
    ("adamw", {}, lambda s: adam(s)),
    ("adamw", {"beta1": 0.8, "beta2": 0.97, "eps": 1e-2}, lambda s: adam(s, beta1=0.8, beta2=0.97, eps=1e-2)),
    ("adamw", {"beta1": 0.0}, lambda s: adam(s, beta1=0.0)),
    ("signum", {}, lambda s: signum(s)),
    ("signum", {"momentum": 0.7}, lambda s: signum(s, momentum=0.7)),
    ("sgd", {}, lambda s: sgd(s)),
    ("sgd", {"nesterov": True, "momentum": 0.7}, lambda s: sgd(s, nesterov=True, momentum=0.7)),
    ("sgd", {"momentum": 0.0}, lambda s: sgd(s, momentum=0.0)),
    ("muon", {}, lambda s: muon(s)),
    ("muon", {"orthogonal_map": "polar_express"}, lambda s: muon(s, map="polar_express")),
    ("muon", {"orthogonal_map": "dion", "eps": 0.1}, lambda s: muon(s, map="dion", eps=0.1)),
    ("muon", {"orthogonal_map": "modula", "ns_steps": 7}, lambda s: muon(s, map="modula", steps=7)),
    ("muon", {"orthogonal_map": "contractive", "nesterov": False}, lambda s: muon(s, map="contractive", nesterov=False)),
    ("muon", {"orthogonal_map": "polar_express", "ns_steps": 7}, lambda s: muon(s, map="polar_express", steps=7)),
    ("muon", {"momentum": 0.8, "ns_steps": 3}, lambda s: muon(s, momentum=0.8, steps=3)),
    ("muon", {"momentum_warmup_tokens": 5 * BATCH_TOKENS}, lambda s: muon(s, warmup=5)),
    (
        "muon",
        {"momentum_warmup_tokens": 4 * BATCH_TOKENS, "momentum_start": 0.2, "momentum": 0.9},
        lambda s: muon(s, warmup=4, start=0.2, momentum=0.9),
    ),
    ("normuon", {}, lambda s: normuon(s, muon(s))),
    ("normuon", {"preserve_norm": True}, lambda s: normuon(s, muon(s), preserve=True)),
    (
        "normuon",
        {"beta2": 0.8, "eps": 0.1, "ns_eps": 0.2, "orthogonal_map": "dion"},
        lambda s: normuon(s, muon(s, eps=0.2, map="dion"), beta2=0.8, eps=0.1),
    ),
    ("adamuon", {}, lambda s: adamuon(s, muon(s))),
    (
        "adamuon",
        {"beta2": 0.8, "eps": 0.1, "ns_eps": 0.2, "nesterov": False},
        lambda s: adamuon(s, muon(s, eps=0.2, nesterov=False), beta2=0.8, eps=0.1),
    ),
]

FIVE = {"precondition_frequency": 5}
# The same for optimizers with blocks, whose size is given to both.
BLOCKED: list[tuple[str, dict[str, Any], Callable[..., Direction]]] = [
    ("shampoo", FIVE, lambda s, **b: shampoo(s, **b, frequency=5)),
    ("shampoo", {**FIVE, "graft_per_block": True}, lambda s, **b: shampoo(s, **b, frequency=5, graft="block")),
    ("shampoo", {**FIVE, "precondition_start": 4}, lambda s, **b: shampoo(s, **b, frequency=5, start=4)),
    (
        "shampoo",
        {**FIVE, "precondition_start": 2, "graft_per_block": True, "graft_eps": 0.5, "eps": 0.1},
        lambda s, **b: shampoo(s, **b, frequency=5, start=2, graft="block", graft_eps=0.5, eps=0.1),
    ),
    (
        "shampoo",
        {"precondition_frequency": 2, "relative_eps": False, "matrix_eps": 0.1, "exponent": 0.3},
        lambda s, **b: shampoo(s, **b, frequency=2, relative=False, ridge=0.1, exponent=0.3),
    ),
    ("shampoo", {"beta1": 0.8, "beta2": 0.9}, lambda s, **b: shampoo(s, **b, beta1=0.8, beta2=0.9)),
    ("shampoo-quarter", {}, lambda s, **b: shampoo(s, **b, exponent=0.25, frequency=1, graft=None)),
    (
        "shampoo-quarter",
        {**FIVE, "relative_eps": False, "matrix_eps": 0.1, "beta1": 0.8, "beta2": 0.9},
        lambda s, **b: shampoo(s, **b, exponent=0.25, frequency=5, graft=None, relative=False, ridge=0.1, beta1=0.8, beta2=0.9),
    ),
    ("soap", FIVE, lambda s, **b: soap(s, **b, frequency=5)),
    ("soap", {"precondition_frequency": 1}, lambda s, **b: soap(s, **b, frequency=1)),
    ("soap", {**FIVE, "one_sided": True}, lambda s, **b: soap(s, **b, frequency=5, columns=False)),
    ("soap", {**FIVE, "factorised": True}, lambda s, **b: soap(s, **b, frequency=5, factorised=True)),
    (
        "soap",
        {**FIVE, "factorised": True, "one_sided": True},
        lambda s, **b: soap(s, **b, frequency=5, factorised=True, columns=False),
    ),
    (
        "soap",
        {**FIVE, "skip_first_step": True, "beta1": 0.8, "beta2": 0.9, "eps": 0.1},
        lambda s, **b: soap(s, **b, frequency=5, skip_first=True, beta1=0.8, beta2=0.9, eps=0.1),
    ),
]

SHAPES = pytest.mark.parametrize("shape", [(8, 8), (12, 10), (10, 12)], ids=str)


def named(cases: list[Any]) -> list[Any]:
    return [pytest.param(*case, id=f"{case[0]}-{'-'.join(f'{k}={v}' for k, v in case[1].items())}") for case in cases]


@SHAPES
@pytest.mark.parametrize(("recipe", "options", "reference"), named(CASES))
def test_plain_reference(recipe: str, options: dict[str, Any], reference: Callable[[Shape], Direction], shape: Shape) -> None:
    weight = start(shape)
    optimizer = hidden_optimizer(tiny_spec(recipe, options), [weight], lr=LR, weight_decay=DECAY)
    follow(optimizer, weight, reference(shape), gradients(shape, STEPS, torch.float64))


@SHAPES
@pytest.mark.parametrize("block", [0, 4, 8])
@pytest.mark.parametrize(("recipe", "options", "reference"), named(BLOCKED))
def test_plain_reference_in_blocks(
    recipe: str, options: dict[str, Any], reference: Callable[..., Direction], block: int, shape: Shape
) -> None:
    """Blocks of 4 and 8 need not divide the matrix."""
    weight = start(shape)
    spec = tiny_spec(recipe, {**options, "block_size": block})
    optimizer = hidden_optimizer(spec, [weight], lr=LR, weight_decay=DECAY)
    follow(optimizer, weight, reference(shape, block=block), plain_start(shape, block=block))


# kind of weight, the axes of its tensor that are preconditioned: rows, columns
ONE_SIDED: list[tuple[str, str, dict[str, Any], tuple[bool, bool]]] = [
    # The vocabulary is left alone: an embedding (V, D) has it as its rows, as a readout (V, D) has.
    ("shampoo-quarter-all", "embedding", {}, (False, True)),
    ("shampoo-quarter-all", "readout", {}, (False, True)),
    ("soap-all", "embedding", {}, (False, True)),
    ("soap-all", "readout", {}, (False, True)),
    # An axis beyond max_preconditioner_dim too: mlp_in is (64, 16), mlp_out (16, 64).
    ("shampoo-quarter", "mlp_in", {"max_preconditioner_dim": 63}, (False, True)),
    ("shampoo-quarter", "mlp_out", {"max_preconditioner_dim": 63}, (True, False)),
    ("shampoo", "mlp_out", {"max_preconditioner_dim": 63}, (True, False)),
    ("soap", "mlp_in", {"max_preconditioner_dim": 63}, (False, True)),
    ("soap", "mlp_in", {"max_preconditioner_dim": 15}, (False, False)),
    ("soap", "mlp_in", {"one_sided": True}, (False, True)),
    ("soap", "mlp_out", {"one_sided": True}, (True, False)),
]


@pytest.mark.parametrize("shape", [(12, 8), (5, 8), (8, 12)], ids=str)
@pytest.mark.parametrize("block", [0, 4])
@pytest.mark.parametrize(("recipe", "kind", "options", "axes"), ONE_SIDED)
def test_one_sided(recipe: str, kind: str, options: dict[str, Any], axes: tuple[bool, bool], block: int, shape: Shape) -> None:
    """The chain of that kind of weight, on a small tensor."""
    weight, sides = start(shape), {"block": block, "rows": axes[0], "columns": axes[1]}
    spec = tiny_spec(recipe, {**FIVE, "block_size": block, **options})
    if recipe.startswith("soap"):
        direction, grads = soap(shape, **sides, frequency=5), plain_start(shape, **sides)
    elif recipe == "shampoo":
        direction, grads = shampoo(shape, **sides, frequency=5), gradients(shape, STEPS, torch.float64)
    else:
        direction = shampoo(shape, **sides, frequency=5, exponent=0.25, graft=None)
        grads = gradients(shape, STEPS, torch.float64)
    follow(hidden_optimizer(spec, [weight], lr=LR, weight_decay=DECAY, kind=kind), weight, direction, grads)


@pytest.mark.parametrize(
    ("recipe", "kind", "reference"),
    [
        ("muon", "embedding", lambda s: adam(s, beta1=0.7, beta2=0.8, eps=0.1)),
        ("soap", "readout", lambda s: adam(s, beta1=0.7, beta2=0.8, eps=0.1)),
        ("muon-all", "embedding", muon),
        ("muon-all", "readout", muon),
    ],
)
def test_embedding_and_readout(recipe: str, kind: str, reference: Callable[[Shape], Direction]) -> None:
    """Adam with its own options, or with -all the recipe itself."""
    shape = (12, 8)
    weight = start(shape)
    options = {} if recipe.endswith("-all") else {"adam": {"beta1": 0.7, "beta2": 0.8, "eps": 0.1}}
    optimizer = hidden_optimizer(tiny_spec(recipe, options), [weight], lr=LR, weight_decay=DECAY, kind=kind)
    follow(optimizer, weight, reference(shape), gradients(shape, STEPS, torch.float64))


@pytest.mark.parametrize(
    ("recipe", "options", "reference"),
    [
        ("adamw", {"eps": 1e-2, "beta1": 0.8}, lambda s: adam(s, eps=1e-2, beta1=0.8)),
        ("adamw", {"beta1": 0.0}, lambda s: adam(s, beta1=0.0)),
        ("sgd", {"nesterov": True}, lambda s: sgd(s, nesterov=True)),
    ],
)
def test_without_the_fused_kernel(recipe: str, options: dict[str, Any], reference: Callable[[Shape], Direction]) -> None:
    """Where decay is cautious, even of nothing, torch's kernels for Adam and SGD do not serve."""
    weight, shape = start((8, 8)), (8, 8)
    optimizer = hidden_optimizer(
        tiny_spec(recipe, options | {"cautious_weight_decay": True}), [weight], lr=LR, weight_decay=DECAY
    )
    follow(optimizer, weight, reference(shape), gradients(shape, STEPS, torch.float64), cautious=True)


@pytest.mark.parametrize(("recipe", "reference"), [("muon", muon), ("normuon", lambda s: normuon(s, muon(s)))])
def test_cautious_weight_decay(recipe: str, reference: Callable[[Shape], Direction]) -> None:
    """Only entries that the update moves towards zero decay."""
    shape = (8, 8)
    weight = start(shape)
    spec = tiny_spec(recipe, {"cautious_weight_decay": True})
    optimizer = hidden_optimizer(spec, [weight], lr=LR, weight_decay=DECAY)
    follow(optimizer, weight, reference(shape), gradients(shape, STEPS, torch.float64), cautious=True)


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)], ids=str)
@pytest.mark.parametrize(
    ("recipe", "reference"),
    [("adamw", adam), ("sgd", sgd), ("muon", muon), ("shampoo", lambda s: shampoo(s)), ("soap", lambda s: soap(s))],
)
def test_spectral(recipe: str, reference: Callable[[Shape], Direction], shape: Shape) -> None:
    """Behind any recipe, for hidden matrices and readout; five iterations a step over the first 50 steps, then one."""
    weight, steps = start(shape), 55 if recipe == "adamw" else STEPS
    options = {"block_size": 0} if recipe in ("shampoo", "soap") else {}
    spec = tiny_spec(recipe, options, parametrization="spectral")
    optimizer = hidden_optimizer(spec, [weight], lr=LR, weight_decay=DECAY)
    optimizer.allocate()
    v = optimizer.state[weight]["spectral.v"].squeeze().clone()
    assert v.norm().item() == pytest.approx(1)
    follow(optimizer, weight, spectral(reference(shape), v), plain_start(shape, steps))


@pytest.mark.parametrize(("recipe", "reference"), [("adamw", adam), ("sgd", sgd), ("muon", adam), ("muon-all", muon)])
def test_rms_of_an_embedding_under_spectral(recipe: str, reference: Callable[[Shape], Direction]) -> None:
    shape = (12, 8)
    weight = start(shape)
    spec = tiny_spec(recipe, parametrization="spectral")
    optimizer = hidden_optimizer(spec, [weight], lr=LR, weight_decay=DECAY, kind="embedding")
    follow(optimizer, weight, rms(reference(shape)), gradients(shape, STEPS, torch.float64))


# recipe, options, the plain step whose directions it takes
SPHERES: list[Case] = [
    ("adamh", {"eps": 1e-2}, lambda s: adam(s, eps=1e-2)),
    ("muonh", {}, lambda s: muon(s)),
    ("muonh", {"orthogonal_map": "contractive", "nesterov": False}, lambda s: muon(s, map="contractive", nesterov=False)),
    ("shampooh", {**FIVE, "block_size": 4}, lambda s: shampoo(s, block=4, exponent=0.5, frequency=5, graft=None)),
    ("soaph", {**FIVE, "block_size": 0}, lambda s: soap(s, frequency=5)),
]


@SHAPES
@pytest.mark.parametrize(("recipe", "options", "reference"), named(SPHERES))
def test_hyperball(recipe: str, options: dict[str, Any], reference: Callable[[Shape], Direction], shape: Shape) -> None:
    """The directions of the optimizer inside, in steps of a fixed size along a sphere."""
    weight, direction = start(shape), reference(shape)
    expected, radius = weight.clone(), weight.norm().item()
    optimizer = hidden_optimizer(tiny_spec(recipe, options), [weight], lr=LR)
    for t, grad in enumerate(plain_start(shape, block=options.get("block_size", 0)), start=1):
        s, weight.grad = SCHEDULE[t % len(SCHEDULE)], grad.clone()
        optimizer.set_schedule(s)
        optimizer.step()
        update = direction(grad, t)
        expected = along_the_sphere(expected, update, s * LR, radius) if update.any() else expected
        assert distance(weight, expected) < 1e-9, t
