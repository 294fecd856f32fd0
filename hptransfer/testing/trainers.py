"""What every trainer must do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Claim, ClaimLost, Point, Store
from hptransfer.testing.small import require
from hptransfer.trainers import TRAINERS, Place, Trainer


def check_trainer(trainer: Trainer, experiment: Experiment, arm: Arm, folder: Path, *, lr: float, diverging_lr: float) -> None:
    """Run every check on a registered trainer, in stores below ``folder``. ``experiment``: one whose runs take seconds; at ``lr``
    they have a loss, at ``diverging_lr`` none. The working directory is where the trainer finds what it reads."""
    inputs = trainer.inputs(experiment, arm)
    point = experiment.point(arm, inputs, width=experiment.widths[0], lr=lr, weight_decay=0.0)
    _inputs_are_known_again(trainer, experiment, arm)
    _a_job_is_a_function_of_its_point(trainer, point)
    _other_runs_have_other_names(trainer, point)
    _a_run_is_in_the_store_when_it_is_over(trainer, point, Store(folder / "complete"))
    _divergence_is_a_state(trainer, point.at(lr=diverging_lr), Store(folder / "diverged"))
    _a_run_that_is_taken_over_leaves_no_record(trainer, point, Store(folder / "lost"))


def _inputs_are_known_again(trainer: Trainer, experiment: Experiment, arm: Arm) -> None:
    require(TRAINERS.get(trainer.name) is trainer, f"{trainer.name} is not registered: TRAINERS.add(trainer)")
    inputs = trainer.inputs(experiment, arm)
    require(trainer.inputs(experiment, arm) == inputs, f"{trainer.name}: what is read differs from one look to the next")
    require(experiment.reads(arm, inputs), f"{trainer.name}: the experiment does not know its own inputs")
    require(bool(trainer.describe(experiment, arm)), f"{trainer.name}: it says nothing of itself")


def _a_job_is_a_function_of_its_point(trainer: Trainer, point: Point) -> None:
    job = trainer.resolve(point)
    require(trainer.resolve(point) == job, f"{trainer.name}: the same point has two jobs")
    require(trainer.resolve(job.point) == job, f"{trainer.name}: the point of a job has another job")
    again = trainer.resolve(Point.model_validate_json(job.point.model_dump_json()))
    require(again == job, f"{trainer.name}: a point that went through JSON has another job")
    require(job.point["width"] == point["width"] and job.point["lr"] == point["lr"], f"{trainer.name}: a job has other values")


def _other_runs_have_other_names(trainer: Trainer, point: Point) -> None:
    names = {
        "the point": trainer.resolve(point).run_id,
        "another lr": trainer.resolve(point.at(lr=1.5 * point["lr"])).run_id,
        "another width": trainer.resolve(point.at(width=2 * point["width"])).run_id,
        "a replicate": trainer.resolve(point.replicate(1)).run_id,
    }
    require(len(set(names.values())) == len(names), f"{trainer.name}: different runs have one run_id ({names})")


def _a_run_is_in_the_store_when_it_is_over(trainer: Trainer, point: Point, store: Store) -> None:
    job, curve, claim = trainer.resolve(point), list[Any](), _Claim()
    trainer.prepare(job, Path.cwd())
    place = Place(store, cast(Claim, claim), curve.append, hang_seconds=60.0, folder=Path.cwd())
    record = trainer.train(job, place)
    outcome = record.outcome
    require(record.job == job, f"{trainer.name}: the record is of another job")
    require(outcome.state == "complete" and (outcome.loss or 0) > 0, f"{trainer.name}: {outcome.state}, {outcome.reason}")
    require(store.get(job.run_id) == record, f"{trainer.name}: the record is not in the store")
    require(claim.beats > 0, f"{trainer.name}: it never showed that the work goes on")
    require(claim.confirmed, f"{trainer.name}: it did not confirm its claim before it wrote the record")
    require(bool(outcome.device and outcome.finished_at), f"{trainer.name}: device or time is missing")
    require((outcome.training_wall_seconds or 0) > 0, f"{trainer.name}: it does not say how long it took")
    steps = [one.step for one in curve]
    require(bool(steps) and steps == sorted(steps), f"{trainer.name}: the curve that it reports has the steps {steps}")


def _divergence_is_a_state(trainer: Trainer, point: Point, store: Store) -> None:
    job = trainer.resolve(point)
    record = trainer.train(job, Place(store, hang_seconds=60.0, folder=Path.cwd()))
    require(record.state == "diverged" and record.loss is None, f"{trainer.name}: {record.state} where it should have diverged")
    require(bool(record.outcome.reason), f"{trainer.name}: it does not say why the run diverged")


def _a_run_that_is_taken_over_leaves_no_record(trainer: Trainer, point: Point, store: Store) -> None:
    job = trainer.resolve(point)
    try:
        trainer.train(job, Place(store, cast(Claim, _Claim(lost=True)), hang_seconds=60.0, folder=Path.cwd()))
    except ClaimLost:
        require(store.get(job.run_id) is None, f"{trainer.name}: a run that was taken over has a record")
        return
    raise AssertionError(f"{trainer.name}: a run that was taken over went on")


class _Claim:
    """A claim that counts, or that another process has taken over."""

    def __init__(self, *, lost: bool = False) -> None:
        self._lost, self.beats, self.confirmed = lost, 0, False

    def beat(self) -> None:
        self.beats += 1
        self.confirm()

    def confirm(self) -> None:
        if self._lost:
            raise ClaimLost("taken over")
        self.confirmed = True
