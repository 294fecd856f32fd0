"""Two programs whose compute multiplier is 1.3 at every scale, from the search to the verdict; no process is started."""

from __future__ import annotations

import pytest
from programs import COMMAND, make_experiment, program, record_of, searched

from hptransfer.experiment.membership import members
from hptransfer.runs import Outcome, Record
from hptransfer.trainers import resolve
from hptransfer.validate.protocol import at_searched_scales
from hptransfer.validate.sentences import prediction_verdict
from hptransfer.validate.standing import Standing, protocols, standing

EXPERIMENT = make_experiment(validation={"seeds": 3, "probe_octaves": [1], "ladder": [0.5, 2.0]})


def stands(records: dict[str, Record]) -> Standing:
    return standing(EXPERIMENT, members(records.values(), EXPERIMENT, resolve), resolve, [], lambda run_id: None)


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    """Everything that ``validate --survival`` asks for."""
    records = searched(EXPERIMENT)
    (protocol,) = protocols(EXPERIMENT, stands(records).predictions, resolve)
    for one in (protocol, *at_searched_scales(protocol)):
        while jobs := one.missing(records):
            records |= {job.run_id: record_of(job) for job in jobs}
    return records


def test_the_multiplier_and_its_survival(records: dict[str, Record]) -> None:
    found = stands(records).validations["faster"]
    assert found.baseline == "mine" and found.refusal is None and found.speedup is not None
    multiplier = found.speedup.compute_multiplier["flops"]
    assert multiplier.bracketed and multiplier.low is not None and multiplier.high is not None
    assert 1.1 < multiplier.low < multiplier.high < 1.6
    assert found.survival is not None and found.survival.slope is not None
    assert [(one.width, one.is_held_out) for one in found.survival.scales] == [
        (64, False),
        (128, False),
        (256, False),
        (2048, True),
    ]
    assert found.survival.verdict in ("holds", "cannot_tell") and abs(found.survival.slope.value) < 0.05
    assert {run.kind for run in found.runs} == {"predicted", "lr_probe", "same_hyperparameters"}


def test_what_measures_a_searched_scale_again_is_not_searched(records: dict[str, Record]) -> None:
    """A prediction rests on the search alone: after the measurement it is what it was."""
    before, after = (members(found.values(), EXPERIMENT, resolve) for found in (searched(EXPERIMENT), records))
    assert before.searched == after.searched and not before.repeated["mine"] and after.repeated["mine"]
    assert stands(searched(EXPERIMENT)).predictions == stands(records).predictions


def test_without_another_horizon_there_is_no_ladder_and_sizes_are_all_that_is_said() -> None:
    """The world's tokens are then its own business."""
    command = COMMAND.replace("{tokens}", "2e7")
    arms = {"mine": {}, "faster": {"trainer.command": f"{command} --multiplier 1.3"}}
    experiment = make_experiment(trainer=program(command), arms=arms)
    records = searched(experiment)

    def now() -> Standing:
        return standing(experiment, members(records.values(), experiment, resolve), resolve, [], lambda run_id: None)

    (protocol,) = protocols(experiment, now().predictions, resolve)
    while jobs := protocol.missing(records):
        records |= {job.run_id: record_of(job) for job in jobs}
    speedup = now().validations["faster"].speedup
    assert speedup is not None and speedup.compute_multiplier == {}
    assert [size.width for size in speedup.sizes] == [64, 128, 256, 2048]


def without(records: dict[str, Record], *run_ids: str) -> dict[str, Record]:
    """The same where these runs have failed."""
    outcome = Outcome(state="failed", reason="3 attempts: exit code 1", finished_at="2026-11-26T00:00:00+00:00")
    return records | {run_id: Record(job=records[run_id].job, outcome=outcome) for run_id in run_ids}


def test_a_probe_that_failed_says_nothing(records: dict[str, Record]) -> None:
    """It is neither a bad LR nor the end of the probes; one that diverged is."""
    before = stands(records).validations["mine"]
    (low,) = (run for run in before.runs if run.kind == "lr_probe" and run.factor < 1)
    after = stands(without(records, *low.run_ids)).validations["mine"]
    assert [run.factor for run in after.runs if run.kind == "lr_probe"] == [2.0]
    assert after.regret is not None and after.regret.high is None and before.regret.high is not None


def test_of_a_predicted_run_that_failed_no_speedup_is_claimed(records: dict[str, Record]) -> None:
    lost = stands(records).validations["faster"].predicted.run_ids[1]
    found = stands(without(records, lost)).validations["faster"]
    assert found.speedup is None and found.refusal.code == "failed" and lost in found.refusal.text
    assert found.predicted.failed and "failed" in prediction_verdict(found).text


def test_probes_go_no_further_around_a_run_that_failed(records: dict[str, Record]) -> None:
    """Its loss is unknown, and not infinite."""
    found = stands(without(records, stands(records).validations["mine"].predicted.run_ids[0])).validations["mine"]
    assert {run.factor for run in found.runs if run.kind == "lr_probe"} == {0.5, 2.0}


def test_seeds_that_give_the_very_same_loss_are_no_noise(records: dict[str, Record]) -> None:
    """A program that takes no seed would have any difference for a saving."""
    told = stands(records).validations["faster"].predicted.run_ids
    same = {run_id: records[run_id].model_copy(update={"outcome": records[told[0]].outcome}) for run_id in told}
    found = stands(records | same).validations["faster"]
    assert found.refusal.code == "same_seeds" and "{seed}" in found.refusal.text and found.survival is None
