"""What must be equal by mathematics: special cases of one transform that are another."""

from __future__ import annotations

import pytest
import torch
from tiny import gradients
from torch import Tensor

from hptransfer.optimizers.engine.factors import Blocks, inverse_root
from hptransfer.optimizers.engine.optimizer import Chain
from hptransfer.optimizers.engine.orthogonal import Orthogonalize
from hptransfer.optimizers.engine.shampoo import AdamGraft, Shampoo
from hptransfer.optimizers.engine.soap import Soap
from hptransfer.optimizers.engine.transforms import Adam, Momentum, NormalizeRms, NormalizeSpectrally, Sign, State, Step

SHAPE = (6, 6)
EYE = torch.eye(6, dtype=torch.float64)


def close(ours: Tensor, wanted: Tensor, rtol: float = 1e-9) -> None:
    assert ((ours - wanted).norm() / wanted.norm()).item() < rtol


def stack(shape: tuple[int, int] = SHAPE, steps: int = 8) -> list[Tensor]:
    """Gradients of two matrices per step."""
    return [
        torch.stack(pair)
        for pair in zip(gradients(shape, steps, torch.float64), gradients(shape, steps, torch.float64, 1), strict=True)
    ]


def final(chain: Chain, grads: list[Tensor]) -> tuple[Tensor, dict[str, State]]:
    """The update of the last step, and the state of every transform by its name."""
    states = {transform.name: transform.init(grads[0]) for transform in chain}
    for number, grad in enumerate(grads, start=1):
        step = Step(number, grad)
        update = grad
        for transform in chain:
            update = transform.apply(update, states[transform.name], step)
    return update, states


def power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values**exponent) @ vectors.mT


def test_shampoo_without_accumulation_is_the_polar_factor() -> None:
    """(G G^T)^-1/4 G (G^T G)^-1/4 = U V^T for a square G of full rank."""
    grad = stack()[0]
    update, _ = final((Shampoo(beta2=0.0, exponent=1 / 4, eps=1e-15, frequency=1, blocks=Blocks(0)),), [grad])
    u, _, vh = torch.linalg.svd(grad)
    close(update, u @ vh)


def test_shampoo_of_single_entries_is_adam() -> None:
    """1x1 blocks with both exponents 1/4, so e = 1/2, and the same beta1 give Adam's direction and norm."""
    momentum, shampoo = Momentum(0.9, bias_corrected=True), Shampoo(0.95, 1 / 4, 1e-15, frequency=1, blocks=Blocks(1))
    for steps in range(1, 9):
        grads = stack()[:steps]
        close(final((momentum, shampoo), grads)[0], final((Adam(0.9, 0.95, 1e-15),), grads)[0])


def well_conditioned(steps: int = 8) -> list[Tensor]:
    """Gradients that are about the identity, so that their momentum has singular values near 1."""
    return [EYE + 0.1 * grad for grad in stack(steps=steps)]


def test_shampoo_is_muon_adapted_on_the_left_and_on_the_right() -> None:
    """L^-1/4 M R^-1/4 = (L^-1/4 (M M^T)^1/4) polar(M) ((M^T M)^1/4 R^-1/4): Muon's update with an adaption on either side,
    where Adam has one entry by entry (below)."""
    grads, momentum = well_conditioned(), Momentum(0.9, bias_corrected=True)
    shampoo, states = final((momentum, Shampoo(0.95, 1 / 4, 1e-15, frequency=1, blocks=Blocks(0))), grads)
    muon, _ = final((momentum, Orthogonalize("contractive", eps=0.0, steps=20)), grads)
    m, _ = final((momentum,), grads)
    factors = {key: states["shampoo"][key].reshape(2, 6, 6) / (1 - 0.95 ** len(grads)) for key in ("L", "R")}
    left = power(factors["L"], -1 / 4) @ power(m @ m.mT, 1 / 4)
    right = power(m.mT @ m, 1 / 4) @ power(factors["R"], -1 / 4)
    close(shampoo, left @ muon @ right, 1e-6)
    assert (left - EYE).norm() > 1e-3 and (right - EYE).norm() > 1e-3


def test_adam_is_signum_adapted_entry_by_entry() -> None:
    """m / sqrt(v) = (|m| / sqrt(v)) sign(m)."""
    grads, momentum = stack(), Momentum(0.9, bias_corrected=True)
    adam, states = final((Adam(0.9, 0.95, 1e-15),), grads)
    m, _ = final((momentum,), grads)
    signum, _ = final((Momentum(0.9), Sign()), grads)
    close(adam, m.abs() / (states["adam"]["v"] / (1 - 0.95 ** len(grads))).sqrt() * signum, 1e-6)


def test_soap_without_a_side_is_adam() -> None:
    for grads in (stack()[:1], stack()):
        soap = Soap(0.9, 0.95, 1e-3, frequency=2, blocks=Blocks(3, rows=False, columns=False))
        close(final((soap,), grads)[0], final((Adam(0.9, 0.95, 1e-3),), grads)[0])


def test_soap_in_the_identity_basis_is_adam() -> None:
    """Bases put in by hand and never refreshed; the factors are not zero, so that no basis is built over them."""
    soap, adam = Soap(0.9, 0.95, 1e-8, frequency=10**9, blocks=Blocks(0)), Adam(0.9, 0.95, 1e-8)
    grads = stack()
    state, adam_state = soap.init(grads[0]), adam.init(grads[0])
    for key in ("L", "R", "L_basis", "R_basis"):
        state[key].copy_(EYE)
    for number, grad in enumerate(grads, start=1):
        close(soap.apply(grad, state, Step(number, grad)), adam.apply(grad, adam_state, Step(number, grad)))


@pytest.mark.parametrize("first", [1, 2, 3])
def test_preconditioners_are_those_of_the_first_gradient(first: int) -> None:
    """Which comes at step 2 or 3 where outputs start at zero, long before the first refresh by frequency."""
    grads = [torch.zeros_like(stack()[0])] * (first - 1) + stack()[:1]
    _, states = final((Soap(0.9, 0.95, 1e-8, frequency=100, blocks=Blocks(0)),), grads)
    basis, gram = (states["soap"][key].reshape(2, 6, 6) for key in ("L_basis", "L"))
    turned = basis.mT @ gram @ basis
    close(turned, torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1)))
    _, states = final((Shampoo(0.95, 1 / 2, 1e-5, frequency=100, blocks=Blocks(0)),), grads)
    root, gram = (states["shampoo"][key].reshape(2, 6, 6) for key in ("L_root", "L"))
    close(root, inverse_root(gram / (1 - 0.95**first), 1 / 2, 1e-5))


@pytest.mark.parametrize("options", [{}, {"factorised": True}])
def test_soap_follows_a_rotation_of_the_gradients(options: dict[str, bool]) -> None:
    """Rotated gradients G -> A G B^T give the rotated update; Adam's is another."""
    a, b = (torch.linalg.qr(matrix).Q for matrix in stack()[-1])
    grads = [grad[:1] for grad in stack()]
    soap = Soap(0.9, 0.95, 1e-12, frequency=2, blocks=Blocks(0), skip_first=True, **options)
    plain, _ = final((soap,), grads)
    turned, _ = final((soap,), [a @ grad @ b.T for grad in grads])
    close(turned, a @ plain @ b.T)
    adam = Adam(0.0, 0.0, 1e-12)
    assert (final((adam,), [a @ grads[0] @ b.T])[0] - a @ final((adam,), grads[:1])[0] @ b.T).norm() > 0.1


def test_shampoo_follows_a_rotation_of_the_gradients() -> None:
    """As Muon does."""
    a, b = (torch.linalg.qr(matrix).Q for matrix in stack()[-1])
    grads = stack()
    for chain in (
        (Momentum(0.9), Orthogonalize("jordan", 1e-8)),
        (Momentum(0.9, bias_corrected=True), Shampoo(0.95, 1 / 2, 1e-5, 2, Blocks(0))),
    ):
        close(final(chain, [a @ grad @ b.T for grad in grads])[0], a @ final(chain, grads)[0] @ b.T)


@pytest.mark.parametrize("blocks", [None, Blocks(3)])
def test_the_graft_has_adams_norm_and_the_directions_direction(blocks: Blocks | None) -> None:
    """Per matrix, or per block."""
    grads = stack()
    momentum, graft = Momentum(0.9, bias_corrected=True), AdamGraft(0.95, 1e-3, graft_eps=1e-12, blocks=blocks)
    adam, whole = Adam(0.9, 0.95, 1e-3), blocks or Blocks(0)
    states = [transform.init(grads[0]) for transform in (momentum, graft, adam)]
    for number, (grad, direction) in enumerate(zip(grads, reversed(grads), strict=True), start=1):
        step = Step(number, grad)
        momentum.apply(grad, states[0], step)
        ours = whole.split(graft.apply(direction, states[1], step))
        wanted = whole.split(adam.apply(grad, states[2], step))
        torch.testing.assert_close(torch.linalg.matrix_norm(ours), torch.linalg.matrix_norm(wanted))
        factor = ours / whole.split(direction)
        torch.testing.assert_close(factor, factor[..., :1, :1].expand_as(ours))
        assert (factor > 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("shape", [(24, 24), (48, 12), (12, 48)], ids=str)
def test_a_spectrally_normalised_update_has_its_spectral_norm(shape: tuple[int, int], scale: float) -> None:
    """sqrt(rows/columns) within 2 %, once ten steps of five iterations are done, while the update changes slowly; also after
    step 50, when there is one iteration a step. In float32 and whatever the update's size."""
    normalize, generator = NormalizeSpectrally(), torch.Generator().manual_seed(0)
    update = torch.randn(2, *shape, generator=generator)
    state = normalize.init(update)
    wanted = (shape[0] / shape[1]) ** 0.5
    for number in range(1, 101):
        update = update + 0.02 * torch.randn(2, *shape, generator=generator)
        result = normalize.apply(scale * update, state, Step(number, update))
        if number >= 10:
            norms = torch.linalg.matrix_norm(result, ord=2)
            assert norms.tolist() == pytest.approx([wanted, wanted], rel=0.02), number


def test_a_zero_update_leaves_the_power_iteration_where_it_was() -> None:
    """And stays zero; so does one that underflows."""
    normalize, state = NormalizeSpectrally(), NormalizeSpectrally().init(torch.zeros(1, 4, 3))
    before = state["v"].clone()
    for update in (torch.zeros(1, 4, 3), torch.full((1, 4, 3), 1e-30)):
        result = normalize.apply(update, state, Step(1, update))
        assert torch.equal(state["v"], before)
        assert result.norm() < 1e-9


def test_rms_1_over_each_matrix() -> None:
    update = torch.stack([10.0 * stack()[0][0], 0.1 * stack()[0][1]])
    result = NormalizeRms().apply(update, {}, Step(1, update))
    torch.testing.assert_close(result.square().mean((1, 2)).sqrt(), torch.ones(2, dtype=torch.float64))
    assert torch.equal(NormalizeRms().apply(torch.zeros(1, 4, 3), {}, Step(1, update)), torch.zeros(1, 4, 3))


def test_inverse_root() -> None:
    x = stack()[0]
    gram = x @ x.mT
    largest = torch.linalg.eigvalsh(gram)[:, -1:, None]
    for relative, ridge in ((True, 0.1 * largest * EYE), (False, 0.1 * EYE)):
        root = inverse_root(gram, 1 / 4, eps=0.1, relative=relative)
        close(root @ root @ root @ root @ (gram + ridge), EYE.expand_as(gram))
        assert torch.equal(inverse_root(torch.zeros_like(gram), 1 / 2, eps=0.1, relative=relative), EYE.expand_as(gram))
        null = inverse_root(torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64)), 1 / 2, eps=0.1, relative=relative)
        assert null[0, 0].item() == pytest.approx(0.1**-0.5, rel=1e-14)  # epsilon itself, in full precision


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 9])
@pytest.mark.parametrize("shape", [(6, 6), (7, 10)], ids=str)
def test_blocks_split_and_merge(shape: tuple[int, int], size: int) -> None:
    x = stack(shape)[0]
    blocks = Blocks(size)
    split = blocks.split(x)
    assert torch.equal(blocks.merge(split, x.shape), x)
    assert split.square().sum() == pytest.approx(x.square().sum().item(), rel=1e-12)  # the padding is zero
    assert torch.equal(split[:, 0, 0][:, : size or 99, : size or 99], x[:, : split.size(3), : split.size(4)])
    assert [factor.shape[-1] for factor in blocks.zeros(x).values()] == [min(size, d) or d for d in shape]
    one_sided = Blocks(size, rows=False)
    assert one_sided.split(x).shape[:2] == (2, 1) and torch.equal(one_sided.merge(one_sided.split(x), x.shape), x)
    assert list(one_sided.zeros(x)) == ["R"]
