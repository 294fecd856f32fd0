"""What goes wrong in a run: decompositions that fail, gradients that are not finite or too large, settings that make no sense."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny import BATCH_TOKENS, gradients, hidden_optimizer, tiny_corpus, tiny_spec
from torch import Tensor

from hptransfer.base.errors import UsageError
from hptransfer.optimizers.engine import ChainOptimizer, clip_gradients
from hptransfer.trainers.ours import loop
from hptransfer.trainers.ours.build import build_model
from hptransfer.trainers.ours.loop import train

CORPUS = tiny_corpus()
MARK = 1e4


def failing(function: Callable[[Tensor], Any], fails: Callable[[Tensor], bool]) -> Callable[[Tensor], Any]:
    """The decomposition, which refuses some inputs as LAPACK does."""

    def refusing(x: Tensor) -> Any:
        if fails(x):
            raise torch.linalg.LinAlgError("did not converge")
        return function(x)

    return refusing


def stepped(recipe: str, grads: list[list[Tensor]], options: dict[str, Any] | None = None) -> tuple[list[Tensor], ChainOptimizer]:
    """Weights after one step per gradient of each."""
    weights = [torch.zeros_like(one[0]) for one in grads]
    defaults = {"block_size": 0, "precondition_frequency": 4}
    optimizer = hidden_optimizer(tiny_spec(recipe, defaults | (options or {})), weights, lr=0.1)
    for at_step in zip(*grads, strict=True):
        for weight, grad in zip(weights, at_step, strict=True):
            weight.grad = grad.clone()
        optimizer.step()
    return weights, optimizer


@pytest.mark.parametrize("recipe", ["shampoo", "shampoo-quarter", "soap"])
def test_a_decomposition_that_fails_in_float32_is_done_in_float64(recipe: str, monkeypatch) -> None:
    """The whole stack at once; nothing is lost by it."""
    grads = [gradients((8, 6), 9, torch.float32, seed) for seed in (0, 1)]
    # A plain first gradient: SOAP's null space would depend on the precision.
    for one in grads:
        one[0].zero_().fill_diagonal_(1).mul_(torch.linspace(2, 1, 6))
    plain, _ = stepped(recipe, grads)
    dimensions = set()

    def narrow(x: Tensor) -> bool:
        dimensions.add(x.dim())
        return x.dtype == torch.float32

    for name in ("eigh", "qr"):
        monkeypatch.setattr(torch.linalg, name, failing(getattr(torch.linalg, name), narrow))
    weights, optimizer = stepped(recipe, grads)
    assert optimizer.failures == 0 and dimensions == {5}
    for ours, wanted in zip(weights, plain, strict=True):
        assert ((ours - wanted).norm() / wanted.norm()).item() < 1e-4


@pytest.mark.parametrize("broken", ["raises", "nan"])
@pytest.mark.parametrize(
    ("recipe", "decomposition", "suffix"),
    [("shampoo", "eigh", "root"), ("shampoo-quarter", "eigh", "root"), ("soap", "qr", "basis")],
)
def test_one_that_fails_altogether_keeps_its_last_result(
    recipe: str, decomposition: str, suffix: str, broken: str, monkeypatch
) -> None:
    """Only that block of that matrix: all others are refreshed as if nothing had been. Its gradient at the last step, when all
    are refreshed and SOAP builds no more, has a mark by which the decomposition knows it."""
    steps = 6
    sides = {"precondition_frequency": steps, "block_size": 4}
    grads = [gradients((8, 4), steps, torch.float32, seed) for seed in (0, 1)]
    for one in grads:
        for i in (0, 4):
            one[0][i : i + 4].zero_().fill_diagonal_(1).mul_(torch.linspace(2, 1, 4))
    grads[1][-1][4:] *= MARK
    _, before = stepped(recipe, [one[:-1] for one in grads], sides)
    _, plain = stepped(recipe, grads, sides)
    function = getattr(torch.linalg, decomposition)

    def refusing(x: Tensor) -> Any:
        marked = x.flatten(-2).abs().amax(-1) > MARK
        if broken == "raises" and marked.any():
            raise torch.linalg.LinAlgError("did not converge")
        return function(torch.where(marked[..., None, None], torch.nan, x))

    monkeypatch.setattr(torch.linalg, decomposition, refusing)
    _, optimizer = stepped(recipe, grads, sides)
    states = [[one.state[weight] for weight in one.param_groups[0]["params"]] for one in (optimizer, plain, before)]
    name = "soap" if recipe == "soap" else "shampoo"
    for side in ("L", "R"):
        ours, refreshed, last = ([state[f"{name}.{side}_{suffix}"] for state in of] for of in states)
        torch.testing.assert_close(ours[0], refreshed[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours[1][0], refreshed[1][0], rtol=1e-4, atol=1e-5)
        order = slice(None)
        if recipe == "soap":  # columns are sorted whether they turn or not
            gram, old = states[0][1][f"soap.{side}"][1, 0], last[1][1, 0]
            order = (old * (gram @ old)).sum(0).argsort(descending=True)
        assert torch.equal(ours[1][1, 0], last[1][1, 0][:, order])
        assert (ours[1][1] - refreshed[1][1]).abs().max() > 1e-3
    assert optimizer.failures == 2  # its L and its R
    assert plain.failures == before.failures == 0
    assert all(weight.isfinite().all() for weight in optimizer.param_groups[0]["params"])


def test_failures_are_counted_over_a_run_and_recorded(monkeypatch) -> None:
    """Shampoo in blocks of 16 has 4 + 4 + 4 blocks at width 16, two factors each, refreshed at steps 1, 2, 3, 10, 20 and 30."""
    monkeypatch.setattr(torch.linalg, "eigh", failing(torch.linalg.eigh, lambda x: True))
    record = train(tiny_spec("shampoo"), CORPUS)
    assert record.outcome.metrics["factor_failures"] == (4 + 4 + 4) * 2 * 6
    assert record.state == "complete" and record.loss < math.log(32) - 0.5  # by roots that stayed the identity
    monkeypatch.undo()
    assert train(tiny_spec("shampoo"), CORPUS).outcome.metrics["factor_failures"] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("recipe", ["adamw", "muon", "shampoo", "soap", "schedulefree-adamw"])
def test_a_gradient_that_is_not_finite_ends_the_run_before_the_step(recipe: str, value: float, monkeypatch) -> None:
    """Although the loss is finite."""
    calls: list[int] = []
    build = loop.build_model

    def poison(grad: Tensor) -> Tensor:
        calls.append(1)
        return torch.full_like(grad, value) if len(calls) == 6 else grad

    def building(spec):
        model = build(spec)
        model.readout.weight.register_hook(poison)
        return model

    monkeypatch.setattr(loop, "build_model", building)
    record = train(tiny_spec(recipe), CORPUS)
    assert (record.state, record.outcome.steps, record.loss) == ("diverged", 5, None)
    assert record.outcome.reason == f"gradient norm {value} at step 5"
    assert record.outcome.metrics["factor_failures"] == 0


@pytest.mark.parametrize("largest", [0.5, 1e6, None])
def test_clipping_is_torchs(largest: float | None) -> None:
    ours, theirs = ([torch.zeros(4, 3), torch.zeros(5)] for _ in range(2))
    for one in (ours, theirs):
        for index, weight in enumerate(one):
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(index))
    plain = [weight.grad.clone() for weight in ours]
    norm = math.sqrt(sum(grad.square().sum().item() for grad in plain))
    assert clip_gradients(ours, largest).item() == pytest.approx(norm)
    if largest is None:
        assert all(torch.equal(weight.grad, grad) for weight, grad in zip(ours, plain, strict=True))
        return
    torch.nn.utils.clip_grad_norm_(theirs, largest)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))
    assert clip_gradients(ours, None).item() == pytest.approx(min(norm, largest), rel=1e-5)


def test_clipping_without_a_gradient() -> None:
    """A weight that has none counts as zero."""
    weights = [torch.zeros(3), torch.zeros(2)]
    assert clip_gradients(weights, 1.0).item() == 0
    weights[0].grad = torch.tensor([3.0, 4.0, 0.0])
    assert clip_gradients(weights, 1.0).item() == pytest.approx(5)
    torch.testing.assert_close(weights[0].grad, torch.tensor([0.6, 0.8, 0.0]))


def test_clip_norm_reaches_the_loop() -> None:
    """Sgd whose gradients are clipped to almost nothing does not move; one clipped to more than they have is as without."""
    losses = {norm: train(tiny_spec("sgd", {"clip_norm": norm}), CORPUS).loss for norm in (1e-6, 1e3, None)}
    assert losses[1e-6] == pytest.approx(math.log(32), abs=1e-3)
    assert losses[1e3] == losses[None] < 3.0


@pytest.mark.parametrize("shape", ["linear", "cosine", "trapezoid"])
@pytest.mark.parametrize("recipe", ["schedulefree-adamw", "sf-normuon"])
def test_schedule_free_refuses_a_schedule_that_decays(recipe: str, shape: str) -> None:
    with pytest.raises(ValidationError, match=f"schedule.shape must be constant, not {shape}"):
        tiny_spec(recipe, **{"schedule.shape": shape})
    assert tiny_spec(recipe, **{"schedule.weight_decay": "linear", "schedule.warmup_tokens": 2 * BATCH_TOKENS})


@pytest.mark.parametrize("recipe", ["shampoo", "shampoo-quarter", "soap", "soap-all"])
def test_mup_refuses_an_axis_that_is_preconditioned_at_one_width_only(recipe: str) -> None:
    """Width 16 has axes of 16 and 64, width 64 of 64 and 256."""
    changes = {"model.width": 64}
    for longest in (15, 300):
        tiny_spec(recipe, {"max_preconditioner_dim": longest}, **changes)
    for longest, kind in ((20, "attention"), (100, "mlp_in")):
        with pytest.raises(
            ValidationError, match=f"no width rule: .*{kind if recipe != 'soap-all' else ''}.* not preconditioned"
        ):
            tiny_spec(recipe, {"max_preconditioner_dim": longest}, **changes)
        tiny_spec(recipe, {"max_preconditioner_dim": longest}, parametrization="sp", **changes)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("muon", {"ns_steps": 0}),
        ("muon", {"ns_steps": 100}),
        ("muon", {"orthogonal_map": "jordon"}),
        ("muon", {"lr_convention": "keller"}),
        ("muon", {"beta1": 0.9}),
        ("normuon", {"lr_convention": "original"}),
        ("adamw", {"beta2": 1.0}),
        ("adamw", {"eps": 0.0}),
        ("adamw", {"clip_norm": 0.0}),
        ("sgd", {"momentum": 1.0}),
        ("shampoo", {"precondition_frequency": 0}),
        ("shampoo", {"exponent": 0.0}),
        ("soap", {"block_size": -1}),
        ("schedulefree-adamw", {"interpolation": 0.0}),
        ("schedulefree-adamw", {"interpolation": 1.0}),
        ("schedulefree-adamw", {"beta1": 0.9}),
    ],
)
def test_options_out_of_range_or_unknown(recipe: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        tiny_spec(recipe, options)


def test_ns_steps_may_be_1_to_99() -> None:
    for steps in (1, 99, None):
        assert tiny_spec("muon", {"ns_steps": steps}).optimizer.resolved_options.ns_steps == steps


@pytest.mark.parametrize("recipe", ["adamw", "muon", "schedulefree-adamw", "sf-normuon"])
def test_bfloat16_parameters_lose_no_small_steps(recipe: str) -> None:
    """Weight decay of 1e-3 and steps of 1e-4 are below what bfloat16 resolves at 1: a float32 copy takes them."""
    narrow, wide = torch.ones(6, 4, dtype=torch.bfloat16), torch.ones(6, 4)
    for weight in (narrow, wide):
        optimizer = hidden_optimizer(tiny_spec(recipe), [weight], lr=1e-4, weight_decay=1e-3)
        for grad in gradients((6, 4), 200, torch.float32):
            weight.grad = grad.to(torch.bfloat16).to(weight.dtype)
            optimizer.step()
    assert (narrow.float() - wide).abs().max() < 0.005
    assert (wide - 1).abs().min() > 0.08


def test_a_matrix_of_zeros_has_no_norm_to_keep() -> None:
    weights = [torch.eye(4), torch.zeros(4, 4)]
    with pytest.raises(UsageError, match="attention starts at zero"):
        hidden_optimizer(tiny_spec("muonh"), weights, lr=0.1).allocate()


def test_a_model_whose_norms_are_kept_starts_with_them() -> None:
    """Outputs that other recipes start at zero are drawn as wide as the rest: |W|_F is about sqrt(d_out). The others are the
    same weights."""
    drawn, zero = (build_model(tiny_spec(recipe)).state_dict() for recipe in ("muonh", "muon"))
    for name, weight in drawn.items():
        if zero[name].any() or name == "readout.weight":
            assert torch.equal(weight, zero[name])
        else:
            assert weight.norm().item() == pytest.approx(math.sqrt(len(weight)), rel=0.2)
    assert any(weight.any() and not zero[name].any() for name, weight in drawn.items())
