"""What every source must do, on a place of its own kind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from hptransfer.runs.sources.reading import read_rows
from hptransfer.runs.sources.source import ROW, SOURCES, Source
from hptransfer.testing.small import require


def check_source(source: Source, place: str | Path) -> None:
    """Run every check on a source. ``place``: one that it reads, with two rows or more. Raises AssertionError, one line."""
    for check in SOURCE_CHECKS:
        check(source, str(place))


def it_is_found(source: Source, place: str) -> None:
    """It is registered, says why the place is its own, and no other is asked before it that would take it."""
    require(SOURCES.get(source.name) is source, f"{source.name} is not registered: SOURCES.add(source)")
    why = source.sniff(place)
    require(bool(why) and "\n" not in str(why), f"{source.name}: sniff says {why!r} of its own place, not a few words")
    takes = [name for name in SOURCES.names() if SOURCES.get(name).sniff(place)]
    require(takes[0] == source.name, f"{source.name}: {takes[0]} takes {place} before it")
    elsewhere = source.sniff(f"{place}-that-is-not-there")
    require(elsewhere is None, f"{source.name}: takes a place that is not there: {elsewhere}")


def rows_are_told_apart(source: Source, place: str) -> None:
    """One row for each run or step, each with its number; no column without a name, or of a kind that is no value."""
    raw = source.read(place)
    require(ROW in raw.frame.columns, f"{source.name}: the frame has no column ROW")
    require(len(raw.frame) > 1 and not raw.frame[ROW].is_duplicated().any(), f"{source.name}: ROW does not tell rows apart")
    require(all(name.strip() for name in raw.frame.columns), f"{source.name}: a column has no name")
    nested = [name for name, kind in raw.frame.schema.items() if kind.is_nested() or kind in (pl.Object, pl.Binary)]
    require(not nested, f"{source.name}: columns {nested} hold no single values; nested keys are joined by dots")


def what_it_says_holds(source: Source, place: str) -> None:
    """Roles are columns, words are lines, and a second reading is the same."""
    raw, again = source.read(place), source.read(place)
    strange = [name for name in raw.roles.values() if name not in raw.frame.columns]
    require(not strange, f"{source.name}: roles name columns {strange}, which are not there")
    lines = (raw.what, *raw.notes)
    require(all(line.strip() and "\n" not in line for line in lines), f"{source.name}: what and notes are not lines of words")
    require(raw.frame.equals(again.frame), f"{source.name}: two readings differ")
    require(len(read_rows(place, source.name).frame) == len(raw.frame), f"{source.name}: rows are lost on the way")


def nothing_is_changed(source: Source, place: str) -> None:
    """Looking and reading leave every file as it was, and make none."""
    before = _files(place)
    source.sniff(place)
    source.read(place)
    require(_files(place) == before, f"{source.name}: reading {place} changed what is there")


def _files(place: str) -> dict[str, str]:
    """The hash of each file of a place and of its folder, by path."""
    path = Path(place)
    inside = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in inside if one.is_file()}


SOURCE_CHECKS = (it_is_found, rows_are_told_apart, what_it_says_holds, nothing_is_changed)
