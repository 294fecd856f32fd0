"""From the point of a program's run to its job: identity, placeholders, coordinates."""

from __future__ import annotations

import shlex

import pytest
from programs import job_of, make_experiment, program
from pydantic import ValidationError

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment
from hptransfer.experiment.program import ProgramFiles
from hptransfer.trainers import resolve
from hptransfer.trainers.command.points import command

ROLES = "train {width} {lr.embedding} {lr.hidden} {lr.readout} {lr.vector} {weight_decay} {weight_decay_coupled.hidden}"


def numbers(job: object) -> list[float]:
    return [float(word) for word in shlex.split(command(job, {"folder": "f", "gpus": 0, "port": 1}))[1:]]  # type: ignore[arg-type]


def test_a_run_is_its_command_its_files_and_its_seeds() -> None:
    experiment = make_experiment()
    job = job_of(experiment)
    assert resolve(job.point) == job and len(job.run_id) == 16
    others = [
        job_of(experiment, lr=0.021),
        job_of(experiment, width=128),
        job_of(experiment, seed=1),
        job_of(experiment, arm="faster"),
        job_of(experiment, files=ProgramFiles(sha256={"world.py": "1" * 64})),
        job_of(make_experiment(trainer=program(loss="last (.*)"), arms={"mine": {}})),
        resolve(job.point.at(tokens=4e7)),
    ]
    assert len({job.run_id, *(other.run_id for other in others)}) == 1 + len(others)


def test_what_belongs_to_an_attempt_or_is_a_formula_makes_no_other_run() -> None:
    text = f"{program()['command']} --folder {{folder}} --gpus {{gpus}} --port {{port}}"
    one, other = (make_experiment(trainer=program(text, flops=flops), arms={"mine": {}}) for flops in (None, "7*width"))
    assert job_of(one).run_id == job_of(other).run_id
    assert job_of(one).flops is None and job_of(other).flops == 7 * 64
    assert "{folder}" in job_of(one).details["command"]


def test_sizes_that_follow_from_the_width_follow_it_and_a_horizon_that_is_set_stays() -> None:
    experiment = make_experiment(trainer=program(tokens="20*parameters"), arms={"mine": {}})
    job = job_of(experiment)
    assert job.point["tokens"] == 20 * 36 * 64**2 and job.steps == job.point["tokens"] // 20000
    assert resolve(job.point.at(width=128)).point["tokens"] == 20 * 36 * 128**2
    longer = resolve(job.point.at(tokens=10**9))
    assert longer.point["tokens"] == 10**9 == resolve(longer.point.at(width=128)).point["tokens"]
    assert longer.flops == 6 * 36 * 64**2 * 10**9


def test_roles_have_final_numbers_by_the_rule_of_the_arms_optimizer() -> None:
    experiment = make_experiment(trainer=program(ROLES), arms={"a": {"optimizer": "adamw"}}, parametrizations=["mup"])
    tuned = {"lr": 0.01, "weight_decay": 0.002, "embedding_lr_ratio": 4.0}
    width, embedding, hidden, readout, vector, decay, coupled = numbers(job_of(experiment, width=256, **tuned))
    assert width == 256
    assert (embedding, hidden, readout, vector) == pytest.approx((0.04, 0.01 / 4, 0.04 / 4, 0.01))
    assert decay == pytest.approx(0.002 / 4) and coupled == pytest.approx(decay / hidden)
    job = job_of(experiment, width=256, **tuned)
    assert {kind.role: kind.lr for kind in job.kinds}["hidden"] == hidden and job.weight_decay == pytest.approx(decay)
    assert job.exponents == {"hidden": 0.0, "readout": 0.0}


def test_under_sp_numbers_stay_and_theory_expects_the_drift_of_the_rule() -> None:
    experiment = make_experiment(trainer=program(ROLES), arms={"a": {"optimizer": "adamw"}}, parametrizations=["sp"])
    job = job_of(experiment, width=256, lr=0.01)
    assert {kind.lr for kind in job.kinds} == {0.01}
    assert job.exponents == {"hidden": -1.0, "readout": -1.0}
    muon = make_experiment(trainer=program(ROLES), arms={"a": {"optimizer": "muon"}}, parametrizations=["sp"])
    assert job_of(muon).exponents == {"hidden": 0.0, "readout": -1.0}


def test_unknown_coordinates_have_no_theory_no_weights_and_a_constant_decay() -> None:
    experiment = make_experiment(trainer=program("train {width} {lr} {weight_decay} {weight_decay_coupled}"), arms={"mine": {}})
    job = job_of(experiment, width=256, lr=0.01, weight_decay=0.002)
    assert numbers(job) == [256, 0.01, 0.002, pytest.approx(0.2)]
    assert job.exponents == {} and job.kinds == () and job.weight_decay == 0.002


def test_a_hyperparameter_that_the_command_does_not_take_is_none() -> None:
    assert set(job_of(make_experiment(), weight_decay=0.1).point.hyperparameters) == {"lr"}
    space = make_experiment().space(make_experiment().compared[0])
    assert set(space.ranges()) == {"lr"} and space.embedding_lr_ratio.values == (1.0,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer": program("train {width}")}, "no {lr}"),
        ({"trainer": program(loss="loss .*")}, "has no group"),
        ({"trainer": program(loss="loss (")}, "is no regular expression"),
        ({"trainer": program("train {width} {lr.hidden}")}, "which parametrization unknown does not have"),
        ({"trainer": program("train {width} {lr.hidden}"), "parametrizations": ["mup"]}, "set the arm's optimizer"),
        ({"trainer": program("train {lr} {tokens}")}, "the same at every width"),
        ({"trainer": program(tokens=0)}, "formula '0' is 0, which is no size"),
        ({"trainer": program(loss={"file": "log.jsonl", "key": "loss"})}, "runs side by side share it"),
        ({"arms": {"mine": {"search.trials": 3}}}, "the same for all arms"),
        ({"parametrizations": ["sp"]}, "set the arm's optimizer"),
        ({"parametrizations": ["spectral"]}, "of hptransfer's own trainer"),
        ({"baseline": "mien"}, "none of the arms: mine"),
        ({"trainer": None}, "names no optimizer"),
        ({"spaces": {"mine": {}, "adamv": {}}}, "did you mean 'adamw'"),
    ],
)
def test_a_mistake_in_the_experiment_is_one_line(changes: dict[str, object], said: str) -> None:
    with pytest.raises((ValidationError, UsageError)) as caught:
        make_experiment(**({"arms": {"mine": {}}, "spaces": {}} | changes))
    assert said in str(caught.value)


def test_a_range_of_what_the_command_does_not_take_is_refused() -> None:
    experiment = make_experiment(spaces={"mine": {"weight_decay": {"low": 0.1, "high": 1}}})
    with pytest.raises(UsageError, match="the command does not take it"):
        experiment.space(experiment.arm("mine"))


def test_one_file_is_all_that_is_needed() -> None:
    """DESIGN's example, but for its numbers."""
    experiment = Experiment.model_validate(
        {
            "name": "mine",
            "trainer": {"command": "python train.py --width {width} --lr {lr}", "loss": "final loss (.*)"},
            "arms": {"mine": {}},
            "parametrizations": ["unknown"],
            "widths": [64, 128, 256],
            "target_width": 2048,
        }
    )
    assert experiment.base_width == 64
    assert job_of(experiment).parameters is None and "tokens" not in job_of(experiment).point.scales
