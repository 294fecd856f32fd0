"""The text of a file, in whatever encoding and compression it is."""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import IO

from hptransfer.base.compressed import compression, plain_bytes
from hptransfer.base.errors import UsageError

HEAD = 1 << 16  # bytes that a source is told by
LIMIT = 1 << 29  # bytes of text, as they are when unpacked: a small file may hold more than any memory does


def head(path: str) -> bytes:
    """The first bytes of a file, unpacked. Raises UsageError."""
    with plain_bytes(path) as file:
        return _read(file, HEAD)


def text_of(path: str) -> tuple[str, tuple[str, ...]]:
    """All of a file's text, and in words what it was packed and encoded in, where that is not plain UTF-8. Raises UsageError."""
    with plain_bytes(path) as file:
        content = _read(file, LIMIT + 1)
    if len(content) > LIMIT:
        raise UsageError(f"{path} holds more than {LIMIT >> 20} MiB of text; write it as Parquet, or its rows of interest alone")
    packed, encoding = compression(path), _encoding(content[:HEAD])
    if encoding.startswith("utf-16"):
        return content.decode(encoding, errors="replace"), (*([packed] if packed else []), "UTF-16")
    for tried, name in (("utf-8-sig", None), ("cp1252", "Latin-1"), ("latin-1", "Latin-1")):
        with suppress(UnicodeDecodeError):
            return content.decode(tried), tuple(word for word in (packed, name) if word)
    raise AssertionError("every byte is a character of Latin-1")


def start_of(path: str) -> str | None:
    """The text that a file begins with, in whole lines where it has several; None where that is no text. Raises UsageError."""
    content = head(path)
    text = content.decode(_encoding(content), errors="ignore").removeprefix("\ufeff")
    if any(character < " " and character not in "\t\r\n\f" for character in text):
        return None
    return text if len(content) < HEAD or "\n" not in text else text[: text.rindex("\n") + 1]


def _read(file: IO[bytes], size: int) -> bytes:
    """So many bytes, or all: what unpacks may give fewer at a time."""
    parts, left = [], size
    while left > 0 and (part := file.read(min(left, 1 << 24))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _encoding(start: bytes) -> str:
    """By its mark, else by its zero bytes: every other byte of European text in UTF-16 is zero."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) > len(start) / 4 and min(even, odd) <= max(even, odd) / 4:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"
