"""Processes by more than their number, which another process may have by now."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path


def started(pid: int) -> str:
    """What tells a process from a later one of its number: the boot, and its start in ticks since then; "" where there is none,
    or the system (not Linux) does not say."""
    fields = _stat(pid)
    return f"{_boot()} {fields[19]}" if fields else ""


def is_running(pid: int, since: str = "") -> bool:
    """Whether this machine has that process, which `started` as ``since`` says where that is known; one that is dead and not
    yet reaped does not count."""
    if pid <= 0:  # numbers of whole groups
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    fields = _stat(pid)
    if not fields:  # not Linux, or it went in this moment: seen at the next look
        return True
    return fields[0] not in "ZX" and since in ("", started(pid))


def umask() -> int:
    """That of this process: which permissions its new files lack."""
    os.umask(before := os.umask(0o077))
    return before


def parent(pid: int) -> int | None:
    """The process that has started another, or has inherited it; None where that is not known."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _descendants() -> dict[int, str]:
    """Every process below this one, with when it was started. Empty where the system does not say."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdecimal() and (above := parent(int(name))):
            children.setdefault(above, []).append(int(name))
    found, left = dict[int, str](), [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found |= {pid: started(pid) for pid in below}
        left += below
    return found


def end_descendants() -> None:
    """Kill every process below this one. They are stopped first: none starts another while they are counted."""
    for pid in (known := _descendants()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGSTOP)
    for pid, since in (known | _descendants()).items():
        if is_running(pid, since):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return []


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
