"""Which arms a command is about."""

from pathlib import Path

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.cli import parse, selection
from hptransfer.experiment import load_experiment
from hptransfer.experiment.choice import arm_options, chosen_arms

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
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(ARMS)
    return tmp_path / "mine.yaml"


def chosen(file: Path, *argv: str):
    """The experiment, the arms, and the options of the next command."""
    args = parse("transfer", ["--experiment", str(file), *argv])
    experiment, arms = chosen_arms(args)
    return experiment, arms, [*selection(args)[2:], *arm_options(arm.name for arm in arms)]


@pytest.mark.parametrize("kinds", ["[mup]", "[sp]", "[mup, sp]"])
@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], None),
        (["--parametrization", "mup"], ["adamw", "muon"]),
        (["--parametrization", "sp"], ["adamw-sp", "muon-sp", "plain"]),
        (["--arm", "slow,plain"], ["slow", "plain"]),
        (["--optimizer", "shampoo", "--parametrization", "mup"], ["shampoo"]),  # one that the experiment has not
        (["--optimizer", "adamw", "--parametrization", "mup,sp"], ["adamw", "adamw-sp"]),
        (["--arm", "adamw-sp,plain"], ["adamw-sp", "plain"]),
        (["--arm", "plain,muon", "--parametrization", "mup"], ["plain", "muon"]),  # an arm has the one that it has
    ],
)
def test_arms_are_named_or_those_of_the_experiment(file, kinds, argv, names):
    argv = ["--set", f"parametrizations={kinds}", *argv]
    plain = load_experiment(str(file), [f"parametrizations={kinds}"])
    experiment, arms, options = chosen(file, *argv)
    found = [arm.name for arm in arms]
    assert found == [arm.name for arm in plain.compared] if names is None else set(names) <= set(found)
    assert [experiment.arm(name) for name in found] == list(arms)
    assert all(experiment.arm(arm.name) == arm for arm in plain.compared)
    again, same, _ = chosen(file, *options)  # as the next command is told
    assert same == arms and again.compared == experiment.compared
    with_all = load_experiment(str(file), [word for word in options if "=" in word])  # as the report is told
    assert with_all.compared == experiment.compared


@pytest.mark.parametrize(
    ("kinds", "name", "arm"), [("[mup]", "muon", "muon"), ("[sp]", "muon", "muon-sp"), ("[mup,sp]", "muon", "muon")]
)
def test_an_arms_name_is_its_own_and_a_recipe_has_the_experiments_first_parametrization(file, kinds, name, arm):
    assert [one.name for one in chosen(file, "--set", f"parametrizations={kinds}", "--optimizer", name)[1]] == [arm]


def test_an_arm_with_a_short_arms_name_goes_before_it(file):
    mine = "arms.muon-sp={optimizer: muon, parametrization: sp, options.momentum: 0.9}"
    _, (arm,), _ = chosen(file, "--set", mine, "--optimizer", "muon", "--parametrization", "sp")
    assert arm.options == {"momentum": 0.9}
    assert [one.name for one in chosen(file, "--set", mine, "--parametrization", "sp")[1]] == ["adamw-sp", "muon-sp", "plain"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--optimizer", "shampo"], "unknown arm or recipe 'shampo'; did you mean 'shampoo'"),
        (["--parametrization", "mpu"], "unknown parametrization 'mpu'; did you mean 'mup'"),
        (["--arm", "plain", "--parametrization", "mup"], "--parametrization mup is heeded by none of --optimizer plain"),
    ],
)
def test_wrong_names_are_one_line(file, argv, says):
    with pytest.raises(UsageError, match=says) as refused:
        chosen(file, *argv)
    assert "\n" not in str(refused.value)
