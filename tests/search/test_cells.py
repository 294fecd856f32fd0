"""A search over several scales: who starts after whom, what it finds, and that it is one search however it went."""

import json
import math
import random

import pytest
from records import EVERYWHERE, record_of
from synthetic import make_experiment

from hptransfer.experiment import Experiment
from hptransfer.runs import Job, Record, Store
from hptransfer.search.studies import Studies, make_studies
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import group_of_arm

TOKENS = 131_072
SETTINGS = {
    "optimizers": ["adamw"],
    "scales": {"tokens": [TOKENS, 4 * TOKENS], "depth": [3, 6]},
    "target": {"tokens": 16 * TOKENS, "depth": 12},
    "search": {"trials": 11, "batch": 4},
}
DRIFTS = {"width": 0.0, "tokens": -0.3, "depth": 0.1}


def best_lr(job: Job) -> float:
    base = {"width": 64, "tokens": TOKENS, "depth": 3}
    return 0.01 * math.prod((job.point[name] / base[name]) ** drift for name, drift in DRIFTS.items())


def loss_of(job: Job) -> float:
    noise = 0.001 * random.Random(job.run_id).gauss(0, 1)
    ratio = 0.02 * math.log(job.point["embedding_lr_ratio"] / 4) ** 2
    return 2 * math.exp(0.03 * math.log(job.point["lr"] / best_lr(job)) ** 2 + ratio + noise)


def finish(studies: Studies, shuffle: random.Random | None = None) -> dict[str, Record]:
    records: dict[str, Record] = {}
    while jobs := studies.missing(records):
        job = shuffle.choice(jobs) if shuffle else jobs[0]
        records[job.run_id] = record_of(job, loss_of(job))
    return records


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return make_experiment(**SETTINGS)


@pytest.fixture(scope="module")
def straight(experiment) -> tuple[Studies, dict[str, Record]]:
    studies = make_studies(experiment, EVERYWHERE)
    return studies, finish(studies)


def test_a_cell_starts_after_those_that_are_smaller_in_a_scale_and_larger_in_none(experiment) -> None:
    full = make_experiment(**SETTINGS, cells="full")
    for one, count in ((experiment, 4), (full, 8)):
        studies = make_studies(one, EVERYWHERE).studies
        assert len(studies) == count
        for study in studies:
            smaller = [
                other.cell
                for other in studies
                if other is not study and all(other.cell[name] <= study.cell[name] for name in study.cell)
            ]
            assert [other.cell for other in study.narrower] == smaller
            assert study.ratio_from is (None if study is studies[0] else studies[0])


def test_it_finds_how_the_optimum_goes_with_each_scale(experiment, straight) -> None:
    """Later cells start about what the smaller ones say: few of their runs are far off."""
    studies, records = straight
    assert len(records) == 4 * 11
    target = resolve(experiment.target_point(experiment.arm("adamw"), EVERYWHERE["adamw"]))
    told = predict_group(group_of_arm("adamw", list(records.values())), target, resolve)
    assert told.lr.low < best_lr(told.run) < told.lr.high
    used = {drift.scale: drift.used for drift in told.drifts if drift.hyperparameter == "lr"}
    assert used["tokens"] == pytest.approx(-0.3, abs=0.12) and abs(used["width"]) < 0.1
    for study in studies.studies[1:]:
        off = [abs(math.log(record.point["lr"] / best_lr(record.job))) for _, record in study.finished]
        assert sum(one > 2 for one in off) <= 2


def test_cells_of_a_budget_are_searched_and_predicted_from_as_others_are() -> None:
    """A wider one has fewer tokens: neither is within the other, and both are within those of a larger budget."""
    bought = make_experiment(
        optimizers=["adamw"],
        budgets=[2e12, 8e12],
        target={"tokens": 64 * TOKENS},
        horizon=None,
        search={"trials": 11, "batch": 4},
    )
    studies = make_studies(bought, EVERYWHERE)
    starts = [[bought.searched_cells.index(other.cell) for other in study.narrower] for study in studies.studies]
    assert starts == [[], [0], [], [0, 2]]
    records = finish(studies)
    assert {tuple(record.point[name] for name in ("width", "tokens")) for record in records.values()} == {
        (cell["width"], cell["tokens"]) for cell in bought.searched_cells
    }
    target = resolve(bought.target_point(bought.arm("adamw"), EVERYWHERE["adamw"]))
    told = predict_group(group_of_arm("adamw", list(records.values())), target, resolve)
    assert told.lr.low < best_lr(told.run) < told.lr.high


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_in_which_runs_finish_changes_nothing(experiment, straight, seed: int) -> None:
    studies = make_studies(experiment, EVERYWHERE)
    assert finish(studies, random.Random(seed)).keys() == straight[1].keys()


def test_the_decisions_name_the_cell(experiment, tmp_path) -> None:
    store = Store(tmp_path / "runs")
    finish(studies := make_studies(experiment, EVERYWHERE, store))
    held = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "studies").glob("*.json")]
    assert sorted(map(str, (one["cell"] for one in held))) == sorted(str(study.cell) for study in studies.studies)
