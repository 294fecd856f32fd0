"""An interrupt at a bad moment: in an import, while something is held, where somebody swallows it, while all is done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hptransfer.base.processes import is_running

SAID = "interrupted; the same command goes on from here\n"
BEGIN = """
import subprocess, sys, time
from hptransfer.base import interrupts
from hptransfer.cli import run
def ready(): print("ready", flush=True)
interrupts.watch()
"""
MOMENTS = {
    "in work": "ready(); time.sleep(60)",
    "in an import": "import slow; print('whole'); time.sleep(60)",
    "held": "\n    with interrupts.held():\n        ready(); time.sleep(1); print('whole')\n    time.sleep(60)",
    "held by who has a handler": "\n    with interrupts.held():\n        import signal; signal.signal(signal.SIGTERM, sys.exit)\n"
    "        ready(); time.sleep(1); print('whole')\n    time.sleep(60)",
    "held by C code": "\n    interrupts.MOST_SECONDS = 0.5\n    with interrupts.held():\n        import hashlib; ready()\n"
    "        hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
    "held by who takes the alarm": "\n    import signal\n    with interrupts.held():\n"
    "        signal.signal(signal.SIGALRM, sys.exit); ready(); time.sleep(1); print('whole')\n    time.sleep(60)",
    "after C code has set handlers": "\n    import ctypes\n    with interrupts.held():\n"
    "        for number in (1, 2, 15): ctypes.CDLL(None).signal(number, 0)\n    ready(); time.sleep(60)",
    "made another error of": "\n    try: ready(); time.sleep(60)\n    finally: raise RuntimeError('pop from an empty stack')",
    "swallowed": "interrupts.SWALLOWED = 0.2\n    try: ready(); time.sleep(60)\n    except KeyboardInterrupt: time.sleep(60)",
}
WHOLE = {"in an import", "held", "held by who has a handler", "held by who takes the alarm"}


@pytest.fixture
def begun(tmp_path):
    """Starts a command that does what it is told; one that does not end is ended."""
    processes = []

    def begin(main: str) -> subprocess.Popen:
        processes.append(process := begin_in(tmp_path, main))
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in processes:
        process.kill()


def begin_in(folder: Path, main: str) -> subprocess.Popen:
    (folder / "slow.py").write_text("import time; print('ready', flush=True); time.sleep(1)")
    code = f"{BEGIN}\ndef main():\n    {main}\nrun(main)\n"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.pathsep.join(filter(None, sys.path))}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_is_one_line_and_what_must_be_whole_is(begun, moment, number):
    process = begun(MOMENTS[moment])
    time.sleep(0.1)
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, SAID)
    assert out == ("whole\n" if moment in WHOLE else "")


def test_a_second_one_ends_what_holds_and_all_that_it_has_started(begun):
    child = "subprocess.Popen(['sleep', '600'])"
    process = begun(
        f"child = {child}\n    with interrupts.held():\n        ready(); print(child.pid, flush=True); time.sleep(60)"
    )
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=20)[1], process.returncode) == (SAID, 130)
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_one_that_was_heard_is_not_raised_again(begun):
    heard = "interrupts.SWALLOWED = 2.0\n    try: ready(); time.sleep(60)\n"
    heard += "    except KeyboardInterrupt: interrupts.heard(); time.sleep(4)"
    process = begun(heard)
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=20)[1], process.returncode) == ("", 0)
