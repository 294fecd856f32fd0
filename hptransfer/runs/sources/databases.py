"""SQL databases of trackers, read and never changed: neither a lock file, nor a journal, nor a migration."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hptransfer.base.errors import UsageError, first_line

_URL = re.compile(r"(sqlite|mysql|mariadb|postgresql|postgres|oracle|mssql)(\+\w+)?://")
_MAGIC = b"SQLite format 3\0"


def is_url(place: str) -> bool:
    """Whether a place is the URL of a database, as SQLAlchemy has it."""
    return _URL.match(place) is not None


def shown(place: str) -> str:
    """A place without its password."""
    return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", place)


def sqlite_file(place: str) -> Path | None:
    """The SQLite file at a path or ``sqlite:///…``, or None."""
    path = Path(re.sub(r"^sqlite(\+\w+)?:///(file:)?|[?].*$", "", place) if place.startswith("sqlite") else place)
    try:
        with path.open("rb") as file:
            return path if file.read(len(_MAGIC)) == _MAGIC else None
    except (OSError, ValueError):
        return None


def tables(place: str) -> frozenset[str]:
    """The names of a database's tables; none where it cannot be reached or is no database. A server is asked."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    if not is_url(place) and sqlite_file(place) is None:
        return frozenset()
    try:
        with opened(place) as (url, options):
            engine = create_engine(url, **options)
            try:
                return frozenset(inspect(engine).get_table_names())
            finally:
                engine.dispose()
    except (SQLAlchemyError, ImportError, OSError, UsageError):
        return frozenset()


@contextmanager
def opened(place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """URL and options of SQLAlchemy's ``create_engine`` that read a database. Raises UsageError where a file is none.

    A SQLite file is opened read-only. One with a journal beside it, of a writer that goes on or that died, is read from a copy:
    SQLite would have to write to make it whole.
    """
    if not place.startswith("sqlite") and is_url(place):
        yield place, {}
        return
    path = sqlite_file(place)
    if path is None:
        raise UsageError(f"{place}: no such SQLite database")
    if not _unfinished(path):
        yield "sqlite://", {"creator": lambda: _connected(path, _immutable(path))}
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = _copied(path, Path(folder))
        yield "sqlite://", {"creator": lambda: sqlite3.connect(copy, check_same_thread=False)}


def _unfinished(path: Path) -> dict[Path, tuple[int, int]]:
    """The journals beside a SQLite file that hold something, with what changes when they are written to."""
    stats = {file: file.stat() for suffix in ("-wal", "-journal") if (file := Path(f"{path}{suffix}")).is_file()}
    return {file: (stat.st_size, stat.st_mtime_ns) for file, stat in stats.items() if stat.st_size}


def _copied(path: Path, folder: Path) -> Path:
    """A copy of the file with its journals, of a moment in which none was written to. Raises UsageError where there is none."""
    for _ in range(5):
        before = path.stat().st_mtime_ns, _unfinished(path)
        with suppress(FileNotFoundError):  # a journal that is done with goes
            for file in (path, *before[1]):
                shutil.copyfile(file, folder / file.name)
            if before == (path.stat().st_mtime_ns, _unfinished(path)):
                return folder / path.name
        for file in folder.iterdir():
            file.unlink()
    raise UsageError(f"{path} is being written to all the time; read a copy of it")


def _connected(path: Path, immutable: bool) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(address, uri=True, check_same_thread=False)


def _immutable(path: Path) -> bool:
    """Whether it is in WAL mode (bytes 18 and 19 of the header): SQLite would make its files to read it. Nothing is in them."""
    with path.open("rb") as file:
        return file.read(20)[18:20] == b"\2\2"


def rows(place: str, query: str) -> list[tuple[Any, ...]]:
    """What a query gives. Raises UsageError, one line, where the database cannot answer it."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with opened(place) as (url, options):
            engine = create_engine(url, **options)
            try:
                with engine.connect() as connection:
                    return [tuple(row) for row in connection.execute(text(query))]
            finally:
                engine.dispose()
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise cannot_be_read(place, error) from None


def cannot_be_read(place: str, error: BaseException) -> UsageError:
    """One line for what a database, or the driver of one, says."""
    return UsageError(f"{shown(place)} cannot be read: {shown(first_line(error))}")
