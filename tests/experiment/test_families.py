"""Arms of another model family than the experiment's."""

from __future__ import annotations

from typing import Any

import pytest
from records import DATA

from hptransfer.base.config import checked
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment
from hptransfer.runs import Job
from hptransfer.trainers import resolve


def make(**arm: Any) -> Experiment:
    fields = {
        "name": "families",
        "model": {"depth": 2, "context": 64, "head_dim": 16, "mlp_ratio": 2},
        "arms": {"decoder": {"optimizer": "adamw"}, "other": {"optimizer": "adamw", **arm}},
        "baseline": "decoder",
        "widths": [16, 32],
        "target_width": 64,
        "horizon": {"policy": "tpp", "tpp": 10},
        "batch_sequences": 4,
    }
    return checked(Experiment, fields, "families.yaml")


def job(experiment: Experiment, arm: str, width: int) -> Job:
    return resolve(experiment.point(experiment.arm(arm), DATA, width=width, lr=0.02, weight_decay=1e-3))


def test_it_has_the_depth_and_the_context_and_its_own_weights() -> None:
    experiment = make(**{"model.family": "lstm"})
    jobs = {arm: job(experiment, arm, 32) for arm in ("decoder", "other")}
    assert jobs["other"].point["depth"] == jobs["decoder"].point["depth"] == 2
    assert jobs["other"].point.settings["model"] == {"family": "lstm", "context": 64}
    assert jobs["decoder"].point.settings["model"]["mlp_ratio"] == 2
    assert {kind.name for kind in jobs["other"].kinds} == {"embedding", "input", "recurrent", "readout", "vector"}
    for found in jobs.values():
        assert found.parameters is not None
        assert abs(found.point["tokens"] - 10 * found.parameters) <= 4 * 64 / 2


def test_one_that_names_the_experiment_s_family_keeps_its_keys() -> None:
    experiment = make(**{"model.family": "gpt"})
    assert job(experiment, "other", 32).run_id == job(experiment, "decoder", 32).run_id


def test_its_own_keys_are_set_in_the_arm() -> None:
    assert job(make(**{"model.family": "lstm", "model.depth": 1}), "other", 32).point["depth"] == 1


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ({"model.family": "lstm", "model.head_dim": 8}, "unknown key 'model.head_dim'"),
        ({"model.family": "gru"}, "unknown model family 'gru'"),
    ],
)
def test_what_no_such_model_has_is_refused(arm: dict[str, Any], says: str) -> None:
    experiment = make(**arm)
    with pytest.raises(UsageError, match=says) as refused:
        job(experiment, "other", 32)
    assert "\n" not in str(refused.value)
