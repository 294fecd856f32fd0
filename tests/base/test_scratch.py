"""Folders that last no longer than their command, however it ends."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hptransfer.base import scratch as room
from hptransfer.base.errors import UsageError
from hptransfer.base.scratch import scratch

HOLDING = """
import sys
from hptransfer.base.scratch import scratch
with scratch() as folder:
    (folder / "what").write_text("it holds")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def other(temporary: Path) -> tuple[subprocess.Popen, Path]:
    """Another process that holds one."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def test_it_is_for_its_user_alone_and_goes_with_the_block(temporary):
    with pytest.raises(ZeroDivisionError), scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep/file").touch()
        assert folder.parent == temporary and folder.stat().st_mode & 0o777 == 0o700
        raise ZeroDivisionError
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_holds_is_not(temporary):
    living, held = other(temporary)
    killed, left = other(temporary)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.exists()
    with scratch():
        assert not left.exists() and (held / "what").exists()
    living.communicate("")
    assert not list(temporary.iterdir())


def test_one_that_is_swept_before_it_is_locked_is_made_again(temporary, monkeypatch):
    lock, swept = fcntl.flock, []

    def late(file: int, how: int) -> None:
        if not swept:  # another command is quicker
            swept.extend(temporary.iterdir())
            shutil.rmtree(swept[0])
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with scratch() as folder:
        assert folder.exists() and [folder] != swept
    assert not list(temporary.iterdir())


def test_one_that_cannot_be_locked_for_want_of_room_is_not_left(temporary, monkeypatch):
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, *more, **by: full() if room.LOCK in str(path) else opened(path, *more, **by))
    with pytest.raises(UsageError, match="No space left"), scratch():
        pass
    assert not list(temporary.iterdir())


def test_a_place_whose_name_is_too_long_for_sockets_is_not_taken(temporary):
    with scratch(longest=30) as folder:
        assert folder.parent == Path("/tmp")
    assert not folder.exists()


def test_a_full_temporary_folder_is_named(temporary, monkeypatch):
    monkeypatch.setattr(room, "bytes", lambda size: full(), raising=False)
    with pytest.raises(UsageError) as refused, scratch():
        pass
    assert str(temporary) in str(refused.value) and "TMPDIR" in str(refused.value) and "No space left" in str(refused.value)
    assert not list(temporary.iterdir())


def full() -> bytes:
    raise OSError(28, os.strerror(28))
