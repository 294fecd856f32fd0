"""Which arms a search is of."""

import argparse
from pathlib import Path

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.search.choice import add_options, chosen_experiment

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


def chosen(folder: Path, *argv: str) -> tuple[list[str], argparse.Namespace]:
    (folder / "mine.yaml").write_text(ARMS)
    parser = argparse.ArgumentParser()
    add_options(parser)
    args = parser.parse_args(argv)
    args.experiment, args.set = str(folder / "mine.yaml"), []
    experiment = chosen_experiment(args)
    return [arm.name for arm in experiment.compared], args


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], ["adamw", "muon", "slow", "plain"]),
        (["--parametrization", "mup"], ["adamw", "muon", "slow"]),
        (["--optimizer", "muon"], ["muon"]),
        (["--arm", "slow,muon"], ["muon", "slow"]),
        (["--arm", "slow"], ["slow"]),
        (["--optimizer", "shampoo"], ["shampoo"]),  # one that the experiment has not
        (["--optimizer", "adamw", "--parametrization", "mup,sp"], ["adamw", "adamw-sp"]),
        (["--arm", "adamw-sp", "--parametrization", "mup,sp"], ["adamw-sp"]),
    ],
)
def test_arms_are_named_or_those_of_the_experiment(tmp_path, argv, names):
    assert chosen(tmp_path, *argv)[0] == names


def test_what_the_next_stages_share_is_a_setting(tmp_path):
    args = chosen(tmp_path, "--widths", "32", "--parametrization", "sp", "--trials", "7", "--optimizer", "muon")[1]
    assert args.set == ["parametrizations=[sp]", "widths=[32]"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--optimizer", "shampo"], "unknown recipe 'shampo'; did you mean 'shampoo'"),
        (["--optimizer", "muon,muon"], "name a recipe twice"),
        (["--optimizer", ","], "there is nothing to search"),
    ],
)
def test_wrong_names_are_one_line(tmp_path, argv, says):
    with pytest.raises(UsageError, match=says) as refused:
        chosen(tmp_path, *argv)
    assert "\n" not in str(refused.value)
