"""A command under its guard: what it says, and that nothing of it is left, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hptransfer.trainers.command.process import Process

# Ignores SIGTERM, leaves its group and its parent, and says its number.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(1000)
    os._exit(0)
time.sleep({seconds})
"""


def started(command: str, folder: Path) -> Process:
    return Process(command, folder=folder, log=folder / "log", environment={})


def ends(process: Process) -> int | None:
    while not process.wait(0.1):
        pass
    return process.exit_code


def pid_in(log: Path) -> int:
    deadline = time.monotonic() + 20
    while not (text := log.read_text().strip() if log.is_file() else "") and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(text)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_gone(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_there(pid)


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("no-such-program", 127)])
def test_the_exit_code_is_told(command: str, code: int, tmp_path: Path) -> None:
    with started(command, tmp_path) as process:
        assert ends(process) == code
    assert code != 0 or (process.memory_bytes or 0) > 0


def test_output_and_errors_go_to_the_log_and_the_environment_is_given(tmp_path: Path) -> None:
    with Process("echo $A; echo b >&2; pwd", folder=tmp_path, log=tmp_path / "log", environment={"A": "a"}) as process:
        ends(process)
    assert (tmp_path / "log").read_text() == f"a\nb\n{tmp_path}\n"


def test_a_child_that_outlives_its_program_is_ended(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN.format(seconds=1))
    with started(f"{sys.executable} stubborn.py", tmp_path) as process:
        pid = pid_in(tmp_path / "log")
        assert ends(process) == 0
    assert not is_there(pid)


def test_leaving_the_block_ends_everything(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN.format(seconds=1000))
    with started(f"{sys.executable} stubborn.py", tmp_path) as process:
        pid = pid_in(tmp_path / "log")
        assert is_there(pid)
    assert not is_there(pid) and process.exit_code is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_holder_that_dies_takes_its_command_along(number: int, tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN.format(seconds=1000))
    holder = (
        "import time; from pathlib import Path; from hptransfer.trainers.command.process import Process\n"
        f"process = Process({sys.executable + ' stubborn.py'!r}, folder=Path({str(tmp_path)!r}), log=Path('log'), "
        "environment={})\n"
        "time.sleep(1000)"
    )
    one = subprocess.Popen([sys.executable, "-c", holder], cwd=tmp_path)
    pid = pid_in(tmp_path / "log")
    one.send_signal(number)
    one.wait()
    assert is_gone(pid)


def test_a_second_attempt_waits_for_the_first_and_can_be_given_up(tmp_path: Path) -> None:
    with started("echo $$; sleep 1000", tmp_path):
        first = pid_in(tmp_path / "log")
        with started("echo second", tmp_path) as second:
            assert not second.wait(1.0)
        assert second.exit_code is None
    with started("echo third", tmp_path) as third:
        assert ends(third) == 0
    assert (tmp_path / "log").read_text() == f"{first}\nthird\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_guard_that_is_killed_takes_its_command_along(tmp_path: Path) -> None:
    with started("exec sleep 1000", tmp_path) as process:
        while "pid" not in process._found:
            process.wait(0.05)
        pid = process._found["pid"]
        guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
        os.kill(guard, signal.SIGKILL)
        assert is_gone(pid)
        assert ends(process) is None
