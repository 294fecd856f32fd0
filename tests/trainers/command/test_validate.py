"""Two programs whose compute multiplier is 1.3 at every scale, from the search to the verdict; no process is started."""

from __future__ import annotations

import pytest
from programs import COMMAND, make_experiment, program, record_of, searched

from hptransfer.experiment.membership import members
from hptransfer.runs import Record
from hptransfer.trainers import resolve
from hptransfer.validate.protocol import at_searched_scales
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
