"""A command under a guard: started, listened to, and ended with everything that it has started."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

GUARD = Path(__file__).with_name("guard.py")


class Process:
    """A running command, its output appended to ``log``. A context manager: at the end of the block nothing of it is left.

    Should this process die, the guard ends the command all the same.
    """

    def __init__(self, command: str, *, folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        asked = json.dumps({"command": command, "folder": str(folder), "log": str(log)})
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        assert self._guard.stdin and self._guard.stdout
        self._held, self._said = self._guard.stdin, self._guard.stdout
        self._guard.wait()  # it goes on as a process of its own
        self._text = b""
        self._found: dict[str, Any] = {}
        self._is_over = False

    @property
    def exit_code(self) -> int | None:
        """Of the command, below 0 the signal that ended it; None while it runs and where it was ended from here."""
        return self._found.get("exit")

    @property
    def memory_bytes(self) -> int | None:
        """The largest resident memory of any of its processes."""
        return self._found.get("memory")

    def wait(self, seconds: float) -> bool:
        """Wait so long for the end at most; whether it has come."""
        if not self._is_over and select.select([self._said], [], [], seconds)[0]:
            more = os.read(self._said.fileno(), 65536)
            self._is_over = not more
            self._text += more
            for line in self._text.splitlines():
                if line.endswith(b"}"):
                    self._found |= json.loads(line)
        return self._is_over

    def end(self) -> None:
        """End it where it still runs, and wait until nothing of it is left."""
        if not self._held.closed:
            self._held.close()
        while not self.wait(60.0):
            pass
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._said.closed:
            self.end()
