"""Plain steps of every recipe, in float64: one matrix at a time, blocks cut out and never padded, eigh for every power.

Each function gives a direction: from a gradient and the step's number, counted from 1, to the update. Defaults are the recipes'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Shape = tuple[int, int]
Direction = Callable[[Tensor, int], Tensor]

# Preconditioners are refreshed at each of the first steps, whatever their frequency.
WAKING = 3

# (a, b, c) of s <- a s + b s^3 + c s^5, as published (reference/trainers.md sections 1.6 and 4).
COEFFICIENTS = {
    "jordan": [(3.4445, -4.7750, 2.0315)] * 5,
    "polar_express": [
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ],
    "dion": [
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ],
    "modula": [(3, -16 / 5, 6 / 5)] * 5,
    "contractive": [(2, -1.5, 0.5)] * 12,
}


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative to how far theirs is from zero."""
    return ((ours - theirs).norm() / theirs.norm()).item()


def power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values**exponent) @ vectors.T


def cut(shape: Shape, block: int, *, rows: bool = True, columns: bool = True) -> list[tuple[slice, slice]]:
    """The blocks of a matrix; an axis that is not preconditioned stays whole."""
    axes = [
        [slice(i, min(i + size, d)) for i in range(0, d, size)]
        for d, size in ((shape[0], block if block and rows else shape[0]), (shape[1], block if block and columns else shape[1]))
    ]
    return [(row, column) for row in axes[0] for column in axes[1]]


def adam(shape: Shape, *, beta1: float = 0.9, beta2: float = 0.95, eps: float = 1e-8) -> Direction:
    m, v = zeros(*shape), zeros(*shape)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m, v
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
        return m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps)

    return direction


def along_the_sphere(weight: Tensor, update: Tensor, lr: float, radius: float) -> Tensor:
    """Hyperball's step: the matrix keeps its norm, and the update's is a share of it."""
    moved = weight - lr * radius * update / update.norm()
    return radius * moved / moved.norm()


def signum(shape: Shape, *, momentum: float = 0.9) -> Direction:
    m = zeros(*shape)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        m = momentum * m + (1 - momentum) * grad
        return torch.sign(m)

    return direction


def sgd(shape: Shape, *, momentum: float = 0.9, nesterov: bool = False) -> Direction:
    buffer = zeros(*shape)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal buffer
        buffer = momentum * buffer + grad
        return grad + momentum * buffer if nesterov else buffer

    return direction


def muon(
    shape: Shape,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    warmup: int = 0,
    start: float = 0.85,
    map: str = "jordan",
    steps: int | None = None,
    eps: float = 1e-8,
) -> Direction:
    m, identity = zeros(*shape), torch.eye(shape[0], dtype=torch.float64)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        beta = momentum if t > warmup else start + (momentum - start) * (t - 1) / warmup
        m = beta * m + (1 - beta) * grad
        x = (1 - beta) * grad + beta * m if nesterov else m
        x = x / (x.norm() + eps)
        schedule = COEFFICIENTS[map]
        for i in range(steps or len(schedule)):
            a, b, c = schedule[min(i, len(schedule) - 1)]
            gram = x @ x.T
            x = (a * identity + b * gram + c * gram @ gram) @ x
        return x

    return direction


def normuon(shape: Shape, polar: Direction, *, beta2: float = 0.95, eps: float = 1e-8, preserve: bool = False) -> Direction:
    v = zeros(shape[0], 1)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal v
        x = polar(grad, t)
        v = beta2 * v + (1 - beta2) * (x**2).mean(1, keepdim=True)
        y = x / (v.sqrt() + eps)
        return y / y.norm() * (x.norm() if preserve else (shape[0] * shape[1]) ** 0.5)

    return direction


def adamuon(shape: Shape, polar: Direction, *, beta2: float = 0.95, eps: float = 1e-8) -> Direction:
    second = adam(shape, beta1=0.0, beta2=beta2, eps=eps)
    return lambda grad, t: second(polar(grad, t), t)


def shampoo(
    shape: Shape,
    *,
    block: int = 0,
    rows: bool = True,
    columns: bool = True,
    exponent: float = 0.5,
    beta1: float = 0.95,
    beta2: float = 0.95,
    ridge: float = 1e-5,
    relative: bool = True,
    frequency: int = 10,
    start: int = 1,
    graft: Literal["matrix", "block"] | None = "matrix",
    eps: float = 1e-8,
    graft_eps: float = 1e-12,
) -> Direction:
    blocks = cut(shape, block, rows=rows, columns=columns)
    grams = [[zeros(d, d) for d in zeros(*shape)[i].shape] for i in blocks]
    roots = [[torch.eye(len(gram), dtype=torch.float64) for gram in pair] for pair in grams]
    m, norms = zeros(*shape), adam(shape, beta1=beta1, beta2=beta2, eps=eps)

    def inverse_root(gram: Tensor) -> Tensor:
        added = ridge * torch.linalg.eigvalsh(gram)[-1] if relative else ridge
        return power(gram + added * torch.eye(len(gram), dtype=torch.float64), -exponent)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        m = beta1 * m + (1 - beta1) * grad
        adam_step, update = norms(grad, t), zeros(*shape)
        for i, gram, root in zip(blocks, grams, roots, strict=True):
            gram[0] = beta2 * gram[0] + (1 - beta2) * grad[i] @ grad[i].T
            gram[1] = beta2 * gram[1] + (1 - beta2) * grad[i].T @ grad[i]
            if t >= start and (t <= WAKING or t == start or t % frequency == 0):
                for side in [0] * rows + [1] * columns:
                    root[side] = inverse_root(gram[side] / (1 - beta2**t))
            update[i] = root[0] @ m[i] / (1 - beta1**t) @ root[1]
            if graft == "block":
                update[i] *= adam_step[i].norm() / (update[i].norm() + graft_eps)
        if t < start:
            return adam_step
        return update * adam_step.norm() / (update.norm() + graft_eps) if graft == "matrix" else update

    return direction


def soap(
    shape: Shape,
    *,
    block: int = 0,
    rows: bool = True,
    columns: bool = True,
    beta1: float = 0.95,
    beta2: float = 0.95,
    eps: float = 1e-8,
    frequency: int = 10,
    factorised: bool = False,
    skip_first: bool = False,
) -> Direction:
    """Every block must have a gradient at the first step."""
    blocks = cut(shape, block, rows=rows, columns=columns)
    grams = [[zeros(d, d) for d in zeros(*shape)[i].shape] for i in blocks]
    bases = [[torch.eye(len(gram), dtype=torch.float64) for gram in pair] for pair in grams]
    second = [zeros(*zeros(*shape)[i].shape) for i in blocks]
    means = [[zeros(*v[:, :1].shape), zeros(*v[:1].shape)] for v in second]
    m, sides = zeros(*shape), [0] * rows + [1] * columns

    def second_moment(index: int, rotated: Tensor) -> Tensor:
        if not factorised:
            second[index] = beta2 * second[index] + (1 - beta2) * rotated**2
            return second[index]
        for side in (0, 1):
            means[index][side] = beta2 * means[index][side] + (1 - beta2) * (rotated**2).mean(1 - side, keepdim=True)
        return means[index][0] * means[index][1] / means[index][0].mean().clamp(min=1e-30)

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal m
        number, update = t - skip_first, zeros(*shape)
        counted = zeros(*shape) if t == 1 and sides else grad  # the first gradient only builds the bases
        m = beta1 * m + (1 - beta1) * counted if number else m
        for index, (i, gram, basis) in enumerate(zip(blocks, grams, bases, strict=True)):
            gram[0] = beta2 * gram[0] + (1 - beta2) * grad[i] @ grad[i].T
            gram[1] = beta2 * gram[1] + (1 - beta2) * grad[i].T @ grad[i]
            if t == 1:
                for side in sides:
                    basis[side] = torch.linalg.eigh(gram[side]).eigenvectors.flip(1)
            if number == 0:
                continue
            left, right = basis
            v = second_moment(index, left.T @ counted[i] @ right)
            rotated = left.T @ m[i] @ right / (1 - beta1**number)
            update[i] = left @ (rotated / ((v / (1 - beta2**number)).sqrt() + eps)) @ right.T
            if t > (1 if skip_first else 5) and number % frequency == 0:
                for side in sides:
                    order = torch.diag(basis[side].T @ gram[side] @ basis[side]).argsort(descending=True)
                    second[index] = second[index].index_select(side, order)
                    means[index][side] = means[index][side].index_select(side, order)
                    basis[side] = torch.linalg.qr(gram[side] @ basis[side][:, order]).Q
        return update

    return direction


def spectral(inner: Direction, v: Tensor) -> Direction:
    """The inner direction with spectral norm sqrt(rows/columns), by online power iteration from v (arXiv 2512.05620, app. F)."""

    def direction(grad: Tensor, t: int) -> Tensor:
        nonlocal v
        update = inner(grad, t)
        for _ in range(5 if t <= 50 else 1):
            y = update @ v
            z = update.T @ y
            v = z / (z.norm() + 1e-10) if z.norm() else v
        return update * (update.shape[0] / update.shape[1]) ** 0.5 / (y.norm() + 1e-10)

    return direction


def rms(inner: Direction) -> Direction:
    def direction(grad: Tensor, t: int) -> Tensor:
        update = inner(grad, t)
        return update / (update**2).mean().sqrt()

    return direction
