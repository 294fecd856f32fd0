"""A folder that is known by what lies in it, so that another in its place is not taken for it."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

MARKER = ".hptransfer-store"
GONE = "its folder is not there any more (renamed, or not mounted?)"
ANOTHER = "another store lies in its place"


class Anchor:
    """The identity of a store's folder: a name by chance in a marker in its root.

    A file system that is unmounted leaves an empty folder behind, and who writes there makes a second store beside the first,
    in which nothing is known of it. ``identity``: None until the folder is known, by `settle` or from another process.
    """

    def __init__(self, root: str, identity: str | None) -> None:
        self._root, self._marker, self.identity = root, f"{root}/{MARKER}", identity

    def settle(self) -> None:
        """Know the folder by its marker from now on. Folder and marker are made where they are not there: the only time."""
        if self.identity is not None:
            return
        if (found := self._read()) is None:
            os.makedirs(self._root, exist_ok=True)
            self._mark()
            found = self._read()
        self.identity = found

    def require(self) -> None:
        """Raises OSError where the folder is known and not there, or is another one."""
        if self.identity is None or (found := self._read()) == self.identity:
            return
        raise OSError(errno.ENODEV, GONE if found is None else ANOTHER)

    def _read(self) -> str | None:
        try:
            return Path(self._marker).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _mark(self) -> None:
        """Whole, and by one alone: of commands that begin at once all read what the first has written."""
        mine = Path(f"{self._marker}.{uuid.uuid4().hex}.tmp")
        try:
            mine.write_text(uuid.uuid4().hex)
            try:
                os.link(mine, self._marker)
            except FileExistsError:
                pass
            except OSError:  # a mounted bucket knows no links
                os.replace(mine, self._marker)
        finally:
            mine.unlink(missing_ok=True)
