"""Commands that are printed for people to run reach the program as they were meant, whatever is in them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shells import HOSTILE, calls, program

from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError
from hptransfer.cli import perform

QUICKSTART = Path(__file__).parents[2] / "experiments/quickstart.yaml"


def typed(line: str) -> list[str]:
    """What the program is called with when a shell has the line."""
    log = program(Path("bin/hptransfer"))
    environment = os.environ | {"PATH": f"{Path.cwd() / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", line], env=environment, check=True)
    (words,) = calls(log)
    return words


def test_every_word_is_quoted(folder: Path) -> None:
    words = ["search", *HOSTILE, "", "--widths", "32"]
    assert typed(command(*words)) == words
    assert not Path("hit").exists()


def test_what_comes_next_has_the_words_of_the_command_before(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, store = "an experiment $(touch hit).yaml", "a 'store'; touch hit"
    shutil.copyfile(QUICKSTART, experiment)
    words = ["--experiment", experiment, "--set", "description=$(touch hit) & `touch hit`", "--store", store]
    assert perform("plan", [*words, "--optimizer", "adamw", "--trials", "10"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    assert typed(line.removeprefix("next: ")) == ["search", *words, "--optimizer", "adamw", "--trials", "10"]
    assert not Path("hit").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_an_arm_has_no_name_that_a_shell_would_read(folder: Path, text: str) -> None:
    with pytest.raises(UsageError, match="a name has letters, digits"):
        perform("plan", ["--set", f"arms={json.dumps({text: {'optimizer': 'adamw'}})}"])
