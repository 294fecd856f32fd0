"""The cells of an experiment: how they are written, which there are, and what a run in one of them is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import FILES
from programs import make_experiment as of_program
from records import DATA, record_of
from synthetic import make_experiment

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.membership import members
from hptransfer.runs import Job
from hptransfer.trainers import resolve

TOKENS = [131_072, 524_288]
ALL = {"scales": {"depth": [3, 6], "tokens": TOKENS, "batch_tokens": [1024, 2048]}, "target": {"depth": 12, "tokens": 2_097_152}}


def job(experiment: Experiment, cell: dict[str, int], **values: Any) -> Job:
    tuned: dict[str, Any] = {"lr": 0.02, "weight_decay": 1e-3, "embedding_lr_ratio": 1.0, "seed": 0} | values
    return resolve(experiment.point(experiment.arm("adamw"), DATA, **cell, **tuned))


def test_a_star_has_one_scale_at_a_time_and_full_has_all() -> None:
    star, full = make_experiment(**ALL).searched_cells, make_experiment(**ALL, cells="full").searched_cells
    base = {"width": 64, "depth": 3, "tokens": TOKENS[0], "batch_tokens": 1024}
    assert star[0] == full[0] == base
    moved = [
        base | {name: value} for name, value in {"width": 128, "depth": 6, "tokens": TOKENS[1], "batch_tokens": 2048}.items()
    ]
    assert len(star) == 5 and all(cell in star for cell in moved)
    assert len(full) == 16 and all(cell in full for cell in star)


def test_widths_alone_are_the_same_cells_however_they_are_written() -> None:
    plain = make_experiment()
    long = {"scales": {"width": [64, 128], "tokens": [131_072], "depth": [3]}, "target": {"width": 256}}
    settings = plain.model_dump(exclude_unset=True, exclude={"widths", "target_width"})
    other = Experiment.model_validate(settings | long)
    assert plain.searched_cells == other.searched_cells == ({"width": 64}, {"width": 128})
    for cell in (*plain.searched_cells, plain.target_cell):
        assert job(plain, cell) == job(other, cell)


def test_a_run_in_a_cell_has_its_scales_and_the_rules_between_it_and_the_smallest() -> None:
    """Base coordinates are those of the smallest cell: along the depth, hidden weights get DESIGN 7's L for Adam, none."""
    experiment = make_experiment(**ALL, weight_decay_rule="constant_tau", optimizers=["adamw", "sgd"])
    base, deep = experiment.searched_cells[0], {"width": 64, "depth": 12, "tokens": TOKENS[1], "batch_tokens": 2048}
    found = job(experiment, deep)
    assert found.point.scales == deep and found.point.settings["base"] == base
    assert found.details["residual_multiplier"] == 0.25
    assert found.weight_decay == pytest.approx(1e-3 * 2 / 4)
    point = experiment.point(experiment.arm("sgd"), DATA, **deep, lr=0.1, weight_decay=0.0)
    lrs = {kind.role: kind.lr for kind in resolve(point).kinds}
    assert lrs["hidden"] == pytest.approx(0.4) and lrs["readout"] == pytest.approx(0.1)


def test_a_target_is_as_the_smallest_cell_where_nothing_is_said() -> None:
    experiment = make_experiment(**ALL)
    target = resolve(experiment.target_point(experiment.arm("adamw"), DATA)).point
    assert target.scales == {"width": 256, "depth": 12, "tokens": 2_097_152, "batch_tokens": 1024}
    alone = make_experiment(target={"depth": 6}, target_width=64)
    target = resolve(alone.target_point(alone.arm("adamw"), DATA)).point
    assert target.scales["depth"] == 6 and target.settings["base"]["depth"] == 3
    assert alone.model_dump(include={"target"}) == {"target": {"depth": 6}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scales": {"tokens": TOKENS}, "horizon": {"policy": "tpp", "tpp": 20}}, "20 tokens per parameter"),
        ({"target": {"tokens": 10**7}, "horizon": {"policy": "tpp", "tpp": 20}}, "20 tokens per parameter"),
        ({"scales": {"batch_tokens": [1024, 1100]}}, "batch_tokens 1100"),
        ({"target": {"batch_tokens": 1100}}, "batch_tokens 1100"),
        ({"scales": {"tokens": [131_072, 200_000]}}, "200000"),
        ({"scales": {"layers": [2, 4]}}, "unknown scale 'layers'"),
        ({"scales": {"depth": [2, 2]}}, "twice"),
        ({"scales": {"depth": []}}, "scales.depth"),
        ({"scales": {"depth": [0, 2]}}, "greater than 0"),
        ({"target": {"tokens": 1.5}}, "target.tokens"),
        ({"scales": {"width": [64]}}, "widths"),
        ({"cells": "some"}, "star"),
        ({**ALL, "arms": {"deep": {"optimizer": "muon", "model.depth": 5}}}, "model.depth"),
        ({**ALL, "arms": {"long": {"optimizer": "muon", "horizon": {"tokens": 5}}}}, "horizon"),
    ],
)
def test_what_no_run_can_have_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as refused:
        make_experiment(**changes)
    assert says in str(refused.value)


def test_what_a_program_cannot_have_is_refused() -> None:
    for changes, says in (
        ({"scales": {"depth": [2, 4]}}, "{depth}"),
        ({"scales": {"batch_tokens": [20_000, 40_000]}}, "{batch_tokens}"),
        ({"target": {"depth": 4}}, "target.depth"),
    ):
        with pytest.raises(ValueError) as refused:
            of_program(**changes)
        assert says in str(refused.value)
    grows = {**of_program().trainer.model_dump(exclude_none=True), "tokens": "20*parameters"}
    with pytest.raises(ValueError, match=r"20\*parameters"):
        of_program(trainer=grows, arms={"mine": {}}, baseline=None, scales={"tokens": [10**7, 2 * 10**7]})


def test_a_program_is_told_its_cell() -> None:
    command = "train --w {width} --l {depth} --d {tokens} --b {batch_tokens} --lr {lr}"
    trainer = {"command": command, "loss": "loss (.*)", "parameters": "12*depth*width**2", "flops": "6*parameters*tokens"}
    scales = {"depth": [2, 4], "tokens": ["2e7", 4e7], "batch_tokens": [20_000, 40_000]}
    arms = {
        "mine": {},
        "hidden": {"optimizer": "sgd", "parametrization": "mup", "trainer.command": f"{command} --h {{lr.hidden}}"},
    }
    experiment = of_program(trainer=trainer, arms=arms, scales=scales, spaces={})
    cell = experiment.searched_cells[-1] | {"depth": 4}
    tuned = {"lr": 0.02, "weight_decay": 0.0, "embedding_lr_ratio": 1.0, "seed": 0}
    found = resolve(experiment.point(experiment.arm("mine"), FILES, **cell, **tuned))
    assert found.details["command"] == "train --w 256 --l 4 --d 20000000 --b 20000 --lr 0.02"
    assert found.parameters == 12 * 4 * 256**2 and found.flops == 6 * found.parameters * 2e7
    assert resolve(found.point) == found
    hidden = resolve(experiment.point(experiment.arm("hidden"), FILES, **cell, **tuned))
    assert {kind.role: kind.lr for kind in hidden.kinds}["hidden"] == pytest.approx(0.04)


def test_options_go_over_the_file_in_either_form(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nscales: {width: [32, 64], tokens: [204800, 819200]}\ntarget: {width: 128, tokens: 3276800}\n"
        "batch_sequences: 8\noptimizers: [adamw]\nmodel: {head_dim: 16, context: 128}\n"
    )
    found = load_experiment(str(file))
    assert (found.widths, found.target_cell, found.base_width) == ((32, 64), {"width": 128, "tokens": 3_276_800}, 32)
    moved = load_experiment(str(file), ["widths=[16,32]", "target_width=256", "scales.tokens=[204800]", "target.tokens=1e9"])
    assert (moved.widths, moved.searched_cells[-1], moved.target_cell) == (
        (16, 32),
        {"width": 32},
        {"width": 256, "tokens": 10**9},
    )
    with pytest.raises(UsageError, match="also searched"):
        load_experiment(str(file), ["target={width: 64, tokens: 204800}", "target.tokens=204800"])
    file.write_text(file.read_text() + "widths: [32]\n")
    with pytest.raises(UsageError, match=r"scales\.width is another way to write widths") as refused:
        load_experiment(str(file))
    assert "\n" not in str(refused.value)


def test_runs_belong_to_the_cell_that_they_are_in() -> None:
    experiment = make_experiment(scales={"tokens": TOKENS}, target_width=64, target={"tokens": 4 * TOKENS[1]})
    found = [record_of(job(experiment, cell)) for cell in experiment.searched_cells]
    elsewhere = record_of(job(experiment, {"width": 128, "tokens": TOKENS[1]}))
    held_out = [record_of(job(experiment, {"width": 64, "tokens": tokens}, lr=0.03)) for tokens in (2 * TOKENS[1], 4 * TOKENS[1])]
    again = record_of(job(experiment, {"width": 64, "tokens": TOKENS[1]}, seed=10_000))
    told = members([*found, elsewhere, *held_out, again], experiment, resolve)
    assert {one.run_id for one in told.searched["adamw"]} == {one.run_id for one in found}
    # The target differs in its horizon alone: whatever was not searched there is a rung of its ladder.
    assert {one.run_id for one in told.held_out["adamw"]} == {one.run_id for one in (*held_out, again)}
    wider = make_experiment(scales={"tokens": TOKENS})
    assert [one.run_id for one in members([*found, again], wider, resolve).repeated["adamw"]] == [again.run_id]
