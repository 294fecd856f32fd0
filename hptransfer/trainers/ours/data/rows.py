"""Rows of JSON and Parquet files, and where in a row the text is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from hptransfer.base.errors import UsageError
from hptransfer.experiment.settings import TEXT

# Names of the text where it is not ``text``: RedPajama, the Stack, CC-Net, news and story data.
USUAL = ("content", "contents", "raw_content", "raw_text", "full_text", "document", "body", "article", "passage", "story",
         "page_content")  # fmt: skip
# A line or an item of JSON is read whole, and none is read that is longer.
LONGEST = 1 << 26
_CHUNK = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")

Row = tuple[str, Any]  # where it is, in words, and what it holds


def find_key(first: Row) -> str:
    """Where the text is, by the first row: `TEXT`, else the one usual name that there is. Raises UsageError where there is none,
    or more than one."""
    where, row = first
    if not isinstance(row, Mapping) or TEXT in row:
        return TEXT  # what is no row is refused when it is read
    found = [name for name in USUAL if name in row and isinstance(row[name], str | None)]
    if len(found) > 1:
        raise UsageError(f"{where}: any of {', '.join(found)} may be the text; name it, as in --set data.text={found[0]}")
    if not found:
        raise _without(where, TEXT, row)
    return found[0]


def texts(rows: Iterator[Row], key: str) -> Iterator[bytes]:
    """The text of each row as UTF-8 without NULs; of None it is empty. Raises UsageError for what is not text."""
    for where, row in rows:
        text = row
        for name in [key] if isinstance(row, Mapping) and key in row else key.split("."):
            if not isinstance(text, Mapping) or name not in text:
                raise _without(where, key, row)
            text = text[name]
        if text is None:
            continue
        if not isinstance(text, str):
            raise UsageError(f"{where}: {key} is of type {type(text).__name__}, not a string")
        try:
            yield text.encode().replace(b"\0", b"")
        except UnicodeEncodeError:
            raise UsageError(f"{where}: {key} holds half of a surrogate pair, which is no character") from None


def read_json(path: Path, key: str | None = None) -> Iterator[Row]:
    """The rows of JSON lines, or of one list."""
    with io.BufferedReader(pa.input_stream(path)) as file:
        if file.peek(1 << 10).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            yield from _items(path, io.TextIOWrapper(file, encoding="utf-8-sig"))
            return
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            where = f"{path} line {number}"
            if len(line) > LONGEST:
                raise _too_long(where)
            if line.strip():
                try:
                    yield where, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise _not_json(where, error) from None


def read_parquet(path: Path, key: str | None = None) -> Iterator[Row]:
    """The rows of a table, all columns or that of ``key``."""
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        column = key if key is None or key in names else key.partition(".")[0]
        if column is not None and column not in names:
            raise _without(str(path), column, dict.fromkeys(names))
        for batch in file.iter_batches(batch_size=128, columns=None if column is None else [column]):
            yield from ((str(path), row) for row in batch.to_pylist())


def _items(path: Path, file: io.TextIOWrapper) -> Iterator[Row]:
    decoder = json.JSONDecoder()
    text = file.read(_CHUNK).lstrip()
    at, number = 1, 1
    while True:
        found = _BETWEEN.match(text, at)
        at = found.end() if found else at
        if text.startswith("]", at):
            return
        where = f"{path} item {number}"
        try:
            row, at = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise _not_json(where, error) from None
        except ValueError as error:
            # Most often the item goes on beyond what was read.
            if len(text) - at > LONGEST:
                raise _too_long(where) from None
            if not (more := file.read(max(_CHUNK, len(text) - at))):
                raise _not_json(where, error) from None
            text, at = text[at:] + more, 0
            continue
        yield where, row
        number += 1


def _too_long(where: str) -> UsageError:
    return UsageError(f"{where} is longer than {LONGEST >> 20} MiB, which no document is; write one document a line")


def _not_json(where: str, error: Exception) -> UsageError:
    reason = f"{error.msg} in column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    return UsageError(f"{where} is not JSON: {reason}")


def _without(where: str, key: str, row: object) -> UsageError:
    if not isinstance(row, Mapping):
        return UsageError(f"{where} has no {key!r} (it is of type {type(row).__name__})")
    return UsageError(f"{where} has no {key!r} (it has {', '.join(_names(row))}); name what has the text, as data.text")


def _names(row: Mapping[str, Any]) -> list[str]:
    """The keys of a row, those inside others by dots, as many as a line has room for."""
    inner = {name: [f"{name}.{each}" for each in value] if isinstance(value, Mapping) else [name] for name, value in row.items()}
    found = [name for names in inner.values() for name in names]
    return found if len(found) <= 20 else [*found[:20], "…"]
