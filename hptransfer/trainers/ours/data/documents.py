"""Documents: UTF-8 text without NULs, streamed from files or from a Hugging Face dataset, each in one of two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pyarrow as pa

from hptransfer.base.errors import UsageError, first_line
from hptransfer.experiment.settings import TEXT
from hptransfer.trainers.ours.data.files import CorpusFiles
from hptransfer.trainers.ours.data.plain_text import read_text
from hptransfer.trainers.ours.data.rows import Row, find_key, read_json, read_parquet, texts

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True)
class Source:
    """Where the documents of a corpus come from. Without ``val`` about 5 % of those in ``train`` are held out. ``key`` is where a
    row has its text; None where there are no rows."""

    identity: str
    train: Callable[[], Iterator[bytes]]
    val: Callable[[], Iterator[bytes]] | None
    key: str | None = None

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


def file_source(files: CorpusFiles, key: str | None = None) -> Source:
    """The documents in text, JSON or Parquet files. ``key`` is where a row has its text, looked for where it is not given."""
    if files.kind == "text":
        if key is not None:
            raise UsageError(f"data.text {key}: text files have no keys; leave it out")
        return _text_source(files)
    read_rows = read_parquet if files.kind == "parquet" else read_json
    found = key or _key((*files.train, *files.val), read_rows)

    def read(paths: Sequence[Path]) -> Iterator[bytes]:
        return _read(paths, lambda path: texts(read_rows(path, found), found))

    val = (lambda: read(files.val)) if files.val else None
    return Source(files.sha256, lambda: read(files.train), val, found)


def _key(paths: Sequence[Path], read_rows: Callable[[Path], Iterator[Row]]) -> str:
    """Where the text is in the first row that there is."""
    for path in paths:
        with _reading(path):
            for row in read_rows(path):
                return find_key(row)
    return TEXT


def _text_source(files: CorpusFiles) -> Source:
    size = sum(path.stat().st_size for path in (*files.train, *files.val))

    def read(paths: Sequence[Path], keep_lines: bool = True) -> Iterator[bytes]:
        return _read(paths, lambda path: read_text(path, size, keep_lines))

    @cache
    def can_be_split() -> bool:
        """Whether some text is held out, and some is not, where lines are kept whole. Only copies stay in one for long."""
        seen: set[bool] = set()
        for number, text in enumerate(read(files.train)):
            seen.add(_held_out(text))
            if len(seen) == 2 or number == 1000:
                return True
        return False

    if files.val:
        return Source(files.sha256, lambda: read(files.train), lambda: read(files.val))
    return Source(files.sha256, lambda: read(files.train, keep_lines=can_be_split()), None)


def _held_out(text: bytes) -> bool:
    """About 5 % of the documents."""
    return hashlib.sha256(text).digest()[0] < 13


def _read(paths: Sequence[Path], documents: Callable[[Path], Iterator[bytes]]) -> Iterator[bytes]:
    """The documents of files that have text."""
    for path in paths:
        with _reading(path):
            yield from (text for text in documents(path) if text)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Says in one line why a file cannot be read."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: its text is not UTF-8 ({error.reason}); convert it") from None
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from None
