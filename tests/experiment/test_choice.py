"""Which arms a command is about."""

import argparse
from pathlib import Path

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.experiment.choice import add_arm_options, arm_options, chosen_arms
from hptransfer.experiment.experiment import Arm

ARMS = """
name: mine
model: {head_dim: 16}
base_width: 32
widths: [32, 64]
target_width: 128
horizon: {tokens: 16384}
batch_sequences: 8
optimizers: [adamw, muon]
arms:
  slow: {optimizer: adamw, options.beta2: 0.999}
  plain: {optimizer: muon, parametrization: sp}
"""


@pytest.fixture
def experiment(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(ARMS)
    return load_experiment(str(tmp_path / "mine.yaml"))


def chosen(experiment, *argv: str):
    parser = argparse.ArgumentParser()
    add_arm_options(parser)
    args = parser.parse_args(argv)
    return chosen_arms(experiment, args.optimizer, args.parametrization)


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], ["adamw", "muon", "slow", "plain"]),
        (["--parametrization", "mup"], ["adamw", "muon", "slow"]),
        (["--parametrization", "sp"], ["adamw-sp", "muon-sp", "plain"]),
        (["--optimizer", "muon"], ["muon"]),
        (["--arm", "slow,muon"], ["slow", "muon"]),
        (["--optimizer", "shampoo"], ["shampoo"]),  # one that the experiment has not
        (["--optimizer", "adamw", "--parametrization", "mup,sp"], ["adamw", "adamw-sp"]),
        (["--arm", "adamw-sp,plain"], ["adamw-sp", "plain"]),
        (["--arm", "plain", "--parametrization", "mup"], ["plain"]),  # an arm has the one that it has
    ],
)
def test_arms_are_named_or_those_of_the_experiment(experiment, argv, names):
    found, arms = chosen(experiment, *argv)
    assert [arm.name for arm in arms] == names
    assert [found.arm(name) for name in names] == list(arms)
    assert {arm.name: found.arm(arm.name) for arm in experiment.compared} == {arm.name: arm for arm in experiment.compared}
    assert chosen(experiment, *arm_options(arms).split())[1] == arms  # as the next command is told


def test_where_several_parametrizations_are_compared_an_arms_name_is_its_own(experiment):
    both = experiment.model_copy(update={"parametrizations": ("mup", "sp")})
    assert [arm.name for arm in chosen(both, "--optimizer", "muon,muon-sp")[1]] == ["muon", "muon-sp"]
    under_sp = experiment.model_copy(update={"parametrizations": ("sp",)})
    assert chosen(under_sp, "--optimizer", "muon")[1] == (Arm.of("muon", "sp"),)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--optimizer", "shampo"], "unknown arm or recipe 'shampo'; did you mean 'shampoo'"),
        (["--parametrization", "mpu"], "unknown parametrization 'mpu'; did you mean 'mup'"),
        (["--optimizer", "muon,muon"], "names muon twice"),
        (["--optimizer", ","], "name no arm"),
    ],
)
def test_wrong_names_are_one_line(experiment, argv, says):
    with pytest.raises(UsageError, match=says) as refused:
        chosen(experiment, *argv)
    assert "\n" not in str(refused.value)
