"""What the library says: to loggers; as lines on stderr where a command shows it."""

import logging
import subprocess
import sys

import pytest

from hptransfer.base.log import show_on_stderr


@pytest.fixture
def shown():
    """As in a command."""
    logger = logging.getLogger("hptransfer")
    before = logger.level, list(logger.handlers)
    show_on_stderr()
    yield logging.getLogger("hptransfer.runs.store")
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


def test_a_command_shows_every_message_as_a_line_of_its_own(shown, capsys) -> None:
    shown.info("3/12  loss %.2f", 1.5)
    shown.warning("damaged")
    shown.debug("nothing for users")
    assert capsys.readouterr() == ("", "3/12  loss 1.50\ndamaged\n")


def test_to_ask_for_it_twice_shows_it_once(shown, capsys) -> None:
    show_on_stderr()
    shown.info("once")
    assert capsys.readouterr().err == "once\n"


def test_without_a_command_a_damaged_record_is_told_and_progress_is_not(tmp_path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/broken.json").write_text("{")
    code = "import logging, hptransfer.runs as runs, sys\nlogging.getLogger('hptransfer.search').info('3/12')\n"
    code += "assert len(runs.Store(sys.argv[1]).records()) == 0"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.startswith(f"store {tmp_path}: runs/broken.json is damaged") and done.stderr.count("\n") == 1
