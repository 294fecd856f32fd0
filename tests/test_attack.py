"""The attack on every command in its short form, and that its judge finds what it is there for."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.attack import schema, world
from benchmarks.attack.calls import call
from benchmarks.attack.judge import REACHED, TRACEBACK, Came, faults
from benchmarks.attack.right import Call
from benchmarks.attack.words import options

ROOT = Path(__file__).parent.parent
CALL = Call("plan", ("--trials=0",), "--trials", "zero", "refuse", ("0", "--trials"))
SAID = "error: argument --trials: '0' is no count\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text(world.NOTE)
    return tmp_path


def test_wrong_calls_end_in_one_line() -> None:
    words = ["-m", "benchmarks.attack", "--calls", "60", "--seed", "2"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("came", "fault"),
    [
        (Came(2, "", SAID, None, 1.0), None),
        (Came(0, "", "", None, 1.0), "accepted"),
        (Came(REACHED, "", "", None, 1.0), "accepted"),
        (Came(TRACEBACK, "", "Traceback (most recent call last)\nKeyError: 1", None, 1.0), "traceback"),
        (Came(-11, "", "", None, 1.0), "traceback"),
        (Came(2, "", SAID, "2 GB", 1.0), "over a limit"),
        (Came(2, "", SAID + "and more", None, 1.0), "message"),
        (Came(2, "", "error: something is wrong", None, 1.0), "message"),
        (Came(2, "half a table", SAID, None, 1.0), "message"),
        (Came(3, "", SAID, None, 1.0), "exit code"),
    ],
)
def test_faults_are_found(home: Path, came: Came, fault: str | None) -> None:
    assert [kind for kind, _ in faults(CALL, came, home)] == ([fault] if fault else [])


def test_a_file_of_the_users_that_is_written_over_is_found(home: Path) -> None:
    (home / "notes.txt").write_text("{}")
    (home / "p.json.1.tmp").touch()
    assert {words for _, words in faults(CALL, Came(2, "", SAID, None, 1.0), home)} == {"notes.txt", "p.json.1.tmp"}


def test_an_answer_with_nan_is_no_json(home: Path) -> None:
    asked = Call("plan", ("--json",), "--trials", "word", None)
    assert [kind for kind, _ in faults(asked, Came(0, '{"a": NaN}', "", None, 1.0), home)] == ["no JSON"]


def test_a_run_that_ends_otherwise_than_its_checkpoint_says_is_found(home: Path) -> None:
    resumed = Call(world.RESUME, (), "a checkpoint", "flipped", "go on")
    assert [kind for kind, _ in faults(resumed, Came(3, "", "", None, 1.0), home)] == ["exit code"]
    assert not faults(resumed, Came(0, "", "checkpoint is damaged", None, 1.0), home)


def test_a_value_is_named_as_a_line_shows_it(home: Path) -> None:
    """Without the characters that turn a line around."""
    call = Call("import", ("x\u202ey",), "PLACE", "unicode", None, ("x\u202ey",))
    assert not faults(call, Came(2, "", "error: x y: no such file or folder\n", None, 1.0), home)


def test_a_call_is_the_same_each_time() -> None:
    for number in range(50):
        one, again = ({**vars(call(7, number)), "prepare": None} for _ in range(2))
        assert one == again


def test_what_must_be_refused_is_what_the_schema_refuses() -> None:
    trials = {kind: refused for kind, _, refused in schema.wrong_yaml("search.trials")}
    assert trials["zero"] and trials["word"] and trials["nan"] and not trials["2^64"]
    assert not {kind: refused for kind, _, refused in schema.wrong_yaml("target_loss")}["null"]
    seeds = next(option for option in options("coordcheck") if option.dest == "seeds")
    texts = {kind: refused for kind, _, refused in schema.wrong_texts(seeds)}
    assert texts["zero"] and texts["negative"] and texts["fraction"] and texts["inf"]
