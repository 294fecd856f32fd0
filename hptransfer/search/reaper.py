"""Ends what is left of a Ray that a command has started for itself. A program of its own, of the standard library alone.

Ray's agents and workers see by themselves that Ray is gone, but up to a minute later: until then they hold runs that the next
command waits for. The reaper is no child of the command, so that nothing which ends the command's children ends it. Its standard
input is the line by which the command holds it. Where that is closed, at the end of Ray or by the command's death, every other
process that has a file of Ray's folder open is killed (Linux), and the folder removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

MOST_SECONDS = 60.0  # for processes that cannot be killed at once


def main() -> None:
    folder, command = os.path.realpath(sys.argv[1]), os.getppid()
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    deadline = time.monotonic() + MOST_SECONDS
    while (left := users(folder) - {command}) and time.monotonic() < deadline:
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def users(folder: str) -> set[int]:
    """The processes of this user that have a file below the folder open; none where the system does not say."""
    return (
        {int(name) for name in os.listdir("/proc") if name.isdigit() and _uses(name, folder)} if os.path.isdir("/proc") else set()
    )


def _uses(process: str, folder: str) -> bool:
    files = f"/proc/{process}/fd"
    with suppress(OSError):  # of another user, or gone
        for name in os.listdir(files):
            with suppress(OSError):
                if os.readlink(f"{files}/{name}").startswith(f"{folder}/"):
                    return True
    return False


if __name__ == "__main__":
    main()
