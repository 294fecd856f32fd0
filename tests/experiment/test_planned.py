"""Cells that are listed, bought by a budget, or on one dial: which there are, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import make_experiment as of_program
from records import DATA

from hptransfer.base.config import checked
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.runs import Job
from hptransfer.trainers import resolve

BATCH = 4 * 128
BUDGETS = [6e10, 2e11]
BOUGHT: dict[str, Any] = {"widths": [32, 16], "budgets": BUDGETS, "target": {"width": 64, "tokens": 100 * BATCH}}
SERIES: dict[str, Any] = {
    "series": {"depth": [2, 3], "width": "16*depth"},
    "horizon": {"policy": "tpp", "tpp": 10.5, "convention": "matrices_and_readout"},
    "target": {"depth": 6},
}


def make(**changes: Any) -> Experiment:
    fields = {"name": "planned", "model": {"depth": 3, "head_dim": 16}, "optimizers": ["adamw", "muon"], "batch_sequences": 4}
    return checked(Experiment, {**fields, **changes}, "planned.yaml")


def job(experiment: Experiment, cell: dict[str, int], arm: str = "adamw") -> Job:
    return resolve(experiment.point(experiment.arm(arm), DATA, **cell, lr=0.02, weight_decay=1e-3))


def test_a_budget_is_spent_at_every_width_to_less_than_a_batch() -> None:
    experiment = make(**BOUGHT)
    assert [cell["width"] for cell in experiment.searched_cells] == [16, 16, 32, 32]
    for cell, budget in zip(experiment.searched_cells, BUDGETS * 2, strict=True):
        found = job(experiment, cell)
        assert found.point["tokens"] == cell["tokens"] and cell["tokens"] % BATCH == 0
        assert abs(found.flops - budget) < BATCH * found.flops / cell["tokens"]
        assert job(experiment, cell, "muon").flops == found.flops
    assert experiment.widths == (16, 32) and experiment.base_width == 16
    assert experiment.smallest("tokens") == min(cell["tokens"] for cell in experiment.searched_cells)


def test_a_budget_buys_less_where_the_vocabulary_is_larger() -> None:
    bytes_, bpe = make(**BOUGHT), make(**BOUGHT, data={"tokenizer": "bpe", "vocab": 2048})
    for one, other in zip(bytes_.searched_cells, bpe.searched_cells, strict=True):
        assert other["tokens"] < one["tokens"]


def test_all_of_a_series_follows_from_its_dial() -> None:
    experiment = make(**SERIES)
    assert experiment.searched_cells == ({"width": 32, "depth": 2}, {"width": 48, "depth": 3})
    assert experiment.target_cell == {"width": 96, "depth": 6}
    for cell in (*experiment.searched_cells, experiment.target_cell):
        found = job(experiment, cell)
        counted = 12 * cell["depth"] * cell["width"] ** 2 + cell["width"] * DATA.vocab
        assert abs(found.point["tokens"] - 10.5 * counted) <= BATCH / 2
    assert found.point.settings["base"] == {"width": 32, "depth": 2, "tokens": 344_064, "batch_tokens": BATCH}


def test_a_series_may_give_the_batch_and_be_bought_by_budgets() -> None:
    """nanochat's own isoFLOP runs: budgets x depths, whose batch goes with the size."""
    series = {"depth": [2, 4], "width": "16*depth", "batch_tokens": "128*round(4*(depth/2)**0.5)"}
    experiment = make(series=series, budgets=BUDGETS, target={"depth": 8, "tokens": 11 * 128 * 100})
    assert len(experiment.searched_cells) == 4
    for cell in experiment.searched_cells:
        assert cell["batch_tokens"] == 128 * round(4 * (cell["depth"] / 2) ** 0.5)
        assert min(abs(job(experiment, cell).flops / budget - 1) for budget in BUDGETS) < 0.02
    assert experiment.target_cell == {"width": 128, "depth": 8, "tokens": 140_800, "batch_tokens": 1024}
    given = make(**SERIES | {"target": {"depth": 6}, "target_width": 128})
    assert given.target_cell == {"width": 128, "depth": 6}


def test_listed_cells_are_those_that_there_are_whatever_is_changed_elsewhere() -> None:
    cells = [{"width": 32, "tokens": 51_200}, {"width": 16, "tokens": "1.024e5"}]
    experiment = make(cells=cells, target_width=64, arms={"plain": {"optimizer": "adamw", "schedule.shape": "constant"}})
    found = ({"width": 16, "tokens": 102_400}, {"width": 32, "tokens": 51_200})
    assert experiment.searched_cells == found
    for other in (experiment.at({"width": 128}), experiment.under(experiment.arm("plain"))):
        assert other.searched_cells == found and other.base_width == 16
    alone = make(cells=[{"width": 16, "tokens": 51_200}, {"width": 32, "tokens": 51_200}], target_width=64)
    assert alone.searched_cells == ({"width": 16}, {"width": 32}) and alone.smallest("tokens") == 51_200


def test_options_change_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nwidths: [16, 32]\nbudgets: [6e10, 2e11]\ntarget: {width: 64, tokens: 51200}\n"
        "batch_sequences: 4\noptimizers: [adamw]\nmodel: {head_dim: 16, context: 128}\n"
    )
    assert load_experiment(str(file)).searched_cells == make(**BOUGHT).searched_cells
    moved = load_experiment(str(file), ["budgets=[1e11]", "widths=[16, 32, 48]"])
    assert [cell["width"] for cell in moved.searched_cells] == [16, 32, 48]
    with pytest.raises(UsageError, match="also searched"):
        load_experiment(str(file), [f"target={moved.searched_cells[-1]}", "target_width=48", "budgets=[1e11]", "widths=[16, 48]"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (BOUGHT | {"budgets": [1e7, 6e10]}, ["1e+07", "width 32", "batches"]),
        (BOUGHT | {"budgets": 6e10}, ["budgets"]),
        (BOUGHT | {"budgets": [6e10, -1]}, ["budgets"]),
        (BOUGHT | {"widths": None}, ["widths"]),
        (BOUGHT | {"widths": [16, 24]}, ["width 24", "head_dim"]),
        (BOUGHT | {"batch_sequences": None}, ["batch_sequences"]),
        (BOUGHT | {"data": {"tokenizer": "bpe"}}, ["data.vocab"]),
        (BOUGHT | {"data": {"vocab": "many"}}, ["data.vocab"]),
        (BOUGHT | {"data": "stdlib"}, ["data"]),
        (BOUGHT | {"model": {"depth": 0}}, ["model.depth"]),
        (BOUGHT | {"cells": "full"}, ["budgets", "cells"]),
        (BOUGHT | {"scales": {"tokens": [51_200]}}, ["budgets", "scales"]),
        (BOUGHT | {"horizon": {"policy": "tpp", "tpp": 20}}, ["20 tokens per parameter"]),
        (BOUGHT | {"schedule": {"warmup_tokens": 150_000}}, ["warmup_tokens", "width 32"]),
        (BOUGHT | {"arms": {"long": {"optimizer": "muon", "budgets": [1e12]}}}, ["budgets"]),
        (SERIES | {"widths": [16]}, ["series", "widths"]),
        (SERIES | {"series": {"depth": [2, 3], "width": "16.3*depth"}}, ["16.3*depth", "whole"]),
        (SERIES | {"series": {"depth": [2, 3], "width": "16*layers"}}, ["layers"]),
        (SERIES | {"series": {"depth": [2, 3], "width": [32, 48]}}, ["series"]),
        (SERIES | {"series": {"layers": [2, 3], "width": "16*layers"}}, ["unknown scale 'layers'"]),
        (SERIES | {"series": {"depth": [2, 3], "batch_tokens": "128*depth"}}, ["width is missing"]),
        (SERIES | {"series": {"depth": [2, 2], "width": "16*depth"}}, ["twice"]),
        (SERIES | {"series": {"depth": [2, 2.5], "width": "16*depth"}}, ["2.5"]),
        (SERIES | {"target": {"depth": "deep"}}, ["target.depth"]),
        (SERIES | {"series": {"depth": [2], "width": 32, "tokens": "51200*depth"}, "budgets": BUDGETS}, ["tokens"]),
        ({"cells": [{"width": 16, "tokens": 51_200}, {"width": 32}], "target_width": 64}, ["{'width': 32}"]),
        ({"cells": [{"width": 16, "tokens": 0}], "target_width": 64}, ["'tokens': 0"]),
        ({"cells": [{"tokens": 51_200}], "target_width": 64}, ["width"]),
        ({"cells": [], "target_width": 64}, ["width"]),
        ({"cells": [{"width": 16, "tokens": 51_200}], "widths": [32], "target_width": 64}, ["widths"]),
        ({"cells": [{"width": 16, "tokens": 51_201}], "target_width": 64}, ["51201"]),
    ],
)
def test_a_plan_that_no_run_can_follow_is_refused(changes: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        make(**changes)
    assert "\n" not in str(refused.value) and all(word in str(refused.value) for word in says)


def test_a_budget_of_a_program_is_refused() -> None:
    with pytest.raises(ValueError, match="list the cells"):
        of_program(budgets=[1e12])
