"""What must be equal by mathematics: special cases of one transform that are another."""

import pytest
import torch
from tiny import gradients

from hptransfer.optim.blocks import Blocks
from hptransfer.optim.transforms import Adam, AdamGraft, Momentum, Shampoo, Soap, Step, inverse_root

SHAPE = (6, 6)
EYE = torch.eye(6, dtype=torch.float64)


def close(ours: torch.Tensor, wanted: torch.Tensor, rtol: float = 1e-9) -> None:
    assert ((ours - wanted).norm() / wanted.norm()).item() < rtol


def stack(shape: tuple[int, int] = SHAPE, steps: int = 8) -> list[torch.Tensor]:
    """Gradients of two matrices per step."""
    return [
        torch.stack(pair)
        for pair in zip(gradients(shape, steps, torch.float64), gradients(shape, steps, torch.float64, 1), strict=True)
    ]


def test_shampoo_without_accumulation_is_the_polar_factor() -> None:
    """(G G^T)^-1/4 G (G^T G)^-1/4 = U V^T for a square G of full rank."""
    grad = stack()[0]
    transform = Shampoo(beta2=0.0, exponent=1 / 4, eps=1e-15, frequency=1, blocks=Blocks(0))
    u, _, vh = torch.linalg.svd(grad)
    close(transform.apply(grad, transform.init(grad), Step(1, grad)), u @ vh)


def test_shampoo_of_single_entries_is_adam() -> None:
    """1x1 blocks with both exponents 1/4, so e = 1/2, and the same beta1 give Adam's direction."""
    momentum, shampoo = Momentum(0.9), Shampoo(0.95, 1 / 4, 1e-15, frequency=1, blocks=Blocks(1))
    adam = Adam(0.9, 0.95, 1e-15)
    grads = stack()
    states = [transform.init(grads[0]) for transform in (momentum, shampoo, adam)]
    for number, grad in enumerate(grads, start=1):
        step = Step(number, grad)
        ours = shampoo.apply(momentum.apply(grad, states[0], step), states[1], step)
        theirs = adam.apply(grad, states[2], step)
        close(ours / ours.norm(), theirs / theirs.norm())


def test_soap_in_the_identity_basis_is_adam() -> None:
    """Bases put in by hand and never refreshed; the factors are not zero, so that no basis is built over them."""
    soap, adam = Soap(0.9, 0.95, 1e-8, frequency=10**9, blocks=Blocks(0)), Adam(0.9, 0.95, 1e-8)
    grads = stack()
    state, adam_state = soap.init(grads[0]), adam.init(grads[0])
    for key in ("L", "R", "L_basis", "R_basis"):
        state[key].copy_(EYE)
    for number, grad in enumerate(grads, start=1):
        close(soap.apply(grad, state, Step(number, grad)), adam.apply(grad, adam_state, Step(number, grad)))


def test_soap_follows_a_rotation_of_the_gradients() -> None:
    """Rotated gradients G -> A G B^T give the rotated update; Adam's is another."""
    a, b = (torch.linalg.qr(matrix).Q for matrix in stack()[-1])
    grads = [grad[:1] for grad in stack()]
    updates = []
    for left, right in ((EYE, EYE), (a, b)):
        soap = Soap(0.9, 0.95, 1e-12, frequency=2, blocks=Blocks(0), skip_first=True)
        state = soap.init(grads[0])
        for number, grad in enumerate(grads, start=1):
            rotated = left @ grad @ right.T
            update = soap.apply(rotated, state, Step(number, rotated))
        updates.append(update)
    close(updates[1], a @ updates[0] @ b.T)
    adam = Adam(0.0, 0.0, 1e-12)
    plain, turned = (adam.apply(g, adam.init(g), Step(1, g)) for g in (grads[0], a @ grads[0] @ b.T))
    assert (turned - a @ plain @ b.T).norm() > 0.1


def test_the_graft_has_adams_norm_and_the_directions_direction() -> None:
    grads = stack()
    momentum, graft, adam = Momentum(0.9), AdamGraft(0.95, 1e-3, graft_eps=1e-12), Adam(0.9, 0.95, 1e-3)
    states = [transform.init(grads[0]) for transform in (momentum, graft, adam)]
    for number, (grad, direction) in enumerate(zip(grads, reversed(grads), strict=True), start=1):
        step = Step(number, grad)
        momentum.apply(grad, states[0], step)
        ours = graft.apply(direction, states[1], step)
        wanted = torch.linalg.matrix_norm(adam.apply(grad, states[2], step))
        torch.testing.assert_close(torch.linalg.matrix_norm(ours), wanted)  # per matrix
        torch.testing.assert_close(ours / direction, (ours / direction)[:, :1, :1].expand_as(ours))
        assert (ours / direction > 0).all()


def test_inverse_root() -> None:
    x = stack()[0]
    gram = x @ x.mT
    ridged = gram + 0.1 * torch.linalg.eigvalsh(gram)[:, -1:, None] * EYE
    root = inverse_root(gram, 1 / 4, eps=0.1)
    close(root @ root @ root @ root @ ridged, EYE.expand_as(gram))
    assert torch.equal(inverse_root(torch.zeros_like(gram), 1 / 2, eps=0.1), EYE.expand_as(gram))


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 9])
@pytest.mark.parametrize("shape", [(6, 6), (7, 10)])
def test_blocks_split_and_merge(shape: tuple[int, int], size: int) -> None:
    x = stack(shape)[0]
    blocks = Blocks(size)
    split = blocks.split(x)
    assert torch.equal(blocks.merge(split, x.shape), x)
    assert split.square().sum() == pytest.approx(x.square().sum().item(), rel=1e-12)  # the padding is zero
    assert torch.equal(split[:, 0, 0][:, : size or 99, : size or 99], x[:, : split.size(3), : split.size(4)])
    assert [factor.shape[-1] for factor in blocks.gram_zeros(x)] == [min(size, d) or d for d in shape]
