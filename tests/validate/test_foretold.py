"""What searched cells foretell of the loss at the held-out one, where the truth is known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from report import factory

from hptransfer.transfer.prediction import Optimum, Prediction
from hptransfer.validate.foretold import foretell
from hptransfer.validate.result import Foretold, Validation
from hptransfer.validate.sentences import foretold_sentences

SEEDS = 3
TOLD = factory.prediction(factory.experiment(), "adamw")  # widths 32, 64 and 128 for 256


def law(n: float, d: float) -> float:
    return 1.7 + 60 * n**-0.35 + 90 * d**-0.37


def made(cells: list[dict[str, float]], losses: list[float], noise: float = 0.001, **target: float) -> Prediction:
    """Of cells whose parameters go as the square of the width, for a target."""

    def sizes(scales: dict[str, float]) -> dict[str, float]:
        parameters = 12 * scales["width"] ** 2 * scales.get("depth", 3)
        return {"parameters": int(parameters), "flops": 6.0 * parameters * scales.get("tokens", 1e6)}

    optima = [
        Optimum(scales=cell, best={}, loss=loss, runs=9, diverged=0, **sizes(cell))
        for cell, loss in zip(cells, losses, strict=True)
    ]
    point = TOLD.point.model_copy(update={"scales": TOLD.point.scales | target})
    job = TOLD.run.model_copy(update={"point": point, **sizes(target)})
    return TOLD.model_copy(update={"optima": tuple(optima), "noise": noise, "job": job})


def over_widths(widths: list[float], losses: list[float], target: float = 512, **changes: float) -> Prediction:
    return made([{"width": width} for width in widths], losses, width=target, **changes)


def power(width: float, floor: float = 1.5) -> float:
    return floor + (width / 64) ** -0.4


def test_three_widths_foretell_a_fourth() -> None:
    found = foretell(over_widths([64, 128, 256], [power(width) for width in (64, 128, 256)]), SEEDS)
    assert found.reason is None
    assert found.loss is not None and found.loss.low < power(512) < found.loss.high
    assert found.loss.value == pytest.approx(power(512), rel=0.01)
    assert found.against(power(512)) == "inside" and found.against(1.0) == "below" and found.against(9.0) == "above"
    assert found.against(None) == ""


def test_more_widths_say_more() -> None:
    def spread(widths: list[float]) -> float:
        loss = foretell(over_widths(widths, [power(width) for width in widths]), SEEDS).loss
        return loss.high - loss.low

    assert spread([16, 32, 64, 128, 256]) < 0.7 * spread([64, 128, 256])


def test_the_order_of_the_cells_does_not_matter() -> None:
    widths = [64, 128, 256]
    told = [over_widths(each, [power(width) for width in each]) for each in (widths, widths[::-1])]
    assert foretell(told[0], SEEDS) == foretell(told[1], SEEDS)


def coverage(sizes: int, noise: float, worlds: int) -> float:
    """Share of worlds whose measured mean is inside: sums of two power laws and an end, over widths that double."""
    rng, inside = np.random.default_rng(sizes), 0
    widths = [64 * 2**k for k in range(sizes + 1)]
    for _ in range(worlds):
        end, parts, slopes = rng.uniform(0.5, 2.2), rng.uniform(0.2, 1.2, 2), rng.uniform(0.2, 0.45, 2)
        truth = np.array([end + sum(parts * (width / 64) ** (-2 * slopes)) for width in widths])
        seen = noise * math.sqrt(rng.chisquare(3) / 3)
        told = over_widths(widths[:-1], list(truth[:-1] * np.exp(noise * rng.standard_normal(sizes))), widths[-1], noise=seen)
        measured = truth[-1] * math.exp(noise * rng.standard_normal() / math.sqrt(SEEDS))
        inside += foretell(told, SEEDS).against(measured) == "inside"
    return inside / worlds


@pytest.mark.parametrize("sizes", [3, 4])
@pytest.mark.parametrize("noise", [0.001, 0.005])
def test_the_80_percent_interval_holds_what_is_measured(sizes: int, noise: float) -> None:
    assert 0.7 <= coverage(sizes, noise, 150) <= 0.9


def test_two_widths_say_no_law() -> None:
    found = foretell(over_widths([64, 128], [power(64), power(128)]), SEEDS)
    assert found.loss is None and found.reason.code == "few_sizes"
    assert found.reason.values == {"sizes": 2, "needed": 3}


def test_losses_that_rise_say_no_law() -> None:
    assert foretell(over_widths([64, 128, 256], [2.0, 2.1, 2.2]), SEEDS).reason.code == "not_falling"


def test_what_the_runs_do_not_say_is_no_number() -> None:
    told = over_widths([64, 128, 256], [2.2, 2.1, 2.0])
    silent = [one.model_copy(update={"flops": None}) for one in told.optima]
    assert foretell(told.model_copy(update={"optima": tuple(silent)}), SEEDS).reason.values == {"what": "compute"}
    lost = [one.model_copy(update={"loss": None}) for one in told.optima]
    assert foretell(told.model_copy(update={"optima": tuple(lost)}), SEEDS).reason.values == {"what": "losses"}


def test_tokens_that_grow_with_the_model_are_one_ladder() -> None:
    widths = [64, 128, 256]
    cells = [{"width": width, "tokens": 240 * width**2} for width in widths]
    losses = [law(36 * width**2, 240 * width**2) for width in widths]
    found = foretell(made(cells, losses, width=512, tokens=240 * 512**2), SEEDS)
    assert found.loss.low < law(36 * 512**2, 240 * 512**2) < found.loss.high
    aside = foretell(made(cells, losses, width=512, tokens=240 * 256**2), SEEDS)
    assert aside.reason.code == "off_the_cells" and aside.reason.values == {"scale": "tokens"}


def test_a_target_with_another_depth_than_all_cells_is_on_no_law() -> None:
    cells = [{"width": width, "depth": 3} for width in (64, 128, 256)]
    found = foretell(made(cells, [2.2, 2.1, 2.0], width=512, depth=6), SEEDS)
    assert found.reason.code == "off_the_cells" and found.reason.values == {"scale": "depth"}


def apart(horizons: int, name: str = "tokens") -> Prediction:
    values = {"tokens": [1e6, 4e6, 1.6e7], "batch_tokens": [1024, 4096, 16384]}[name][:horizons]
    cells = [{"width": width, name: value} for width, value in product([64, 128, 256, 512], values)]
    losses = [law(36 * cell["width"] ** 2, cell.get("tokens", 1e6)) for cell in cells]
    return made(cells, losses, noise=0.0005, width=1024, **{name: 4 * values[-1]})


def test_sizes_and_horizons_apart_have_a_law_of_both() -> None:
    found = foretell(apart(3), SEEDS)
    assert found.loss.value == pytest.approx(law(36 * 1024**2, 6.4e7), rel=0.005)
    assert "N^-alpha" in found.law


def test_two_horizons_and_other_scales_have_none() -> None:
    assert foretell(apart(2), SEEDS).reason.values == {"sizes": 4, "horizons": 2, "needed": 3}
    found = foretell(apart(3, "batch_tokens"), SEEDS)
    assert found.reason.code == "other_scale" and found.reason.values == {"scale": "batch_tokens"}


def test_arms_of_which_the_same_is_said_stand_together() -> None:
    two = foretell(over_widths([64, 128], [power(64), power(128)]), SEEDS)
    three = foretell(over_widths([64, 128, 256], [power(width) for width in (64, 128, 256)]), SEEDS)
    first, second = foretold_sentences({"adamw": two, "muon": three, "soap": two})
    assert first.startswith("adamw and soap: no loss is foretold") and "2 searched sizes" in first
    assert second.startswith("muon: ") and "A C^-alpha" in second


def test_validations_of_older_versions_are_read() -> None:
    new = factory.validated(factory.experiment(), "muon")[0].model_copy(update={"foretold": Foretold(law="x")})
    old = {name: value for name, value in new.model_dump(mode="json").items() if name != "foretold"}
    assert Validation.model_validate(old).foretold is None
    assert Validation.model_validate(new.model_dump(mode="json")).foretold == Foretold(law="x")
