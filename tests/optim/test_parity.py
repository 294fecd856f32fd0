"""Against published implementations, 20 steps on the same random gradients."""

import inspect

import pytest
import torch
from pytorch_optimizer import SOAP
from tiny import gradients, hidden_optimizer, tiny_spec
from torch import Tensor
from torch.optim import _muon

from hptransfer.optim.transforms import JORDAN, newton_schulz

STEPS = 20


def run(optimizer: torch.optim.Optimizer, weight: Tensor, grads: list[Tensor]) -> Tensor:
    for grad in grads:
        weight.grad = grad.clone()
        optimizer.step()
    return weight.detach()


def start(shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)
    return weight.clone().requires_grad_(), weight.clone().requires_grad_()


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative to how far the weights are from zero."""
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(16, 16), (24, 8)])
def test_adamw_is_torch_adamw(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Weight decay is independent here and coupled there: weight_decay = lr * weight_decay_coupled."""
    lr, coupled = 0.05, 0.3
    ours, theirs = start(shape, dtype)
    grads = gradients(shape, STEPS, dtype)
    spec = tiny_spec("adamw", {"beta1": 0.8, "beta2": 0.97, "eps": 1e-3})
    run(hidden_optimizer(spec, [ours], lr=lr, weight_decay=lr * coupled), ours, grads)
    run(torch.optim.AdamW([theirs], lr=lr, betas=(0.8, 0.97), eps=1e-3, weight_decay=coupled), theirs, grads)
    assert distance(ours, theirs) < (1e-6 if dtype == torch.float32 else 1e-14)


MUON_SHAPES = pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48), (7, 5)])


def both_muons(shape: tuple[int, int]) -> float:
    lr, coupled = 0.05, 0.3
    ours, theirs = start(shape, torch.float32)
    grads = gradients(shape, STEPS, torch.float32)
    adjusted = lr * max(1, shape[0] / shape[1]) ** 0.5  # torch's "original" adjustment; ours is given final numbers
    run(hidden_optimizer(tiny_spec("muon"), [ours], lr=adjusted, weight_decay=lr * coupled), ours, grads)
    run(torch.optim.Muon([theirs], lr=lr, momentum=0.95, weight_decay=coupled), theirs, grads)
    return distance(ours, theirs)


@MUON_SHAPES
def test_muon_is_torch_muon(shape: tuple[int, int]) -> None:
    """torch's iterates in bfloat16, ours in the weights' precision."""
    assert both_muons(shape) < 1e-2


@MUON_SHAPES
def test_muon_is_torch_muon_once_that_iterates_in_float32(shape: tuple[int, int], monkeypatch) -> None:
    source = inspect.getsource(_muon._zeropower_via_newtonschulz)
    assert source.count(".bfloat16()") == 1
    namespace = {"Tensor": Tensor, "torch": torch}
    exec(source.replace(".bfloat16()", ".float()"), namespace)
    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", namespace["_zeropower_via_newtonschulz"])
    assert both_muons(shape) < 1e-6


@pytest.mark.parametrize("frequency", [1, 10])
@pytest.mark.parametrize("shape", [(16, 16), (8, 12), (12, 8)])
def test_soap_is_the_published_soap(shape: tuple[int, int], frequency: int) -> None:
    """With the published code's skipped first step. The first gradient is diagonal: otherwise the longer side's null space, and
    with it SOAP itself, depends on rounding."""
    ours, theirs = start(shape, torch.float32)
    grads = gradients(shape, STEPS, torch.float32)
    grads[0] = torch.zeros(shape)
    grads[0].fill_diagonal_(1).mul_(torch.linspace(2, 1, shape[1]))
    options = {"beta1": 0.9, "beta2": 0.95, "precondition_frequency": frequency, "block_size": 0, "skip_first_step": True}
    optimizer = hidden_optimizer(tiny_spec("soap", options), [ours], lr=0.03)
    published = SOAP([theirs], lr=0.03, betas=(0.9, 0.95), weight_decay=0.0, precondition_frequency=frequency)
    before = ours.detach().clone()
    assert torch.equal(run(optimizer, ours, grads[:1]), before)
    run(published, theirs, grads[:1])
    run(optimizer, ours, grads[1:])
    run(published, theirs, grads[1:])
    assert distance(ours, theirs) < 1e-5
    assert distance(ours, before) > 0.1


# Singular value in, singular value out of five Jordan steps, float64 (reference/trainers.md section 4).
JORDAN_MAP = {
    1e-4: 0.04847, 1e-3: 0.47054, 3e-3: 1.11036, 0.01: 0.69892, 0.03: 1.12233, 0.05: 0.75812, 0.1: 0.71212, 0.2: 0.74677,
    0.3: 1.07959, 0.5: 0.76544, 0.7: 1.12032, 0.9: 0.68201, 1.0: 0.69644,
}  # fmt: skip


def test_newton_schulz_maps_singular_values_as_published() -> None:
    """As 1x1 matrices the singular values would be normalised away; one large one beside each keeps them as they are."""
    for value, wanted in JORDAN_MAP.items():
        rest = (1 - value**2) ** 0.5
        x = torch.diag(torch.tensor([value, rest], dtype=torch.float64))
        assert newton_schulz(x, steps=5, coefficients=JORDAN, eps=0.0)[0, 0].item() == pytest.approx(wanted, abs=1e-5)


def test_newton_schulz_changes_singular_values_only() -> None:
    """Not singular vectors, and on a stack of tall and wide matrices as on each alone."""
    for shape in ((3, 9, 5), (3, 5, 9)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        u, _, vh = torch.linalg.svd(x, full_matrices=False)
        out = newton_schulz(x, steps=5, coefficients=JORDAN, eps=1e-8)
        middle = u.mT @ out @ vh.mT
        torch.testing.assert_close(middle, torch.diag_embed(middle.diagonal(dim1=-2, dim2=-1)), rtol=0, atol=1e-10)
        assert ((middle.diagonal(dim1=-2, dim2=-1) > 0.6) & (middle.diagonal(dim1=-2, dim2=-1) < 1.2)).all()
        alone = torch.stack([newton_schulz(matrix, steps=5, coefficients=JORDAN, eps=1e-8) for matrix in x])
        torch.testing.assert_close(out, alone, rtol=1e-12, atol=1e-12)
