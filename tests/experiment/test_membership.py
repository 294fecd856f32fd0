"""Which runs are an experiment's: those that its arms make, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from records import DATA, record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import Members, members
from hptransfer.runs import Record
from hptransfer.trainers.ours.points import resolve

EXPERIMENT = make_experiment(parametrizations=["mup", "sp"])
LATER = "2026-11-22T20:00:00+00:00"

CHANGES: dict[str, dict[str, Any]] = {
    "horizon": {"horizon": {"policy": "tokens", "tokens": 262_144}},
    "schedule": {"schedule": {"shape": "cosine"}},
    "batch": {"batch_sequences": 16},
    "model": {"model": {"depth": 2}},
    "base": {"base_width": 128},
    "widths": {"widths": [192]},
    "corpus": {"data": {"corpus": "elsewhere"}},
}


def find(records: list[Record], experiment: Experiment = EXPERIMENT) -> Members:
    return members(records, experiment, resolve)


def changed(record: Record, **changes: Any) -> Record:
    return record_of(resolve(record.point.at(**changes)), record.loss, finished_at=LATER)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_runs_of_another_experiment_do_not_belong(change: dict[str, Any]) -> None:
    records = make_records(Truth(), EXPERIMENT, runs=2)
    assert len(find(records).searched["muon"]) == 4
    assert find(records, make_experiment(**change)).records == ()


def test_another_weight_decay_rule_is_the_same_run_at_the_base_width_alone() -> None:
    records = make_records(Truth(), EXPERIMENT, runs=2)
    assert {record.point["width"] for record in find(records, make_experiment(weight_decay_rule="constant")).records} == {64}


def test_at_the_base_shape_one_run_serves_mup_and_sp_and_elsewhere_none_does() -> None:
    for kind, other in (("mup", "sp"), ("sp", "mup")):
        records = make_records(Truth(), EXPERIMENT, runs=3, parametrization=kind)
        found = find(records).searched
        own, others = (found["muon" if one == "mup" else "muon-sp"] for one in (kind, other))
        assert sorted(own, key=lambda record: record.run_id) == sorted(records, key=lambda record: record.run_id)
        assert {record.point["width"] for record in others} == {64} and len(others) == 3


def test_spectral_shares_no_run_with_mup() -> None:
    experiment = make_experiment(parametrizations=["mup", "spectral"])
    records = make_records(Truth(), experiment, runs=2, parametrization="spectral")
    assert len(find(records, experiment).searched["muon-spectral"]) == 4
    assert find(records, experiment).searched["muon"] == ()


def test_at_the_target_any_horizon_and_simple_transfers_belong() -> None:
    (record, *_) = make_records(Truth(), make_experiment(widths=[256], target_width=512), runs=1)
    kept = [changed(record, **change) for change in ({}, {"tokens": 262_144}, {"weight_decay_rule": "constant"})]
    kept.append(changed(record, parametrization="sp", weight_decay_rule="constant"))
    assert len(find(kept).held_out["muon"]) == 4
    assert find([changed(record, schedule={"shape": "cosine"})]).records == ()


def test_runs_of_other_numerics_do_not_belong() -> None:
    """A run of settings that make another name now was trained by a version that computes otherwise."""
    first, *rest = make_records(Truth(), EXPERIMENT, runs=2)
    old = first.model_copy(update={"job": first.job.model_copy(update={"run_id": "0" * 16, "point": first.point.at(numerics=0)})})
    assert len(find([old, *rest]).searched["muon"]) == len(rest)


def test_the_newest_version_of_the_corpus_counts() -> None:
    """However many runs the old one has."""
    old = make_records(Truth(), EXPERIMENT, runs=3)
    new = []
    for record in make_records(Truth(), EXPERIMENT, runs=2):
        new.append(changed(record, data=record.point.settings["data"] | {"sha256": "f" * 64}))
    found = find([*old, *new])
    assert (len(found.records), found.left_out) == (4, 6)
    assert found.corpus is not None and found.corpus.sha256 == "f" * 64


def test_the_options_of_the_search_space_count() -> None:
    records = make_records(Truth(), EXPERIMENT, runs=2)
    others = [changed(record, options=record.point.settings["options"] | {"momentum": 0.5}) for record in records]
    assert len(find([*records, *others]).searched["muon"]) == 4
    space = EXPERIMENT.model_copy(update={"spaces": {"muon": {"options": {"momentum": {"value": 0.5, "source": "here"}}}}})
    assert {record.run_id for record in find([*records, *others], Experiment.model_validate(space.model_dump())).records} == {
        record.run_id for record in others
    }


def test_an_arm_is_any_set_of_settings() -> None:
    arms = {"wide-mlp": {"optimizer": "muon", "model.mlp_ratio": 8.0, "options.momentum": 0.9}}
    experiment = make_experiment(optimizers=["muon"], arms=arms)
    arm = experiment.arm("wide-mlp")
    points = [experiment.point(one, DATA, width=64, lr=0.01, weight_decay=0.0) for one in (experiment.arm("muon"), arm)]
    assert points[1].settings["model"]["mlp_ratio"] == 8.0 and points[1].settings["options"]["momentum"] == 0.9
    jobs = [resolve(point) for point in points]
    assert jobs[0].run_id != jobs[1].run_id and jobs[1].parameters > jobs[0].parameters
    found = find([record_of(job) for job in jobs], experiment).searched
    assert {name: [record.run_id for record in records] for name, records in found.items()} == {
        "muon": [jobs[0].run_id], "wide-mlp": [jobs[1].run_id]
    }  # fmt: skip
