"""What a search may spend: FLOPs that depend on nothing but the studies, hours of the clock; neither is part of a run."""

import random

import pytest
from records import EVERYWHERE, record_of

from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import members
from hptransfer.search import budget
from hptransfer.search.budget import Spending
from hptransfer.search.studies import Studies, make_studies
from hptransfer.trainers.ours.points import resolve


def spending(experiment: Experiment, records: dict, sampler: str = "random", **limits: float) -> tuple[Spending, Studies]:
    search = experiment.search.model_copy(update={"trials": 9, "sampler": sampler})
    limited = experiment.model_copy(update={"search": search, "budget": experiment.budget.model_copy(update=limits)})
    studies = make_studies(limited, EVERYWHERE)
    studies.missing(records)
    return Spending(limited, studies, records), studies


def finish(source: Spending, records: dict, chance: random.Random, limit: int = 1000) -> None:
    while limit and (jobs := source.missing(records)):
        job = chance.choice(jobs)
        records[job.run_id] = record_of(job, 2 + random.Random(job.run_id).random())
        limit -= 1


@pytest.mark.parametrize(
    ("sampler", "share"), [("random", 0.0), ("random", 0.1), ("random", 0.5), ("random", 0.8), ("random", 1.0), ("design", 0.4)]
)
def test_flops_are_spent_to_the_last_trial_that_fits_in_whatever_order_runs_finish(experiment, sampler, share):
    whole = sum(study.cost_per_run * study.trials for study in spending(experiment, {}, sampler)[1].studies)
    counts = []
    for seed in range(3):
        records: dict = {}
        source, studies = spending(experiment, records, sampler, flops=share * whole + 1)
        finish(source, records, random.Random(seed))
        counts.append([len(study.runs(records)) for study in studies.studies])
        spent = sum(record.job.flops for record in records.values())
        largest = max(study.cost_per_run for study in studies.studies)
        assert share * whole - largest < spent <= share * whole + 1
        assert (source.spent(records) is None) == (share == 1)
    assert counts[0] == counts[1] == counts[2]


def test_a_killed_search_spends_no_more_and_one_with_more_budget_goes_on(experiment):
    whole = sum(study.cost_per_run * study.trials for study in spending(experiment, {})[1].studies)
    straight: dict = {}
    finish(spending(experiment, straight, flops=whole)[0], straight, random.Random(0))
    records: dict = {}
    for limit in (3, 4, 1000):  # killed twice
        finish(spending(experiment, records, flops=whole / 2)[0], records, random.Random(0), limit)
    assert sum(record.job.flops for record in records.values()) <= whole / 2
    assert set(records) < set(straight)
    finish(spending(experiment, records, flops=whole)[0], records, random.Random(0))
    assert set(records) == set(straight)


def test_other_runs_of_the_experiment_have_been_paid_for(experiment):
    source, studies = spending(experiment, {})
    target = studies.studies[0].batch[0][1]
    other = resolve(target.point.at(width=64))
    budget_flops = 4 * studies.studies[0].cost_per_run + other.flops
    counts = []
    for records in ({}, {other.run_id: record_of(other)}):
        before = len(records)
        finish(spending(experiment, records, flops=budget_flops)[0], records, random.Random(0))
        counts.append(len(records) - before)
    assert counts[1] < counts[0]
    assert "trials left undone: adamw width 16: " in str(source.spent({}))


def test_hours_end_a_search_by_the_clock(experiment, monkeypatch):
    monkeypatch.setattr(budget, "process_start", lambda: 1000.0)
    source, _ = spending(experiment, {}, hours=2.0)
    monkeypatch.setattr(budget.time, "time", lambda: 1e12)  # somebody has set the date
    monkeypatch.setattr(budget.time, "monotonic", lambda: 1000.0 + 7199)
    assert source.missing({})
    monkeypatch.setattr(budget.time, "time", lambda: 0.0)
    monkeypatch.setattr(budget.time, "monotonic", lambda: 1000.0 + 7200)
    assert not source.missing({})
    assert str(source.spent({})).startswith("the budget of 2 hours is spent; trials left undone: adamw width 16: 9, ")


def test_resources_and_budget_are_no_part_of_a_run(experiment):
    other = Experiment.model_validate(
        experiment.model_dump() | {"resources": {"cpus": 4, "gpus": 0.25}, "budget": {"hours": 1, "flops": 1e9}}
    )
    record = record_of(make_studies(experiment, EVERYWHERE).studies[0].missing({})[0])
    assert members([record], other, resolve).records == (record,)
    assert {run.run_id for run in make_studies(other, EVERYWHERE).missing({})} == {
        run.run_id for run in make_studies(experiment, EVERYWHERE).missing({})
    }
