"""Learning rates of implementations of Muon in each other's units."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from hptransfer import UsageError, convert_lr
from hptransfer.optimizers.rules.dialects import DIALECTS, Shape, convert_weight_decay, find_dialect

SHAPES = [(768, 768), (3072, 768), (768, 3072), (50304, 768), (7, 13)]
SMALL = [(16, 16), (64, 16), (16, 64), (7, 13)]  # steps of torch


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("mode", ["original", "match_rms_adamw"])
def test_torch_moves_a_matrix_by_the_converted_lr(mode: str, shape: Shape) -> None:
    """A step of torch's own optimizer against one of another LR and mode: where ours says so, both are the same step."""
    other = "match_rms_adamw" if mode == "original" else "original"
    lrs = {mode: 0.02, other: convert_lr(0.02, f"torch.{mode}", f"torch.{other}", shape)}
    gradient = torch.randn(shape[0], shape[1], generator=torch.Generator().manual_seed(0))
    moved = []
    for name, lr in lrs.items():
        weight = torch.nn.Parameter(torch.zeros(shape))
        weight.grad = gradient.clone()
        torch.optim.Muon([weight], lr=lr, weight_decay=0.0, adjust_lr_fn=name).step()
        moved.append(weight.detach())
    assert torch.allclose(*moved, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["original", "match_rms_adamw"])
def test_factors_of_torch(mode: str, shape: Shape) -> None:
    from torch.optim._muon import _adjust_lr

    assert find_dialect(f"torch.{mode}").factor(shape) == pytest.approx(_adjust_lr(1.0, mode, torch.Size(shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "adjusted"), [("pytorch-optimizer", False), ("pytorch-optimizer.use_adjusted_lr", True)])
def test_factors_of_pytorch_optimizer(name: str, adjusted: bool, shape: Shape) -> None:
    module = pytest.importorskip("pytorch_optimizer.optimizer.muon.base")
    assert find_dialect(name).factor(shape) == pytest.approx(module.get_adjusted_lr(1.0, shape, use_adjusted_lr=adjusted))


# By hand from each implementation's code: of a fan-out of 4096 x 1024, a fan-in of 1024 x 4096.
FACTORS = {
    "hptransfer.none": (1, 1),
    "torch.original": (2, 1),
    "torch.match_rms_adamw": (12.8, 12.8),
    "kellerjordan": (2, 1),
    "moonlight": (12.8, 12.8),
    "dion.spectral_norm": (2, 0.5),
    "dion.rms_norm": (12.8, 12.8),
    "dion.none": (1, 1),
    "nanochat": (2, 1),
    "modded-nanogpt.unit_rms": (64, 64),
    "modded-nanogpt.original": (2, 1),
    "megatron.spectral": (64, 64),
    "megatron.unit_rms_norm": (2, 0.5),
    "megatron.shape_scaling": (2, 1),
    "deepspeed": (2, 1),
    "levanter": (2, 1),
    "levanter.use_kimi_scaling": (12.8, 12.8),
    "optax": (2, 1),
    "optax.consistent_rms": (12.8, 12.8),
    "heavyball": (2, 1),
    "pytorch-optimizer": (2, 1),
    "pytorch-optimizer.use_adjusted_lr": (12.8, 12.8),
    "adamw": (12.8, 12.8),
}


def test_factors_by_hand() -> None:
    assert {name: (one.factor((4096, 1024)), one.factor((1024, 4096))) for name, one in DIALECTS.items()} == FACTORS


def test_the_factor_that_a_user_gives_multiplies() -> None:
    assert find_dialect("megatron.spectral:0.2").factor((768, 768)) == pytest.approx(0.2 * sqrt(768))
    assert find_dialect("optax.consistent_rms:1").factor((768, 768)) == pytest.approx(sqrt(768))
    for shape in SHAPES:  # the same units by another name
        assert convert_lr(0.02, "megatron.spectral:0.2", "torch.match_rms_adamw", shape) == pytest.approx(0.02)


@pytest.mark.parametrize(("d", "wanted"), [(768, 3.6e-3), (2048, 2.21e-3)])
def test_published_conversions(d: int, wanted: float) -> None:
    """Muon's 0.02 in the units of Moonlight."""
    assert convert_lr(0.02, "kellerjordan", "moonlight", (d, d)) == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("source", DIALECTS)
def test_round_trips(source: str) -> None:
    for target in DIALECTS:
        for shape in SHAPES:
            there = convert_lr(0.02, source, target, shape)
            assert convert_lr(there, target, source, shape) == pytest.approx(0.02)
            assert there * find_dialect(target).factor(shape) == pytest.approx(0.02 * find_dialect(source).factor(shape))
            if DIALECTS[source].decay and DIALECTS[target].decay:
                decay = convert_weight_decay(0.1, 0.02, source, target, shape)
                assert convert_weight_decay(decay, there, target, source, shape) == pytest.approx(0.1)


@pytest.mark.parametrize("shape", SMALL)
def test_the_weight_decay_of_torch_takes_the_same_share(shape: Shape) -> None:
    """Measured on a weight without a gradient to speak of: 0.02 * 0.1 of it, in either mode."""
    lr = convert_lr(0.02, "torch.original", "torch.match_rms_adamw", shape)
    decay = convert_weight_decay(0.1, 0.02, "torch.original", "torch.match_rms_adamw", shape)
    weight = torch.nn.Parameter(torch.ones(shape, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    torch.optim.Muon([weight], lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw").step()
    assert weight.detach().numpy() == pytest.approx(1 - 0.02 * 0.1)


def test_weight_decays_by_hand() -> None:
    fan_out = (4096, 1024)
    # Ours is independent: what a step takes of a matrix is the weight decay itself.
    assert convert_weight_decay(0.1, 0.02, "torch.original", "hptransfer.none", fan_out) == pytest.approx(0.002)
    # nanochat decays by the LR that it has multiplied by the factor of the shape: 2 here.
    assert convert_weight_decay(0.1, 0.02, "torch.original", "nanochat", fan_out) == pytest.approx(0.05)
    assert convert_weight_decay(0.0, 0.02, "torch.original", "nanochat", fan_out) == 0.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: convert_lr(0.02, "torch.orignal", "nanochat", (2, 2)), "did you mean 'torch.original'"),
        (lambda: convert_lr(0.02, "nanochat", "spectral", (2, 2)), "which of dion.spectral_norm, megatron.spectral"),
        (lambda: convert_lr(0.02, "nanochat:2", "torch.original", (2, 2)), "no factor of the user's"),
        (lambda: convert_lr(0.02, "megatron.spectral:", "torch.original", (2, 2)), "'' is not a number"),
        (lambda: convert_lr(0.02, "megatron.spectral:0", "torch.original", (2, 2)), "above 0"),
        (lambda: convert_lr(-0.02, "nanochat", "torch.original", (2, 2)), "the learning rate -0.02"),
        (lambda: convert_lr(float("nan"), "nanochat", "torch.original", (2, 2)), "the learning rate nan"),
        (lambda: convert_lr(0.02, "nanochat", "torch.original", (0, 2)), "shape 0x2"),
        (lambda: convert_weight_decay(-1, 0.02, "nanochat", "torch.original", (2, 2)), "the weight decay -1"),
        (lambda: convert_weight_decay(1, 0.02, "nanochat", "modded-nanogpt.unit_rms", (2, 2)), "modded-nanogpt.unit_rms has no"),
    ],
)
def test_mistakes_are_named(call, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call()
