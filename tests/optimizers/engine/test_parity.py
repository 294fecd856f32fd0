"""Against published implementations: 20 steps on the same random gradients, then the weights.

Their weight decay is lr * weight_decay, ours independent; ours is given the product. Schedule-free and Distributed Shampoo have
files of their own.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest
import torch
from optimizers.engine.references import Shape, distance
from pytorch_optimizer import SOAP, AdaMuon, NorMuon, SignSGD
from pytorch_optimizer.optimizer.muon import adamuon, base, normuon
from tiny import gradients, hidden_optimizer, tiny_spec
from torch import Tensor
from torch.optim import _muon

from hptransfer.optimizers.rules.conventions import update_factor

STEPS, LR, COUPLED = 20, 0.05, 0.3


def run(optimizer: torch.optim.Optimizer, weight: Tensor, grads: list[Tensor]) -> Tensor:
    for grad in grads:
        weight.grad = grad.clone()
        optimizer.step()
    return weight.detach()


def start(shape: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)
    return weight.clone().requires_grad_(), weight.clone().requires_grad_()


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SHAPES = pytest.mark.parametrize("shape", [(16, 16), (24, 8)], ids=str)


def exact(dtype: torch.dtype) -> float:
    return 1e-6 if dtype == torch.float32 else 1e-14


@DTYPES
@SHAPES
def test_adamw_is_torch_adamw(shape: Shape, dtype: torch.dtype) -> None:
    ours, theirs = start(shape, dtype)
    grads = gradients(shape, STEPS, dtype)
    spec = tiny_spec("adamw", {"beta1": 0.8, "beta2": 0.97, "eps": 1e-3})
    run(hidden_optimizer(spec, [ours], lr=LR, weight_decay=LR * COUPLED), ours, grads)
    run(torch.optim.AdamW([theirs], lr=LR, betas=(0.8, 0.97), eps=1e-3, weight_decay=COUPLED), theirs, grads)
    assert distance(ours, theirs) < exact(dtype)


@DTYPES
@SHAPES
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.8, True), (0.0, False)])
def test_sgd_is_torch_sgd(momentum: float, nesterov: bool, shape: Shape, dtype: torch.dtype) -> None:
    """Without weight decay: torch's goes through the momentum."""
    ours, theirs = start(shape, dtype)
    grads = gradients(shape, STEPS, dtype)
    run(hidden_optimizer(tiny_spec("sgd", {"momentum": momentum, "nesterov": nesterov}), [ours], lr=LR), ours, grads)
    run(torch.optim.SGD([theirs], lr=LR, momentum=momentum, nesterov=nesterov), theirs, grads)
    assert distance(ours, theirs) < exact(dtype)


@DTYPES
@SHAPES
def test_signum_is_pytorch_optimizers(shape: Shape, dtype: torch.dtype) -> None:
    ours, theirs = start(shape, dtype)
    grads = gradients(shape, STEPS, dtype)
    run(hidden_optimizer(tiny_spec("signum", {"momentum": 0.8}), [ours], lr=LR, weight_decay=LR * COUPLED), ours, grads)
    run(SignSGD([theirs], lr=LR, momentum=0.8, weight_decay=COUPLED), theirs, grads)
    assert distance(ours, theirs) < exact(dtype)


MUON_SHAPES = pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48), (7, 5)], ids=str)
# Newton-Schulz in bfloat16, as published, and in the weights' float32, as ours.
NEWTON_SCHULZ = pytest.mark.parametrize(("patched", "tolerance"), [(False, 1e-2), (True, 1e-6)], ids=["bf16", "fp32"])


def patch_torch(monkeypatch) -> None:
    """With a copy, because it divides in place, which in the weights' own dtype would scale the momentum buffer itself."""
    source = inspect.getsource(_muon._zeropower_via_newtonschulz)
    assert source.count(".bfloat16()") == 1
    namespace = {"Tensor": Tensor, "torch": torch}
    exec(source.replace(".bfloat16()", ".float().clone()"), namespace)
    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", namespace["_zeropower_via_newtonschulz"])


def patch_pytorch_optimizer(monkeypatch) -> None:
    for module in (base, normuon, adamuon):
        inside = functools.partial(module.zero_power_via_newton_schulz_5, dtype=torch.float32)
        monkeypatch.setattr(module, "zero_power_via_newton_schulz_5", inside)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("convention", ["original", "match_rms_adamw"])
@NEWTON_SCHULZ
@MUON_SHAPES
def test_muon_is_torch_muon(shape: Shape, patched: bool, tolerance: float, convention: Any, nesterov: bool, monkeypatch) -> None:
    """In either of its LR conventions: ours is given the final number that `update_factor` makes of the LR."""
    if patched:
        patch_torch(monkeypatch)
    ours, theirs = start(shape, torch.float32)
    grads = gradients(shape, STEPS, torch.float32)
    spec = tiny_spec("muon", {"momentum": 0.9, "nesterov": nesterov, "eps": 1e-7})
    lr = LR * update_factor(convention, *shape)
    run(hidden_optimizer(spec, [ours], lr=lr, weight_decay=LR * COUPLED), ours, grads)
    settings = {"lr": LR, "momentum": 0.9, "nesterov": nesterov, "weight_decay": COUPLED, "adjust_lr_fn": convention}
    run(torch.optim.Muon([theirs], **settings), theirs, grads)
    assert distance(ours, theirs) < tolerance


@MUON_SHAPES
def test_muon_in_bfloat16_is_torch_muon(shape: Shape) -> None:
    """Both iterate in bfloat16, with other roundings."""
    distances = []
    for bfloat16 in (True, False):
        ours, theirs = start(shape, torch.float32)
        grads = gradients(shape, STEPS, torch.float32)
        spec = tiny_spec("muon", {"bfloat16": bfloat16, "eps": 1e-7})
        run(hidden_optimizer(spec, [ours], lr=LR * update_factor("original", *shape)), ours, grads)
        run(torch.optim.Muon([theirs], lr=LR, weight_decay=0.0), theirs, grads)
        distances.append(distance(ours, theirs))
    assert max(distances) < 1e-2 and distances[0] != distances[1]


@pytest.mark.parametrize("scale", ["preserve_norm", "match_rms"])
@NEWTON_SCHULZ
@MUON_SHAPES
def test_normuon_is_pytorch_optimizers(shape: Shape, patched: bool, tolerance: float, scale: str, monkeypatch) -> None:
    """The official code's norm, and the paper's RMS of 0.2: ours is 1."""
    if patched:
        patch_pytorch_optimizer(monkeypatch)
    ours, theirs = start(shape, torch.float32)
    grads = gradients(shape, STEPS, torch.float32)
    preserve = scale == "preserve_norm"
    spec = tiny_spec("normuon", {"beta2": 0.9, "eps": 1e-10, "preserve_norm": preserve})
    lr = LR * (update_factor("original", *shape) if preserve else 0.2)
    run(hidden_optimizer(spec, [ours], lr=lr, weight_decay=LR * COUPLED), ours, grads)
    group = {"params": [theirs], "lr": LR, "weight_decay": COUPLED, "use_muon": True}
    run(NorMuon([group], beta2=0.9, update_scale=scale), theirs, grads)
    assert distance(ours, theirs) < tolerance


@MUON_SHAPES
def test_adamuon_is_pytorch_optimizers_up_to_the_norm(shape: Shape, monkeypatch) -> None:
    """Theirs rescales every update to the norm of a polar factor, which ours leaves as Adam's second moment makes it; gradients
    do not depend on the weights here, so the directions of all steps can be compared. Not in bfloat16: the first update is the
    sign of the polar factor, which rounding turns over where an entry is about zero."""
    patch_pytorch_optimizer(monkeypatch)
    ours, theirs = start(shape, torch.float32)
    optimizer = hidden_optimizer(tiny_spec("adamuon", {"momentum": 0.9, "nesterov": False, "eps": 1e-10}), [ours], lr=LR)
    published = AdaMuon([{"params": [theirs], "lr": LR, "use_muon": True}], betas=(0.9, 0.95))
    for grad in gradients(shape, STEPS, torch.float32):
        with torch.no_grad():  # a step from zero loses no digits
            ours.zero_()
            theirs.zero_()
        run(optimizer, ours, [grad])
        run(published, theirs, [grad])
        assert distance(ours / ours.norm(), theirs / theirs.norm()) < 1e-5


@pytest.mark.parametrize("frequency", [1, 10])
@pytest.mark.parametrize("shape", [(16, 16), (8, 12), (12, 8)], ids=str)
def test_soap_is_the_published_soap(shape: Shape, frequency: int) -> None:
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


@SHAPES
def test_adamh_is_heavyball_s(shape: Shape) -> None:
    """Its HyperBallAdamW has no first moment, and steps in float32 whatever the weights are. A bench dependency: runs where
    it is installed."""
    heavyball = pytest.importorskip("heavyball")
    heavyball.utils.compile_mode = None
    ours, theirs = start(shape, torch.float32)
    grads = gradients(shape, STEPS, torch.float32)
    spec = tiny_spec("adamh", {"beta1": 0.0, "beta2": 0.95, "eps": 1e-30})
    run(hidden_optimizer(spec, [ours], lr=LR), ours, grads)
    run(heavyball.HyperBallAdamW([theirs], lr=LR, betas=(0.9, 0.95), eps=1e-30), theirs, grads)
    assert distance(ours, theirs) < 1e-6
