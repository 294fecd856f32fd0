"""A program on the command line, without a file."""

from __future__ import annotations

import argparse

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.cli import parse, selection
from hptransfer.experiment import load_experiment
from hptransfer.search.choice import chosen_search

COMMAND = "python train.py --width {width} --lr {lr:.2e} --note 'a: b # c'"


def parsed(*arguments: str) -> argparse.Namespace:
    return parse("search", arguments)


def test_a_command_is_an_experiment_that_the_next_commands_find_too() -> None:
    args = parsed(
        "--command", COMMAND, "--loss", r"val (\S+)", "--widths", "32", "64", "--trials", "6", "--set", "target_width=512"
    )
    experiment, arms = chosen_search(args)
    assert experiment.trainer is not None and experiment.trainer.command == COMMAND and experiment.trainer.loss == r"val (\S+)"
    assert (experiment.widths, experiment.base_width, experiment.target_width) == ((32, 64), 32, 512)
    assert [arm.name for arm in arms] == ["program"] and experiment.search.trials == 6
    words = list(selection(args))
    again = load_experiment(words[1], words[3::2])
    assert again.trainer == experiment.trainer and again.widths == experiment.widths


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--command", "train {lr}"], "--command needs --widths"),
        (
            ["--command", "train {lr}", "--widths", "32", "64", "--experiment", "four-optimizers"],
            "says its trainer.command in its file",
        ),
        (["--loss", "(.*)"], "there is none"),
        (["--command", "train {width}", "--widths", "32", "64"], "no {lr}"),
        (["--command", "train {lr}", "--widths", "32", "64", "--loss", "loss"], "has no group"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_search(parsed(*arguments))
    assert said in str(caught.value) and "\n" not in str(caught.value)
