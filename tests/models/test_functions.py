"""The passes written out by hand against autograd's on the plain formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hptransfer.models import loss
from hptransfer.models.gpt import functions
from hptransfer.models.gpt.functions import causal_attention, rms_norm, rotate, rotation
from hptransfer.models.loss import linear_cross_entropy


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def labels(count: int, vocab: int) -> Tensor:
    drawn = torch.randint(0, vocab, (count,), generator=torch.Generator().manual_seed(3))
    drawn[1] = -100
    return drawn


def plain_rms_norm(x: Tensor, gain: Tensor | None = None) -> Tensor:
    return F.rms_norm(x, (x.size(-1),), gain)


def plain_rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.size(-1) // 2
    (a, b), c, s = x.split(half, -1), cos[..., :half], sin[..., half:]
    return torch.cat((a * c - b * s, a * s + b * c), -1)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bthd,bshd->bhts", q, k) / q.size(-1) ** 0.5
    future = torch.ones(q.size(1), q.size(1), dtype=torch.bool).triu(1)
    return torch.einsum("bhts,bshd->bthd", scores.masked_fill(future, -torch.inf).softmax(-1), v)


def plain_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((x @ weight.T).to(torch.promote_types(x.dtype, torch.float32)), targets)


TABLES = rotation(10, 6)
# A context that no block of queries divides, and heads that no group holds evenly.
QKV = [draw(3, 70, 3, 4, seed=seed) for seed in range(3)]
CASES = {
    "norm": (rms_norm, plain_rms_norm, [draw(2, 5, 7)]),
    "norm with gains": (rms_norm, plain_rms_norm, [draw(2, 5, 7), draw(7, seed=1)]),
    "rotation": (rotate, plain_rotate, [draw(2, 10, 3, 6), *TABLES]),
    "attention": (causal_attention, plain_attention, QKV),
    "loss": (linear_cross_entropy, plain_cross_entropy, [draw(1100, 5), draw(11, 5, seed=1), labels(1100, 11)]),
}
PARAMETRIZE = pytest.mark.parametrize("case", CASES)

Function = Callable[..., Tensor]


def outcome(function: Function, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The result and the gradients under a fixed gradient of it."""
    y = function(*inputs)
    return y, *torch.autograd.grad(y, [x for x in inputs if x.requires_grad], torch.linspace(-1, 1, y.numel()).to(y).view_as(y))


@PARAMETRIZE
def test_result_and_gradients_are_those_of_the_plain_formula(case: str) -> None:
    ours, plain, inputs = CASES[case]
    torch.testing.assert_close(outcome(ours, inputs), outcome(plain, inputs), rtol=1e-11, atol=1e-13)


@PARAMETRIZE
def test_gradcheck(case: str, monkeypatch) -> None:
    monkeypatch.setattr(functions, "QUERIES", 3)
    monkeypatch.setattr(functions, "HEADS", 2)
    ours, _, inputs = CASES[case]
    few = {
        "attention": [draw(3, 5, 3, 4, seed=seed) for seed in range(3)],
        "loss": [draw(5, 3), draw(4, 3, seed=1), labels(5, 4)],
    }
    assert torch.autograd.gradcheck(ours, few.get(case, inputs))


@PARAMETRIZE
def test_bfloat16(case: str) -> None:
    """As near to the exact values as the plain formula in bfloat16, within a factor."""
    ours, plain, inputs = CASES[case]
    narrow = [x.detach().bfloat16().requires_grad_(x.requires_grad) if x.is_floating_point() else x for x in inputs]
    wide = [x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x for x in narrow]
    for got, usual, exact in zip(outcome(ours, narrow), outcome(plain, narrow), outcome(plain, wide), strict=True):
        assert got.dtype == usual.dtype
        assert (got - exact).norm() <= 1.5 * (usual - exact).norm() + 1e-7 * exact.norm()


@PARAMETRIZE
def test_compiled(case: str) -> None:
    """Traced down to kernels as the default backend does."""
    torch.compiler.reset()
    ours, _, inputs = CASES[case]
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(outcome(compiled, inputs), outcome(ours, inputs), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_and_chunks(reduction: loss.Reduction, monkeypatch) -> None:
    x, weight, targets = CASES["loss"][2]
    wanted = F.cross_entropy(x @ weight.T, targets, reduction=reduction)
    for logits in (1, 2**30):
        monkeypatch.setattr(loss, "CPU_LOGITS", logits)
        with_gradient = linear_cross_entropy(x, weight, targets, reduction)
        torch.testing.assert_close(with_gradient, wanted, rtol=1e-12, atol=1e-12)
        assert with_gradient.requires_grad
        with torch.no_grad():
            torch.testing.assert_close(linear_cross_entropy(x, weight, targets, reduction), wanted, rtol=1e-12, atol=1e-12)


def test_a_long_context_goes_to_torchs_attention(monkeypatch) -> None:
    monkeypatch.setattr(functions, "LONG_CONTEXT", 8)
    torch.testing.assert_close(outcome(causal_attention, QKV), outcome(plain_attention, QKV), rtol=1e-11, atol=1e-13)
