"""Runs one command and leaves no process of it behind. A program of its own, of the standard library alone.

It is no child of whoever starts it, so that nothing which ends that process's children ends it. Its standard input is the line
by which the other holds it: where that is closed, on purpose or by a death, everything that the command has started is ended,
however far it has gone away from its group. What came of it is one line of JSON on standard output.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 5.0  # between the request to end and the end
SUBREAPER = 36  # prctl: orphans below this process become its children (Linux)
PDEATHSIG = 1  # prctl: the signal that comes when the parent dies


def main() -> None:
    asked = json.loads(sys.argv[1])
    if os.fork():
        os._exit(0)
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    wakes, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    ended = []
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _: ended.append(got) if got != signal.SIGCHLD else None)
    # A run that goes on elsewhere waits until nothing of its earlier attempt is left.
    lock = os.open(os.path.join(os.path.dirname(asked["log"]), ".lock"), os.O_CREAT | os.O_RDWR)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if ended or (select.select([0], [], [], 0.2)[0] and not os.read(0, 4096)):
                return
    with open(asked["log"], "ab") as log:
        child = subprocess.Popen(
            ["/bin/sh", "-c", asked["command"]],
            cwd=asked["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_the_guard,
        )
    said(pid=child.pid)
    while child.poll() is None and not ended:
        ready, _, _ = select.select([0, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
        if 0 in ready and not os.read(0, 4096):
            break
    code = child.poll()
    end_all(child.pid)
    unit = 1 if sys.platform == "darwin" else 1024
    said(exit=code, memory=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit)


def die_with_the_guard() -> None:
    """In the child: should the guard itself be killed, it is too (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_all(group: int) -> None:
    """End every process below this one: asked first, killed then."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, 60.0)):
        deadline = time.monotonic() + seconds
        send(number, group)
        while below() and time.monotonic() < deadline:
            time.sleep(0.02)
            if number == signal.SIGKILL:
                send(number, group)  # some may have been started since
        if not below():
            return


def send(number: int, group: int) -> None:
    if sys.platform != "linux":  # only the group is known
        with suppress(OSError):
            os.killpg(group, number)
        return
    for pid in below():
        with suppress(OSError):
            os.kill(pid, number)


def below() -> list[int]:
    """Every process below this one that is not dead, its dead children reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return []
    if not os.path.isdir("/proc/self"):
        return [0]  # a child is left, and only its group is known
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b") ")[2].split()[:2]
            except OSError:
                continue
            parents[int(name)] = (int(parent), state in b"ZX")
    found, level = [], {os.getpid()}
    while level:
        level = {pid for pid, (parent, _) in parents.items() if parent in level}
        found += [pid for pid in level if not parents[pid][1]]
    return found


def said(**what: object) -> None:
    """One line to whoever started this, who may be gone."""
    with suppress(OSError):
        os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
