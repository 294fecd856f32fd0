"""Runs of programs: what they end as, what is tried again, and what is kept."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from programs import make_experiment, program

from hptransfer.base.errors import UsageError
from hptransfer.experiment.program import ProgramFiles
from hptransfer.runs import Job, Record, Store
from hptransfer.trainers import TRAINERS, Place
from hptransfer.trainers.command.trainer import ATTEMPTS, run_folder

HEAD = "import math, os, pathlib, sys, time\nfolder = pathlib.Path(sys.argv[2])\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(script: str, *, hang_seconds: float = 60.0, **changes: Any) -> Record:
    """What becomes of a script, which gets the LR and its folder, or of the job."""
    Path("script.py").write_text(HEAD + script)
    experiment = make_experiment(
        trainer=program(f"{sys.executable} script.py {{lr}} {{folder}} {{width}}", **changes), arms={"mine": {}}
    )
    arm, trainer = experiment.arm("mine"), TRAINERS.get("command")
    job = trainer.resolve(experiment.point(arm, trainer.inputs(experiment, arm), width=64, lr=0.02, weight_decay=0.0))
    return trainer.train(job, Place(Store("runs"), hang_seconds=hang_seconds, folder=Path.cwd()))


def log_of(job: Job) -> str:
    return (run_folder(Store("runs"), job.run_id) / "output.log").read_text()


def test_a_run_has_its_loss_its_curve_and_its_cost(folder: Path) -> None:
    record = run("for i in range(250): print(f'step {i} final loss {3 - i / 250}')")
    outcome = record.outcome
    assert (outcome.state, outcome.loss) == ("complete", pytest.approx(3 - 249 / 250))
    assert len(outcome.curve) <= 100 and (outcome.curve[-1].step, outcome.curve[-1].tokens) == (249, 249 * 20000)
    assert outcome.flops == record.job.flops and outcome.tokens == 2e7 and (outcome.peak_memory_bytes or 0) > 1e6
    assert Store("runs").get(record.run_id) == record


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('working'); sys.exit(3)", "exit code 3; its last lines: working"),
        ("print('final loss 2.5'); raise ValueError('boom')", "ValueError: boom"),
        ("print('nothing to say')", "it printed no loss"),
        ("os.kill(os.getpid(), 9)", "ended by signal 9"),
    ],
)
def test_what_fails_is_tried_again_and_says_why(script: str, why: str, folder: Path) -> None:
    record = run(script)
    assert record.state == "failed" and record.loss is None
    assert record.outcome.reason is not None and why in record.outcome.reason and "\n" not in record.outcome.reason
    assert log_of(record.job).count("# attempt") == ATTEMPTS


def test_silence_is_ended(folder: Path) -> None:
    began = time.monotonic()
    record = run("print('begins', flush=True); time.sleep(1000)", hang_seconds=1.0)
    assert record.state == "failed" and "said nothing for 1 s" in (record.outcome.reason or "")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("end", ["", "; sys.exit(1)"])
@pytest.mark.parametrize("loss", ["nan", "inf", "NaN"])
def test_a_loss_that_is_no_number_diverged_whatever_the_exit_code(loss: str, end: str, folder: Path) -> None:
    record = run(f"print('final loss {loss}'){end}", loss="final loss (.*)")
    assert (record.state, record.loss) == ("diverged", None)
    assert log_of(record.job).count("# attempt") == 1


def test_a_second_attempt_finds_what_the_first_has_kept(folder: Path) -> None:
    script = (
        "kept = folder / 'kept'\nif kept.exists(): print('final loss', kept.read_text())\n"
        "else: kept.write_text('2.25'); sys.exit(1)"
    )
    record = run(script)
    assert record.loss == 2.25 and log_of(record.job).count("# attempt") == 2


def test_what_went_on_from_an_earlier_attempt_has_no_pace_but_a_first_start(folder: Path) -> None:
    whole = run("print('final loss 2')")
    assert whole.outcome.training_wall_seconds and whole.outcome.started_at <= whole.outcome.finished_at
    script = "kept = folder / 'kept'\nif not kept.exists(): kept.touch(); sys.exit(1)\nprint('final loss 2')"
    twice = run(script)
    assert twice.state == "complete" and twice.outcome.training_wall_seconds is None
    began = "# attempt 1, 2026-01-01T00:00:00+00:00: python\n"  # of a process that died
    (run_folder(Store("runs"), whole.run_id) / "output.log").write_text(began)
    again = TRAINERS.get("command").train(whole.job, Place(Store("runs"), folder=folder))
    assert again.outcome.training_wall_seconds is None and again.outcome.started_at == "2026-01-01T00:00:00+00:00"


def test_an_earlier_attempts_loss_is_not_this_ones(folder: Path) -> None:
    script = "kept = folder / 'kept'\nif not kept.exists(): kept.touch(); print('final loss 2'); sys.exit(1)"
    assert "printed no loss" in (run(script).outcome.reason or "")


def test_a_key_of_a_file_and_further_numbers(folder: Path) -> None:
    script = (
        "import json\nwith open(folder / 'log.jsonl', 'a') as f:\n"
        "    for i in (10, 20): f.write(json.dumps({'step': i, 'val/loss': 3 - i / 20}) + '\\n')\nprint('accuracy 0.75')"
    )
    record = run(script, loss={"file": "{folder}/log.jsonl", "key": "val/loss"}, metrics={"accuracy": r"accuracy (\S+)"})
    assert record.loss == 2.0 and record.outcome.metrics == {"accuracy": 0.75}
    assert [(point.step, point.val) for point in record.outcome.curve] == [(10, 2.5), (20, 2.0)]


@pytest.mark.parametrize(("said", "state", "loss"), [("0.75", "complete", 0.25), ("1.5", "failed", None), ("1", "failed", None)])
def test_an_accuracy_counts_as_its_error(said: str, state: str, loss: float | None, folder: Path) -> None:
    record = run(f"print('step 1 accuracy 0.25'); print('accuracy {said}')", loss=r"accuracy (\S+)", maximize=True)
    assert (record.state, record.loss) == (state, loss)
    assert [point.val for point in record.outcome.curve] == [0.75]  # an error, as the loss is


def test_a_loss_that_is_not_above_0_is_no_loss(folder: Path) -> None:
    record = run("print('final loss -1.5')")
    assert record.state == "failed" and "a loss is above 0" in (record.outcome.reason or "")


def test_a_program_that_has_changed_is_not_run(folder: Path) -> None:
    record = run("print('final loss 2.5')")
    Path("script.py").write_text("print('final loss 1')")
    with pytest.raises(UsageError, match=r"script.py is not the version that these runs are of"):
        TRAINERS.get("command").prepare(record.job, folder)


def test_what_it_depends_on_may_be_said(folder: Path) -> None:
    Path("data.txt").write_text("text")
    experiment = make_experiment(trainer=program("echo {width} final loss {lr}", depends=["data.txt"]), arms={"mine": {}})
    arm, trainer = experiment.arm("mine"), TRAINERS.get("command")
    inputs = trainer.inputs(experiment, arm)
    assert isinstance(inputs, ProgramFiles) and set(inputs.sha256) == {"data.txt"} and experiment.reads(arm, inputs)
    Path("data.txt").unlink()
    with pytest.raises(UsageError, match=r"data.txt, which the command depends on, cannot be read"):
        trainer.inputs(experiment, arm)
