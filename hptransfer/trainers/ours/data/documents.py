"""Documents: UTF-8 text without NULs, streamed from files or from a Hugging Face dataset, each in one of two splits."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as parquet

from hptransfer.base.errors import UsageError, first_line
from hptransfer.trainers.ours.data.files import CorpusFiles

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

# Key of a JSON line, column of a table.
TEXT = "text"
# What separates documents in a text file, as in TinyStories.
SEPARATOR = b"<|endoftext|>"


@dataclass(frozen=True)
class Source:
    """Where the documents of a corpus come from. Without ``val`` about 5 % of those in ``train`` are held out."""

    identity: str
    train: Callable[[], Iterator[bytes]]
    val: Callable[[], Iterator[bytes]] | None

    def documents(self, max_bytes: int | None) -> Iterator[tuple[Split, bytes]]:
        """All documents with their splits; training ends with the one that reaches ``max_bytes``, and so does what is held out of
        it. The split is by the text alone: the same for every tokenizer and file format, and for a document's exact copies."""
        read = 0
        for text in self.train():
            split: Split = "val" if self.val is None and _held_out(text) else "train"
            yield split, text
            read += len(text) if split == "train" else 0
            if max_bytes is not None and read >= max_bytes:
                break
        for text in self.val() if self.val else ():
            yield "val", text


def file_source(files: CorpusFiles) -> Source:
    """The documents in text, JSONL or Parquet files."""
    readers = {"text": _read_text, "jsonl": _read_jsonl, "parquet": _read_parquet}

    def read(paths: Sequence[Path]) -> Callable[[], Iterator[bytes]]:
        return lambda: (text for path in paths for text in _read(path, readers[files.kind](path, limit)) if text)

    limit = _longest(sum(path.stat().st_size for path in (*files.train, *files.val)))
    return Source(files.sha256, read(files.train), read(files.val) if files.val else None)


def as_document(text: object, where: str) -> bytes:
    """A text value as UTF-8; None is an empty document. Raises UsageError for what is not text."""
    if text is None:
        return b""
    if not isinstance(text, str):
        raise UsageError(f"{where}: {TEXT} is of type {type(text).__name__}, not a string")
    try:
        return text.encode().replace(b"\0", b"")
    except UnicodeEncodeError:
        raise UsageError(f"{where}: {TEXT} holds half of a surrogate pair, which is no character") from None


def _held_out(text: bytes) -> bool:
    """About 5 % of the documents."""
    return hashlib.sha256(text).digest()[0] < 13


def _longest(corpus_bytes: int) -> int:
    """Text files longer than a 200th of their corpus, or than 1 MiB, are cut: so that a corpus of one file can be split, no
    document is most of the validation text, and memory stays small."""
    return max(1 << 12, min(1 << 20, corpus_bytes // 200))


def _read(path: Path, documents: Iterator[bytes]) -> Iterator[bytes]:
    """The documents of one file; where it cannot be read, that is one line."""
    try:
        yield from documents
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: its text is not UTF-8 ({error.reason}); convert it") from None
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from None


def _read_text(path: Path, limit: int) -> Iterator[bytes]:
    """One document, or several with a separator between; cut at the end of a line where it is longer than ``limit`` bytes."""
    with io.BufferedReader(pa.input_stream(path)) as file:
        offset = 0
        while piece := file.read(limit) + file.readline():
            try:
                piece.decode()  # a line's end is never inside a character
            except UnicodeDecodeError as error:
                raise UsageError(
                    f"{path} is not UTF-8 at byte {offset + error.start}; convert it, with iconv for instance"
                ) from None
            yield from piece.replace(b"\0", b"").split(SEPARATOR)
            offset += len(piece)


def _read_jsonl(path: Path, limit: int) -> Iterator[bytes]:
    with io.BufferedReader(pa.input_stream(path)) as file:
        for number, line in enumerate(file, start=1):
            where = f"{path} line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = f"{error.msg} in column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                raise UsageError(f"{where} is not JSON: {reason}") from None
            if not isinstance(row, dict) or TEXT not in row:
                found = f"its keys: {', '.join(row)}" if isinstance(row, dict) else f"it is a {type(row).__name__}"
                raise UsageError(f"{where} has no key {TEXT!r} ({found})")
            yield as_document(row[TEXT], where)


def _read_parquet(path: Path, limit: int) -> Iterator[bytes]:
    with parquet.ParquetFile(path) as file:
        if TEXT not in file.schema_arrow.names:
            raise UsageError(f"{path} has no column {TEXT!r} (its columns: {', '.join(file.schema_arrow.names)})")
        for rows in file.iter_batches(batch_size=1024, columns=[TEXT]):
            yield from (as_document(text, str(path)) for text in rows.column(0).to_pylist())
