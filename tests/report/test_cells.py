"""The page where more than the width was searched."""

from __future__ import annotations

from itertools import product

import pytest
from report import factory
from report.pages import document_of, figures, rows, section

from hptransfer.experiment.membership import members
from hptransfer.report.frames import all_frames
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.results import Results
from hptransfer.validate.standing import standing

TOKENS = [1_048_576, 2_097_152]
CELLS = {f"width {width}, tokens {tokens:.6g}" for width, tokens in product((32, 64), TOKENS)}


@pytest.fixture(scope="module")
def found() -> Results:
    """A search over widths and tokens, and what it predicts."""
    experiment = factory.experiment(
        widths=[32, 64], target_width=128, scales={"tokens": TOKENS}, target={"tokens": 4_194_304}, cells="full"
    )
    records = [
        factory.record(resolve(experiment.point(arm, factory.DATA, **cell, lr=lr, weight_decay=factory.BEST_DECAY, seed=0)))
        for arm in experiment.compared
        for cell in experiment.searched_cells
        for lr in (factory.BEST_LR[arm.name] * factor for factor in (*factory.SEARCHED_LRS, 7.0))
    ]
    own = members(records, experiment, resolve)
    told = standing(experiment, own, resolve, (), lambda run_id: None).predictions
    return Results(experiment, own, told, target=told["muon"].run)


def test_the_cells_are_told_apart(found: Results) -> None:
    frames = all_frames(found)
    for name in ("lr_curves", "lr_fit", "weight_decay_curves"):
        assert set(frames[name]["cell"]) == CELLS, name
    assert frames["lr_curves"]["is_minimum"].sum() == 2 * len(CELLS)
    searched = frames["loss_against_compute"].filter(kind="search")
    assert len(searched) == 2 * len(CELLS) and set(searched["tokens"]) == set(TOKENS)


def test_the_optimum_is_shown_along_every_scale_and_no_line_through_cells_of_others(found: Results) -> None:
    drawn = figures(found)
    for scale, ticks in (("width", {32, 64, 128}), ("tokens", {*TOKENS, 4_194_304})):
        shown = drawn[f"optimum-against-{scale}-muon"]
        assert {min(ticks, key=lambda tick: abs(tick - row["x"])) for row in rows(shown)} == ticks
        assert not rows(shown, "line") and not rows(shown, "area")
        assert len({row["x"] for row in rows(shown)}) == len(CELLS) + 1  # beside each other


def test_the_rules_of_every_scale_are_beside_its_fit(found: Results) -> None:
    rules = section(found, "checks").tables[1]
    optimum, fit = (rules.columns.index(name) for name in ("optimum", "fit alone"))
    muon = {row[optimum]: row[fit] for row in rules.rows if row[0] == "muon"}
    assert set(muon) == {"lr ~ width^", "lr ~ tokens^"} and len(set(muon.values())) == 2


def test_it_says_of_which_cell_it_speaks(found: Results) -> None:
    page = document_of(found)
    assert any("2097152" in line for line in page.lead)
    assert any("tokens 4.1943e+06" in one.title for one in page.sections)
