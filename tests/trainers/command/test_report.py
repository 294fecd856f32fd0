"""The page of programs: what they do not say is said to be unknown, and nothing else is claimed of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from programs import COMMAND, make_experiment, program, record_of, searched

from hptransfer.cli import perform
from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import members
from hptransfer.runs import CurvePoint, Record, Store
from hptransfer.trainers import resolve
from hptransfer.validate.standing import protocols, standing

VALIDATION = {"seeds": 2, "probe_octaves": [1], "ladder": [0.5, 2.0]}


def with_steps(record: Record) -> Record:
    """The record of a program that prints a step with its losses."""
    curve = tuple(CurvePoint(step=step, val=record.loss) for step in (10, 20)) if record.loss else ()
    return record.model_copy(update={"outcome": record.outcome.model_copy(update={"curve": curve})})


def page(experiment: Experiment, folder: Path) -> str:
    """The report of a search and a validation, as text."""
    records = searched(experiment)
    found = members(records.values(), experiment, resolve)
    stands = standing(experiment, found, resolve, [], lambda run_id: None)
    for protocol in protocols(experiment, stands.predictions, resolve):
        while jobs := protocol.missing(records):
            records |= {job.run_id: record_of(job) for job in jobs}
    for record in records.values():
        Store("runs").add(with_steps(record))
    content = experiment.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    perform("report", ["--experiment", "mine.yaml"])
    assert json.loads((folder / "reports/mine/summary.json").read_text())["runs"] == {"complete": len(records)}
    return (folder / "reports/mine/report.md").read_text()


@pytest.mark.parametrize("says", [{}, {"tokens": None, "batch_tokens": None, "flops": None, "parameters": None}])
def test_a_program_that_says_little_has_a_page(says: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "world.py").touch()
    command = COMMAND.replace("{tokens}", "2e7") if says else COMMAND
    arms = {"mine": {}, "faster": {"trainer.command": f"{command} --multiplier 1.3"}}
    trainer = {name: value for name, value in (program(command) | says).items() if value is not None}
    said = page(make_experiment(trainer=trainer, arms=arms, validation=VALIDATION), tmp_path)
    assert "No run has completed yet" not in said and "No predicted run" not in said and "by role" not in said
    assert ("The runs do not say what compute they took." in said) == bool(says)
    assert ("The runs say no losses on the way, or not after how many tokens." in said) or not says
