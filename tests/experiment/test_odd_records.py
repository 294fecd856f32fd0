"""Runs in a store that no experiment can make anything of: they are nobody's, and stop nothing."""

import json

import pytest
from records import record_of

from hptransfer.experiment.membership import members
from hptransfer.runs import Record
from hptransfer.trainers.ours.points import resolve

ODD = {
    "an unknown recipe": lambda point: point["settings"].update(optimizer="mine"),
    "no recipe": lambda point: point["settings"].pop("optimizer"),
    "no model": lambda point: point["settings"].pop("model"),
    "a base that is none": lambda point: point["settings"].update(base={"width": "wide"}),
    "data that are none": lambda point: point["settings"].update(data={"corpus": 3}),
    "files that are none": lambda point: point["settings"].update(data=None, depends=[1]),
    "a program that is none": lambda point: point["settings"].update(program={"command": 3}),
    "a schedule that is none": lambda point: point["settings"].update(schedule=[1]),
    "options that are none": lambda point: point["settings"].update(options={"beta1": "high"}),
    "no lr": lambda point: point["hyperparameters"].pop("lr"),
    "a negative lr": lambda point: point["hyperparameters"].update(lr=-1.0),
    "no scales": lambda point: point["scales"].clear(),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_record_stops_no_command(experiment, make_run, kind):
    whole = [record_of(make_run(seed=seed)) for seed in range(3)]
    data = json.loads(record_of(make_run(seed=9)).model_dump_json())
    ODD[kind](data["job"]["point"])
    data["job"]["run_id"] = "0" * 16
    found = members([*whole, Record.model_validate(data)], experiment, resolve)
    assert {record.run_id for record in whole} == {record.run_id for record in found.records}
