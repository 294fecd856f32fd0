"""Learning rates of other implementations of Muon (reference/trainers.md section 4)."""

from __future__ import annotations

import re
from math import sqrt

import pytest
from tiny import tiny_spec

from hptransfer.optimizers.rules.conventions import FORMULAS, LR_CONVENTIONS, LrConvention, update_factor

SHAPES = [(768, 768), (3072, 768), (768, 3072)]

# What each multiplies a polar factor by: for a square matrix of 768, a fan-out of 3072 x 768, a fan-in of 768 x 3072.
FACTORS: dict[LrConvention, tuple[float, float, float]] = {
    "none": (1, 1, 1),
    "original": (1, 2, 1),
    "match_rms_adamw": (0.2 * sqrt(768), 0.2 * sqrt(3072), 0.2 * sqrt(3072)),
    "unit_rms": (sqrt(768), sqrt(3072), sqrt(3072)),
    "spectral": (1, 2, 1 / 2),
}


def test_no_convention_is_forgotten() -> None:
    assert set(FACTORS) == set(FORMULAS) == set(LR_CONVENTIONS)


@pytest.mark.parametrize(("convention", "factors"), FACTORS.items())
def test_factors(convention: LrConvention, factors: tuple[float, float, float]) -> None:
    assert [update_factor(convention, *shape) for shape in SHAPES] == pytest.approx(factors)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("convention", LR_CONVENTIONS)
def test_a_formula_is_what_is_calculated(convention: LrConvention, shape: tuple[int, int]) -> None:
    python = re.sub(r"(?<=\d) (?=sqrt)", " * ", FORMULAS[convention])
    d_out, d_in = shape
    assert eval(python, {"sqrt": sqrt, "d_out": d_out, "d_in": d_in}) == pytest.approx(update_factor(convention, *shape))


@pytest.mark.parametrize("convention", LR_CONVENTIONS)
def test_an_lr_in_another_convention_is_converted_at_the_base_shape(convention: LrConvention) -> None:
    """Hidden matrices only, each by its own shape; the width rule does the rest, which for Muon's hidden matrices is nothing."""
    base = {"attention": (16, 16), "mlp_in": (64, 16), "mlp_out": (16, 64)}
    for changes in ({}, {"model.width": 64, "model.depth": 2}):
        spec, plain = (tiny_spec("muon", {"lr_convention": name}, **changes) for name in (convention, "none"))
        ours, unconverted = ({group.kind: group.lr for group in one.groups()} for one in (spec, plain))
        factors = {kind: update_factor(convention, *base[kind]) if kind in base else 1.0 for kind in ours}
        assert ours == pytest.approx({kind: lr * factors[kind] for kind, lr in unconverted.items()})
    assert tiny_spec("muon", {"lr_convention": "match_rms_adamw"}).run_id != tiny_spec("muon").run_id
