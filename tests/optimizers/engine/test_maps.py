"""The scalar maps of the orthogonalisers: singular value in, singular value out (reference/trainers.md section 4), in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hptransfer.optimizers.engine.orthogonal import orthogonalize
from hptransfer.optimizers.orthogonalized import MAPS, OrthogonalMap

VALUES = [1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]
OUT: dict[OrthogonalMap, list[float]] = {
    "jordan": [
        0.04847, 0.47054, 1.11036, 0.69892, 1.12233, 0.75812, 0.71212, 0.74677, 1.07959, 0.76544, 1.12032, 0.68201, 0.69644,
    ],
    "polar_express": [
        0.09881, 0.85887, 0.96638, 1.02711, 1.06051, 0.90856, 1.05916, 0.87225, 0.98314, 0.91061, 0.93563, 0.87492, 0.85913,
    ],
    "dion": [
        0.04926, 0.47498, 1.07514, 1.01803, 0.98569, 1.01064, 1.01905, 1.03116, 0.99622, 0.98587, 1.01369, 0.97991, 0.97835,
    ],
    "contractive": [0.39303, *[1.0] * 12],
}  # fmt: skip
# The smallest and largest value on [0.01, 1], and the slope at 0, as far as they are published.
RANGES: list[tuple[OrthogonalMap, float, float]] = [
    ("jordan", 0.6818, 1.1344),
    ("polar_express", 0.8589, 1.1411),
    ("dion", 0.9778, 1.0318),
    ("modula", 0.9721, 1.1883),
]
SLOPES: dict[OrthogonalMap, float] = {
    "jordan": 484.88,
    "polar_express": 989.47,
    "dion": 492.75,
    "modula": 243,
    "contractive": 2**12,
}


def mapped(values: Tensor, map: OrthogonalMap, steps: int | None = None) -> Tensor:
    """As 1x1 matrices the singular values would be normalised away; one large one beside each keeps them as they are."""
    values = values.double()
    pairs = torch.diag_embed(torch.stack([values, (1 - values**2).sqrt()], dim=-1))
    return orthogonalize(pairs, map=map, eps=0.0, steps=steps)[:, 0, 0]


@pytest.mark.parametrize("map", OUT)
def test_singular_values_as_published(map: OrthogonalMap) -> None:
    assert mapped(torch.tensor(VALUES, dtype=torch.float64), map).tolist() == pytest.approx(OUT[map], abs=1e-5)


@pytest.mark.parametrize(("map", "low", "high"), RANGES)
def test_ranges_as_published(map: OrthogonalMap, low: float, high: float) -> None:
    values = mapped(torch.logspace(-2, 0, 40_001, dtype=torch.float64), map)
    assert (values.min().item(), values.max().item()) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("map", MAPS)
def test_slopes_at_zero(map: OrthogonalMap) -> None:
    tiny = torch.tensor([1e-9], dtype=torch.float64)
    assert (mapped(tiny, map) / tiny).item() == pytest.approx(SLOPES[map], rel=1e-4)


def test_the_contractive_map_converges() -> None:
    """So that more iterations are closer; it passes 1 by less than 0.002. Further iterations of any map repeat its last one."""
    values = torch.linspace(0.001, 1, 1000, dtype=torch.float64)
    assert 1 < mapped(values, "contractive", 1).max() < 1.002
    errors = [(1 - mapped(values, "contractive", steps)).abs().max().item() for steps in (2, 6, 12, 20)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-12
    for name, coefficients in MAPS.items():
        a, b, c = coefficients[-1]
        once = mapped(values, name, len(coefficients))
        assert torch.allclose(mapped(values, name, len(coefficients) + 1), a * once + b * once**3 + c * once**5, rtol=1e-9)


@pytest.mark.parametrize("map", MAPS)
def test_only_singular_values_change(map: OrthogonalMap) -> None:
    """Not singular vectors, and on a stack of tall and wide matrices as on each alone."""
    for shape in ((3, 9, 5), (3, 5, 9)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        u, _, vh = torch.linalg.svd(x, full_matrices=False)
        out = orthogonalize(x, map=map, eps=1e-8)
        middle = u.mT @ out @ vh.mT
        torch.testing.assert_close(middle, torch.diag_embed(middle.diagonal(dim1=-2, dim2=-1)), rtol=0, atol=1e-9)
        assert ((middle.diagonal(dim1=-2, dim2=-1) > 0.6) & (middle.diagonal(dim1=-2, dim2=-1) < 1.2)).all()
        alone = torch.cat([orthogonalize(matrix[None], map=map, eps=1e-8) for matrix in x])
        torch.testing.assert_close(out, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("map", MAPS)
def test_in_bfloat16_singular_values_stay_near_those_of_the_map(map: OrthogonalMap) -> None:
    """Of a matrix whose smallest is not lost in rounding; the result has the input's dtype."""
    x = torch.randn(24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vh = torch.linalg.svd(x)
    x = (u @ torch.diag(torch.linspace(1, 0.5, 24, dtype=torch.float64)) @ vh)[None].float()
    exact, rounded = (orthogonalize(x, map=map, eps=1e-8, dtype=dtype) for dtype in (None, torch.bfloat16))
    assert rounded.dtype == torch.float32
    difference = (torch.linalg.svdvals(rounded) - torch.linalg.svdvals(exact)).abs().max().item()
    assert 1e-4 < difference < 0.04
