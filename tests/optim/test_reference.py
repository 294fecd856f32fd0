"""Each recipe against a plain step written here: one matrix at a time, blocks cut out and never padded, eigh for every power."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import gradients, hidden_optimizer, tiny_spec
from torch import Tensor

STEPS, LR, DECAY = 12, 0.05, 0.01
SCHEDULE = [1.0, 0.3, 0.0, 0.8]
Direction = Callable[[Tensor, int], Tensor]


def power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values**exponent) @ vectors.T


def cut(shape: tuple[int, int], block: int) -> list[tuple[slice, slice]]:
    rows, columns = ([slice(i, min(i + (block or d), d)) for i in range(0, d, block or d)] for d in shape)
    return [(row, column) for row in rows for column in columns]


def adamw(shape: tuple[int, int], block: int, beta1: float = 0.9, beta2: float = 0.95, eps: float = 1e-8) -> Direction:
    m, v = torch.zeros(2, *shape, dtype=torch.float64)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m, v
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
        return m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps)

    return direction


def muon(shape: tuple[int, int], block: int) -> Direction:
    m = torch.zeros(shape, dtype=torch.float64)
    identity = torch.eye(shape[0], dtype=torch.float64)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        m = 0.95 * m + 0.05 * grad
        x = 0.05 * grad + 0.95 * m
        x = x / (x.norm() + 1e-8)
        for _ in range(5):
            gram = x @ x.T
            x = (3.4445 * identity - 4.7750 * gram + 2.0315 * torch.linalg.matrix_power(gram, 2)) @ x
        return x

    return direction


def shampoo(shape: tuple[int, int], block: int) -> Direction:
    blocks = cut(shape, block)
    left, right, roots = [0.0] * len(blocks), [0.0] * len(blocks), [(torch.empty(0), torch.empty(0))] * len(blocks)
    adam = adamw(shape, block, beta1=0.95)
    m = torch.zeros(shape, dtype=torch.float64)

    def inverse_root(gram: Tensor) -> Tensor:
        ridge = 1e-5 * torch.linalg.eigvalsh(gram)[-1]
        return power(gram + ridge * torch.eye(len(gram), dtype=torch.float64), -1 / 2)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        m = 0.95 * m + 0.05 * grad
        update = torch.empty(shape, dtype=torch.float64)
        for i, (row, column) in enumerate(blocks):
            g = grad[row, column]
            left[i] = 0.95 * left[i] + 0.05 * g @ g.T
            right[i] = 0.95 * right[i] + 0.05 * g.T @ g
            if t <= 3 or t % 5 == 0:
                roots[i] = inverse_root(left[i]), inverse_root(right[i])
            update[row, column] = roots[i][0] @ m[row, column] @ roots[i][1]
        return update * adam(grad, t).norm() / update.norm()

    return direction


def soap(shape: tuple[int, int], block: int) -> Direction:
    blocks = cut(shape, block)
    left, right, v = [0.0] * len(blocks), [0.0] * len(blocks), [0.0] * len(blocks)
    bases: list[list[Tensor]] = [[] for _ in blocks]
    m = torch.zeros(shape, dtype=torch.float64)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        m = 0.95 * m + 0.05 * grad
        update = torch.empty(shape, dtype=torch.float64)
        for i, (row, column) in enumerate(blocks):
            g = grad[row, column]
            left[i] = 0.95 * left[i] + 0.05 * g @ g.T
            right[i] = 0.95 * right[i] + 0.05 * g.T @ g
            if t == 1:
                bases[i] = [torch.linalg.eigh(gram).eigenvectors.flip(1) for gram in (left[i], right[i])]
            ql, qr = bases[i]
            v[i] = 0.95 * v[i] + 0.05 * (ql.T @ g @ qr) ** 2
            rotated = (ql.T @ m[row, column] @ qr) / (1 - 0.95**t)
            update[row, column] = ql @ (rotated / ((v[i] / (1 - 0.95**t)).sqrt() + 1e-8)) @ qr.T
            if t % 5 == 0:
                for side, gram in enumerate((left[i], right[i])):
                    order = torch.diag(bases[i][side].T @ gram @ bases[i][side]).argsort(descending=True)
                    v[i] = v[i][order] if side == 0 else v[i][:, order]
                    bases[i][side] = torch.linalg.qr(gram @ bases[i][side][:, order]).Q
        return update

    return direction


def gradients_with_plain_start(shape: tuple[int, int], block: int) -> list[Tensor]:
    """Random gradients after a first one that is diagonal in each block: it leaves the null space of SOAP's first basis, which
    rounding would choose, along the axes."""
    grads = gradients(shape, STEPS, torch.float64)
    for row, column in cut(shape, block):
        first = grads[0][row, column]
        first.zero_().fill_diagonal_(1).mul_(torch.linspace(2, 1, first.size(1)))
    return grads


@pytest.mark.parametrize("shape", [(8, 8), (12, 10), (10, 12)])
@pytest.mark.parametrize(
    ("reference", "block"), [(adamw, 0), (muon, 0), (shampoo, 0), (shampoo, 4), (shampoo, 8), (soap, 0), (soap, 4), (soap, 8)]
)
def test_plain_reference(reference: Callable[..., Direction], block: int, shape: tuple[int, int]) -> None:
    """Weights agree after every step, weight decay and schedule included; blocks of 4 and 8 need not divide the matrix."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = weight.clone()
    options = {"block_size": block, "precondition_frequency": 5} if reference in (shampoo, soap) else {}
    optimizer = hidden_optimizer(tiny_spec(reference.__name__, options), [weight], lr=LR, weight_decay=DECAY)
    direction = reference(shape, block)
    for t, grad in enumerate(gradients_with_plain_start(shape, block), start=1):
        s = SCHEDULE[t % len(SCHEDULE)]
        weight.grad = grad.clone()
        optimizer.set_schedule(s)
        optimizer.step()
        expected = expected - s * (LR * direction(grad, t) + DECAY * expected)
        assert ((weight - expected).norm() / expected.norm()).item() < 1e-9, t
