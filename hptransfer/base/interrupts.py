"""Ctrl-C, SIGTERM and a terminal that is closed, at any moment of a command: one line, exit code 130, and nothing left behind.

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import C extensions lose it or crash; while Ray
starts or ends, half of its processes would stay. So it waits until such work is done (`held`), though not for ever, is raised
again where somebody has swallowed it, and a second one ends the process at once.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from hptransfer.base.processes import end_descendants
from hptransfer.base.scratch import remove_all

_LOG = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOON = 0.05  # seconds until it is tried again, where it had to wait
LAST_SECONDS = 5.0  # for exit functions
SWALLOWED = 5.0  # seconds after which one that was raised is raised again
MOST_SECONDS = 15.0  # that one waits for work which must be done whole: Ray's waits for a process that the same signal has ended

_watched = False
_holds = 0
_came = 0


def watch() -> None:
    """From now on this process, a command's own, ends so. What its parent had it ignore (``nohup``, ``&``) stays ignored."""
    global _watched
    _watched = True
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    signal.signal(signal.SIGALRM, _interrupted)


def has_come() -> bool:
    """Whether one was raised that nobody has `heard`."""
    return _came > 0


def heard() -> None:
    """The interrupt that was raised has been heard: it ended a wait, and the command goes on."""
    global _came
    _came = 0
    signal.setitimer(signal.ITIMER_REAL, 0)


def done() -> None:
    """All is done and said: what comes now changes nothing."""
    if _watched:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def leave() -> int:
    """Say that the command was interrupted, and end its process with all that it has started. In a process that is not a
    command's own only the exit code is returned."""
    done()
    _say()
    if _watched:
        end_now(130)
    return 130


def _say() -> None:
    _LOG.error("interrupted; the same command goes on from here")


def end_now(code: int) -> NoReturn:
    """End this process, a command's own, at once, with all that it has started and left lying. What Python does at its end may
    wait for what has just been ended, or for a cluster that is gone: the exit functions of libraries alone run, and not for
    long."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # all is said: what another thread meets now tells nobody anything
    end_descendants()
    remove_all()
    last = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    last.start()
    last.join(LAST_SECONDS)
    os._exit(code)


@contextmanager
def held() -> Iterator[None]:
    """What must be done whole: an interrupt waits for the end of the block. Handlers that others set in it for these signals are
    not set: Ray's end the process wherever it is, or are lost."""
    global _holds
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    setting = signal.signal

    def kept(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in SIGNALS else setting(number, handler)

    signal.signal = kept  # type: ignore[assignment]
    _holds += 1
    try:
        with _not_for_ever():
            yield
    finally:
        _holds -= 1
        signal.signal = setting
        for number in SIGNALS:
            if (ours := signal.getsignal(number)) is not None:
                signal.signal(number, ours)  # Ray's C++ has set its own, to whom SIGTERM is a crash


@contextmanager
def _not_for_ever() -> Iterator[None]:
    """Within the block, in a command's own process, an interrupt that has waited for `MOST_SECONDS` ends the process: C code in
    the main thread may not return for a minute."""
    if not _watched:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before, over = signal.set_wakeup_fd(writer), threading.Event()

    def wait() -> None:
        while number := os.read(reader, 1):
            if number[0] in SIGNALS and not over.wait(MOST_SECONDS):
                _say()
                end_now(130)
        os.close(reader)

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)


def _interrupted(number: int, frame: FrameType | None) -> None:
    global _came
    if number != signal.SIGALRM:
        _came += 1
        if _came > 1:
            leave()
    waits = _holds or _is_importing(frame)
    signal.signal(signal.SIGALRM, _interrupted)  # Ray's C++ may have had its own come after SIGTERM
    signal.setitimer(signal.ITIMER_REAL, SOON if waits else SWALLOWED)
    if not waits:
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
