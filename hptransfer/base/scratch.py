"""Folders for what lasts no longer than a command: for this user alone, and gone at the end however it ends."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hptransfer.base.errors import UsageError

PREFIX = "hptransfer-"
LOCK = ".lock"
LEAST_BYTES = 16 << 20  # of free space: Ray's logs, and room to live

_folders: set[Path] = set()


@contextmanager
def scratch(longest: int | None = None) -> Iterator[Path]:
    """A new folder in the system's temporary folder (TMPDIR), or in /tmp where its name would be longer than ``longest``.

    It is removed with the block, or by `remove_all`. A process that was killed leaves its own: whoever comes next removes that,
    by the lock which only a living process holds. Raises UsageError where there is no room.
    """
    try:
        above = tempfile.gettempdir()
        if longest is not None and len(above) + len(PREFIX) + 9 > longest:
            above = "/tmp"
        _sweep(above)
        folder, lock = _make(above)
    except OSError as error:
        raise UsageError(f"the temporary folder (TMPDIR) cannot be written: {error.strerror or error}") from None
    try:
        _require_room(folder)
        yield folder
    finally:
        os.close(lock)
        _remove(folder)


def remove_all() -> None:
    """Remove every folder of this process: it ends without the ends of its blocks."""
    for folder in tuple(_folders):
        _remove(folder)


def _make(above: str) -> tuple[Path, int]:
    """A folder and its lock, which this process holds."""
    while True:
        folder = Path(above, f"{PREFIX}{secrets.token_hex(4)}")
        _folders.add(folder)  # before it is there: an interrupt may come in between
        try:
            folder.mkdir(mode=0o700)
            lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            with suppress(OSError):  # a file system without locks: then nobody sweeps it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.lexists(folder / LOCK):
                return folder, lock
            os.close(lock)  # another command swept it before it was locked
        except FileExistsError:
            _folders.discard(folder)
        except OSError:
            _remove(folder)
            raise


def _require_room(folder: Path) -> None:
    trial = folder / "room"
    try:
        with trial.open("wb") as file:
            for _ in range(LEAST_BYTES >> 20):
                file.write(bytes(1 << 20))
    except OSError as error:
        need = f"{LEAST_BYTES >> 20} MB are needed there"
        raise UsageError(f"the temporary folder {folder.parent} (TMPDIR): {error.strerror or error}; {need}") from None
    finally:
        trial.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    for _ in range(3):  # what was killed a moment ago may still have written
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
    _folders.discard(folder)


def _sweep(above: str) -> None:
    """Remove what processes have left that were killed."""
    for lock in Path(above).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # held by a process that lives
            if lock.parent.lstat().st_uid != os.getuid():
                continue
            found = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.parent)
            finally:
                os.close(found)
