"""Searches over programs some of whose runs fail; no process is started."""

from __future__ import annotations

import pytest
from programs import FILES, make_experiment, record_of

from hptransfer.base.errors import CheckFailed
from hptransfer.experiment.membership import members
from hptransfer.runs import Job, Outcome, Record, Store
from hptransfer.search.budget import Spending
from hptransfer.search.studies import Studies, make_studies
from hptransfer.trainers import resolve
from hptransfer.transfer.target import arm_group

EXPERIMENT = make_experiment(arms={"mine": {}})


def failed(job: Job) -> Record:
    outcome = Outcome(state="failed", reason="3 attempts: exit code 1", finished_at="2026-11-26T00:00:00+00:00")
    return Record(job=job, outcome=outcome)


def studies() -> Studies:
    return make_studies(EXPERIMENT, {"mine": FILES})


def test_a_failed_run_counts_as_a_trial_and_says_nothing_of_its_values() -> None:
    found, records = studies(), dict[str, Record]()
    while jobs := found.missing(records):
        for job in jobs:
            records[job.run_id] = failed(job) if len(records) % 7 == 3 else record_of(job)
    assert [len(study.finished) for study in found.studies] == [10, 10, 10]
    group = arm_group("mine", members(records.values(), EXPERIMENT, resolve), EXPERIMENT.searched_cells, "mine")
    assert len(group.records) == 30 and {record.state for record in group.used} == {"complete"}
    assert len(group.used) == sum(record.state == "complete" for record in records.values())


def test_a_program_whose_first_runs_all_fail_is_broken() -> None:
    found, records = studies(), dict[str, Record]()
    with pytest.raises(CheckFailed, match=r"the first 3 runs of mine at width 64 failed: 3 attempts: exit code 1; mend it"):
        while jobs := Spending(EXPERIMENT, found, records).missing(records):
            records[jobs[0].run_id] = failed(jobs[0])
    assert len(records) == 3


def test_records_that_are_removed_are_asked_for_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    store, (first, *_) = Store(tmp_path_factory.mktemp("store")), studies().missing({})
    other = resolve(first.point.at(lr=0.05))
    for job in (first, other):
        store.add(failed(job))
    store.compact()
    store.retry([first.run_id])
    assert set(store.records()) == {other.run_id} and store.get(first.run_id) is None
    assert first.run_id in {job.run_id for job in studies().missing(store.records())}


def test_what_is_run_again_changes_no_later_proposal(tmp_path_factory: pytest.TempPathFactory) -> None:
    store, records = Store(tmp_path_factory.mktemp("store")), dict[str, Record]()
    found = make_studies(EXPERIMENT, {"mine": FILES}, store)
    while jobs := found.missing(records):
        for job in jobs:
            records[job.run_id] = failed(job) if len(records) in (3, 13) else record_of(job)
    lost = found.failed(records)
    assert len(lost) == 2
    store.retry(lost)
    records = {run_id: record for run_id, record in records.items() if run_id not in lost}
    again = make_studies(EXPERIMENT, {"mine": FILES}, store)
    asked = set()
    while jobs := again.missing(records):
        asked |= {job.run_id for job in jobs}
        records |= {job.run_id: record_of(job) for job in jobs}
    assert asked == set(lost)
