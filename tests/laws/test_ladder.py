"""The table of an experiment's cells that laws are fitted to."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from programs import FILES
from programs import make_experiment as of_program
from records import DATA, record_of
from synthetic import make_experiment

from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import best_runs, members
from hptransfer.laws.columns import law_table
from hptransfer.laws.curves import curve_table
from hptransfer.laws.isoflop import IsoFlop
from hptransfer.laws.ladder import SCHEMA, ladder
from hptransfer.laws.series import curve_of
from hptransfer.runs import CurvePoint, Job, Record
from hptransfer.trainers import resolve

FACTORS = (0.3, 0.6, 1.2, 2.4, 4.8)
NOISE = 0.002


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment(
        model={"head_dim": 16},
        widths=[32, 64],
        budgets=[2e11, 8e11],
        horizon=None,
        target_width=128,
        target={"tokens": 10**7 // 1024 * 1024},
    )


def lowest(job: Job) -> float:
    """The loss at the cell's best LR."""
    return 1.5 + 20 * job.parameters**-0.3 + 20 * job.point["tokens"] ** -0.28


def searched(
    experiment: Experiment, arm: str = "adamw", best: float = 0.02, factors: tuple[float, ...] = FACTORS
) -> list[Record]:
    found = []
    for cell in experiment.searched_cells:
        for factor in factors:
            point = experiment.point(experiment.arm(arm), DATA, **cell, lr=0.02 * factor, weight_decay=1e-3)
            job = resolve(point)
            noise = NOISE * random.Random(job.run_id).gauss(0, 1)
            found.append(record_of(job, lowest(job) * math.exp(0.03 * math.log(factor) ** 2 + noise)))
    return found


def test_a_row_per_arm_and_cell_with_the_minimum_of_its_bowl(experiment) -> None:
    told = ladder(experiment, members(searched(experiment), experiment, resolve))
    assert dict(told.schema) == SCHEMA and told["arm"].to_list() == ["adamw"] * 4
    assert told.select("width", "tokens").rows() == [(cell["width"], cell["tokens"]) for cell in experiment.searched_cells]
    assert told["runs"].to_list() == [5] * 4 and set(told["loss_of"]) == {"fitted minimum"}
    for row, cell in zip(told.iter_rows(named=True), experiment.searched_cells, strict=True):
        job = resolve(experiment.point(experiment.arm("adamw"), DATA, **cell, lr=0.02, weight_decay=1e-3))
        assert row["loss"] == pytest.approx(lowest(job), rel=3 * NOISE)
        assert min(abs(row["flops"] / budget - 1) for budget in (2e11, 8e11)) < 0.01
        hidden, readout = 12 * 3 * cell["width"] ** 2, 256 * cell["width"]
        counts = hidden + 2 * readout, hidden, hidden + readout
        assert tuple(row[f"params_{name}"] for name in ("all", "non_embedding", "matrices_and_readout")) == counts
        assert row["params"] == job.parameters == counts[0]
        assert row["noise"] == pytest.approx(NOISE, rel=0.9)


def test_where_the_bowl_has_no_minimum_between_the_runs_the_best_run_counts(experiment) -> None:
    """On one side of the optimum, and with too few runs for a bowl: what a fit would say is beyond what was run."""
    one_sided = searched(experiment, "muon", factors=(0.05, 0.1, 0.2, 0.3))
    told = ladder(experiment, members([*searched(experiment), *one_sided], experiment, resolve))
    assert told["arm"].to_list() == ["adamw"] * 4 + ["muon"] * 4
    found = told.filter(arm="muon")
    assert set(found["loss_of"]) == {"best run"}
    losses = [min(r.loss for r in one_sided if r.point.is_in(cell)) for cell in experiment.searched_cells]
    assert found["loss"].to_list() == losses
    few = ladder(experiment, members(searched(experiment, factors=(1.0, 2.0)), experiment, resolve))
    assert set(few["loss_of"]) == {"best run"} and few["noise"].null_count() == 4


def test_an_arm_may_be_a_corpus() -> None:
    """Two ladders that differ in their corpus, whose best tokens per parameter are 40 and 20: one isoFLOP fit has their ratio."""
    best = {"code": 40.0, "prose": 20.0}
    experiment = make_experiment(
        model={"head_dim": 16, "depth": 2},
        widths=[16, 32, 48, 64],
        budgets=[2e11, 4e11],
        horizon=None,
        target_width=128,
        target={"tokens": 10**7 // 1024 * 1024},
        arms={"code": {"optimizer": "adamw"}, "prose": {"optimizer": "adamw", "data.corpus": "prose"}},
        optimizers=[],
        baseline="code",
    )
    runs = []
    for arm, ratio in best.items():
        data = DATA.model_copy(update={"corpus": experiment.under(experiment.arm(arm)).data.corpus})
        for place, cell in enumerate(experiment.searched_cells):
            job = resolve(experiment.point(experiment.arm(arm), data, **cell, lr=0.02, weight_decay=1e-3))
            apart = math.log(job.point["tokens"] / job.parameters / ratio)
            runs.append(record_of(job, 2.0 + 0.02 * apart**2 + 1e-4 * math.sin(9 * place)))
    told = ladder(experiment, members(runs, experiment, resolve))
    assert told["arm"].to_list() == ["code"] * 8 + ["prose"] * 8
    table, _ = law_table(told.with_row_index("row"), IsoFlop, {}, None)
    ratio = IsoFlop(draws=100, fit_by="joint").fit(table).parameters["prose/code.tokens_per_parameter"]
    assert ratio.value == pytest.approx(0.5, rel=0.05) and ratio.low < ratio.value < ratio.high < 0.7


def test_a_cell_without_a_finished_run_has_no_row(experiment) -> None:
    runs = searched(experiment)
    cell = experiment.searched_cells[-1]
    lost = [record_of(one.job, None) if one.point.is_in(cell) else one for one in runs]
    told = ladder(experiment, members(lost, experiment, resolve))
    assert told.height == 3 and set(told["loss_of"]) == {"fitted minimum"}
    assert ladder(experiment, members([], experiment, resolve)).height == 0


def test_of_a_program_that_says_no_kinds_all_parameters_are_known() -> None:
    experiment = of_program()
    cell, arm = experiment.searched_cells[0], experiment.compared[0]
    run = record_of(resolve(experiment.point(arm, FILES, **cell, lr=0.02, weight_decay=0.0)), flops=None, flops_optimizer=None)
    row: dict[str, Any] = ladder(experiment, members([run], experiment, resolve)).row(0, named=True)
    assert row["params"] == run.job.parameters and row["params_all"] is None


def test_the_curve_of_a_cell_is_that_of_its_best_run(experiment) -> None:
    runs = searched(experiment)
    best = best_runs(experiment, runs)
    assert [one.point.scales["tokens"] for one in best] == [cell["tokens"] for cell in experiment.searched_cells]
    assert all(one.loss == min(r.loss for r in runs if r.point.scales == one.point.scales) for one in best)
    tokens, flops = int(best[0].point["tokens"]), best[0].job.flops
    first, third = CurvePoint(step=1, tokens=tokens // 4, val=3.0), CurvePoint(step=3, tokens=tokens // 2, val=2.0)
    curve = (first, CurvePoint(step=2, train=2.5), third, CurvePoint(step=4, tokens=tokens, val=1.9))
    drawn = curve_of(record_of(best[0].job, curve=curve))
    assert [loss for _, loss in drawn] == [3.0, 2.0]
    assert [spent for spent, _ in drawn] == pytest.approx([flops / 4, flops / 2], rel=0.01)
    assert curve_of(record_of(best[0].job)) == []


def test_the_points_of_curves_have_the_learning_rate_of_their_steps(experiment) -> None:
    run = searched(experiment)[1]
    points = (
        CurvePoint(step=1, schedule=0.5, val=3.0),
        CurvePoint(step=2, schedule=1.0),
        CurvePoint(step=3, schedule=0.8, val=2.0),
    )
    bare = CurvePoint(step=4, val=1.9)
    whole, lost = record_of(run.job, curve=(*points, bare)), record_of(run.job, None, curve=points)
    told = curve_table({"adamw": [whole, lost]})
    lr = run.point.hyperparameters["lr"]
    assert told.select("run", "step", "lr", "loss").rows() == [(run.run_id, 1, lr / 2, 3.0), (run.run_id, 3, 0.8 * lr, 2.0)]
    assert set(told["peak"]) == {lr} and set(told["shape"]) == {"linear"} and set(told["arm"]) == {"adamw"}
