"""JSON: an object for each run in a list, on a line of its own, under a name, or a list for each column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from hptransfer.base.compressed import without_compression
from hptransfer.base.errors import UsageError
from hptransfer.base.words import listing
from hptransfer.runs.sources.columns import raw_of
from hptransfer.runs.sources.contents import start_of, text_of
from hptransfer.runs.sources.rows import MOST_DEPTH, column_of, columns_of, flat
from hptransfer.runs.sources.source import Raw

SUFFIXES = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class JsonRows:
    """The source ``json``."""

    name: str = "json"

    def sniff(self, place: str) -> str | None:
        try:
            start = (start_of(place) or "").lstrip()
        except UsageError:
            return None
        inside = start[1:].lstrip()[:1]
        if (start[:1] == "{" and inside in ('"', "}")) or (start[:1] == "[" and inside in ("{", "[", "]")):
            return "it is JSON"
        suffix = without_compression(place).suffix.lower()
        return f"its name ends in {suffix}" if suffix in SUFFIXES and start else None

    def read(self, place: str) -> Raw:
        text, packing = text_of(place)
        if not text.strip():
            raise UsageError(f"{place} is empty")
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) > 1 and _is_object(lines[0][1]):
            rows, objects, notes = _by_line(place, lines)
            return raw_of(place, columns_of(objects), rows, ", ".join(["JSON, an object a line", *packing]), notes)
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{place} is no JSON: {_why(error)}") from None
        columns, how = _columns(place, whole)
        count = len(columns[0]) if columns else 0
        return raw_of(place, columns, range(1, count + 1), ", ".join([f"JSON, {how}", *packing]))


SOURCE = JsonRows()


def _by_line(place: str, lines: Sequence[tuple[int, str]]) -> tuple[list[int], list[dict[str, Any]], list[str]]:
    """The objects of a file that has one on each line, `flat`, with their lines; the last may be cut by a job that writes."""
    rows, objects = list[int](), list[dict[str, Any]]()
    for number, line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == lines[-1][0]:
                return rows, objects, [f"line {number}, the last, is no whole object and is left out: is it still being written?"]
            raise UsageError(f"{place} line {number} is no JSON: {_why(error)}") from None
        if not isinstance(found, dict):
            raise UsageError(f"{place} line {number} holds {_kind(found)}, where the lines before it hold an object each")
        rows.append(number)
        objects.append(flat(found))
    return rows, objects, []


def _columns(place: str, whole: Any) -> tuple[list[pl.Series], str]:
    """The columns of a whole document, and how it holds them. Raises UsageError where it has no rows, or more
    than one list of them."""
    if _are_objects(whole):
        return _of_objects(whole), "a list of objects"
    if not isinstance(whole, dict):
        raise UsageError(f"{place} holds {_kind(whole)}, and not an object for each run")
    if isinstance(whole.get("columns"), list) and isinstance(whole.get("data"), list):  # pandas' "split", and a table of W&B
        return _split(place, whole["columns"], whole["data"]), "columns and data"
    values = list(whole.values())
    if values and all(isinstance(value, list) and not _are_objects(value) for value in values):
        if len({len(value) for value in values}) > 1:
            lengths = listing([f"{len(value)} in {name!r}" for name, value in list(whole.items())[:3]])
            raise UsageError(f"{place}: its columns differ in length: {lengths}")
        return [column_of(name, value) for name, value in whole.items()], "a list for each column"
    lists = dict(_lists(whole, ""))
    if len(lists) > 1:
        raise UsageError(f"{place} has several lists of objects, {listing(sorted(lists))}; keep the one that is of runs")
    if lists:
        return _of_objects(next(iter(lists.values()))), f"a list of objects under {next(iter(lists))!r}"
    if len(values) > 1 and all(isinstance(value, dict) and value and value.keys() == values[0].keys() for value in values):
        if all(key.isdigit() for key in values[0]):  # pandas, by its index
            return [column_of(name, list(value.values())) for name, value in whole.items()], "an object for each column"
        if all(key.isdigit() for key in whole):
            return _of_objects(values), "an object for each row"
        return _of_objects({"name": name, **value} for name, value in whole.items()), "an object for each name"
    return _of_objects([whole]), "one object"


def _of_objects(objects: Iterable[Mapping[str, Any]]) -> list[pl.Series]:
    return columns_of([flat(found) for found in objects])


def _split(place: str, names: list[Any], rows: list[Any]) -> list[pl.Series]:
    """The columns of rows that are lists, in the order of ``names``."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(names):
            raise UsageError(f"{place}: row {number} of its data has not a cell for each of its {len(names)} columns")
    return [column_of(str(name), [row[place] for row in rows]) for place, name in enumerate(names)]


def _lists(whole: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[Any]]]:
    """The lists of objects inside of an object, by names with dots."""
    for key, value in whole.items():
        if _are_objects(value):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict) and prefix.count(".") < MOST_DEPTH:
            yield from _lists(value, f"{prefix}{key}.")


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_object(line: str) -> bool:
    """Whether a line by itself is an object, so that the others are too."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false", dict: "an object"}
    return kinds.get(type(value), "nothing")


def _why(error: Exception) -> str:
    """What is wrong with a text that is no JSON, and where."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[0].lower()}{error.msg[1:]} (line {error.lineno}, column {error.colno})"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it holds a number of too many digits"
