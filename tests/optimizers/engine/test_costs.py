"""Memory and FLOPs of every recipe, by hand at width 16: four attention matrices of 16 x 16, an MLP of 64 x 16 and 16 x 64,
embedding and readout of 32 x 16."""

from __future__ import annotations

import pytest
from tiny import RULED, tiny_spec

from hptransfer.optimizers import RECIPES
from hptransfer.trainers.ours.build import build_model, build_optimizer, optimizer_flops, optimizer_state_bytes

HIDDEN, OTHERS = 4 * 256 + 2 * 1024, 2 * 512
ROWS = 4 * 16 + 64 + 16

# Numbers of state: hidden matrices, then embedding and readout. In 16 x 16 blocks each Gram factor, root or basis of a hidden
# matrix has as many numbers as the matrix; the 32 x 16 ones have them on their shorter axis only, which is one block.
ADAM = 2 * OTHERS
STATE: dict[str, int] = {
    "adamw": 2 * HIDDEN + ADAM,
    "signum": HIDDEN + OTHERS,
    "sgd": HIDDEN + OTHERS,
    "muon": HIDDEN + ADAM,
    "muon-all": HIDDEN + OTHERS,
    "normuon": HIDDEN + ROWS + ADAM,
    "adamuon": 2 * HIDDEN + ADAM,
    "shampoo": 6 * HIDDEN + ADAM,
    "shampoo-quarter": 5 * HIDDEN + ADAM,
    "shampoo-quarter-all": 5 * HIDDEN + OTHERS + 2 * 2 * 256,
    "soap": 6 * HIDDEN + ADAM,
    "soap-all": 6 * HIDDEN + 2 * OTHERS + 2 * 2 * 256,
    "schedulefree-adamw": 2 * HIDDEN + 2 * OTHERS,
    "sf-normuon": 2 * HIDDEN + ROWS + 2 * OTHERS,
    # The radii of six matrices besides.
    "adamh": 2 * HIDDEN + ADAM + 6,
    "muonh": HIDDEN + ADAM + 6,
    "shampooh": 5 * HIDDEN + ADAM + 6,
    "soaph": 6 * HIDDEN + ADAM + 6,
}

# FLOPs of one step. Newton-Schulz: 5 (4 s^2 l + 2 s^3) on shorter side s, longer side l.
NEWTON = 5 * (4 * (4 * 16**2 * 16 + 2 * 16**3) + 2 * (4 * 16**2 * 64 + 2 * 16**3))
# Of n numbers in 16 x 16 blocks: one product with a factor on each side is 2 * 2 * 16 n, the cubes of both sizes sum to 32 n.
PRODUCT, CUBES = 64, 32
SHAMPOO = 4 + 2 * PRODUCT + 11 * CUBES / 10
QUARTER = 4 + 2 * PRODUCT + 11 * CUBES
QUARTER_ONE_SIDE = 4 * 512 + 2 * (2 * 512 * 16) + 11 * 16**3
SOAP = 3 * PRODUCT + 12 + (8 + 8 / 3) * CUBES / 10
SOAP_ONE_SIDE = 3 * (2 * 512 * 16) + 12 * 512 + (8 + 8 / 3) * 16**3 / 10
FLOPS: dict[str, float] = {
    "adamw": 12 * (HIDDEN + OTHERS),
    "signum": 5 * (HIDDEN + OTHERS),
    "sgd": 2 * (HIDDEN + OTHERS),
    "muon": 4 * HIDDEN + NEWTON + 12 * OTHERS,
    "muon-all": 4 * (HIDDEN + OTHERS) + NEWTON + 2 * 5 * (4 * 16**2 * 32 + 2 * 16**3),
    "normuon": 12 * HIDDEN + NEWTON + 12 * OTHERS,
    "adamuon": 16 * HIDDEN + NEWTON + 12 * OTHERS,
    "shampoo": (SHAMPOO + 13) * HIDDEN + 12 * OTHERS,
    "shampoo-quarter": QUARTER * HIDDEN + 12 * OTHERS,
    "shampoo-quarter-all": QUARTER * HIDDEN + 2 * QUARTER_ONE_SIDE,
    "soap": SOAP * HIDDEN + 12 * OTHERS,
    "soap-all": SOAP * HIDDEN + 2 * SOAP_ONE_SIDE,
    "schedulefree-adamw": 12 * (HIDDEN + OTHERS),
    "sf-normuon": 12 * HIDDEN + NEWTON + 12 * OTHERS,
    # To norm 1, along the sphere, and back to it.
    "adamh": (12 + 8) * HIDDEN + 12 * OTHERS,
    "muonh": (4 + 8) * HIDDEN + NEWTON + 12 * OTHERS,
    "shampooh": (SHAMPOO + 8) * HIDDEN + 12 * OTHERS,
    "soaph": (SOAP + 8) * HIDDEN + 12 * OTHERS,
}


@pytest.mark.parametrize(("recipe", "parametrization"), RULED)
def test_state_bytes_are_known_before_the_run(recipe: str, parametrization: str) -> None:
    """What the estimate says, what a run holds, and what the table says; spectral normalisation adds a vector per matrix."""
    spec = tiny_spec(recipe, parametrization=parametrization)
    optimizer = build_optimizer(build_model(spec), spec)
    assert optimizer.state_bytes() == 0
    optimizer.allocate()
    vectors = 4 * 16 + 16 + 64 + 16 if parametrization == "spectral" else 0
    assert optimizer_state_bytes(spec) == optimizer.state_bytes() == 4 * (STATE[recipe] + vectors)


@pytest.mark.parametrize(("precision", "bytes_each", "master"), [("bfloat16", 4, 1), ("float32", 4, 0), ("float64", 8, 0)])
def test_state_bytes_by_precision(precision: str, bytes_each: int, master: int) -> None:
    """Narrow parameters have a wider copy of themselves besides."""
    spec = tiny_spec("soap", precision=precision)
    assert optimizer_state_bytes(spec) == bytes_each * (STATE["soap"] + master * spec.model.parameters())


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_flops_of_every_step(recipe: str) -> None:
    spec = tiny_spec(recipe)
    assert optimizer_flops(spec) == pytest.approx(30 * FLOPS[recipe])
    assert optimizer_flops(spec.at(**{"horizon.tokens": 3 * spec.tokens})) == pytest.approx(3 * optimizer_flops(spec))
    spectral = 5 * HIDDEN + 5 * 512 + 3 * 512
    if (recipe, "spectral") in RULED:
        assert optimizer_flops(spec.at(parametrization="spectral")) == pytest.approx(30 * (FLOPS[recipe] + spectral))


def test_blocks_that_do_not_fit_are_counted_as_they_are_padded() -> None:
    """Blocks of 10 on 16: two per axis, 20 x 20 numbers; an unblocked matrix has factors of its own size."""
    for block, factors in ((10, 4 * 4 * 10**2), (0, 4 * 16**2)):
        spec = tiny_spec("soap", {"block_size": block})
        moments = 2 * 20**2 if block else 2 * 16**2
        mlp = 2 * (7 * 2 * 4 * 10**2 + 7 * 2 * 2 * 10**2) if block else 2 * (2 * 64**2 + 2 * 16**2 + 2 * 1024)
        assert optimizer_state_bytes(spec) == 4 * (4 * (factors + moments) + mlp + ADAM)
