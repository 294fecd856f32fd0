"""Text files: documents of a bounded length, whatever the length of their lines."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from hptransfer.base.errors import UsageError

# What separates documents in a text file, as in TinyStories.
SEPARATOR = b"<|endoftext|>"
# How far the end of a line is looked for.
LONGEST_LINE = 1 << 20


def read_text(path: Path, corpus_bytes: int, keep_lines: bool = True) -> Iterator[bytes]:
    """One document, or several with a separator between. Those longer than a 200th of their corpus, or than 1 MiB, are cut: so
    that a corpus of one file can be split, no document is most of the validation text, and memory stays small.

    They are cut at the end of a line, unless that is a MiB away or ``keep_lines`` is off, where they are cut at a space. Raises
    UsageError for text that is not UTF-8."""
    limit = min(1 << 20, corpus_bytes // 200)
    limit, line = (max(1 << 12, limit), LONGEST_LINE) if keep_lines else (max(1 << 6, limit), 0)
    with io.BufferedReader(pa.input_stream(path)) as file:
        offset, rest = 0, b""
        while piece := rest + file.read(max(0, limit - len(rest))):
            end = file.readline(line) if line else b""
            piece += end
            whole = piece.endswith(b"\n") if line else len(piece) < limit
            at = len(piece) if whole or not file.peek(1) else _cut(piece)
            piece, rest = piece[:at], piece[at:]
            try:
                piece.decode()  # it ends where a character does
            except UnicodeDecodeError as error:
                raise UsageError(
                    f"{path} is not UTF-8 at byte {offset + error.start}; convert it, with iconv for instance"
                ) from None
            yield from piece.replace(b"\0", b"").split(SEPARATOR)
            offset += len(piece)


def _cut(piece: bytes) -> int:
    """Where to cut text that goes on: after the last line or document in it, else the last space, else the last character."""
    for mark in (b"\n", SEPARATOR, b" "):
        if (at := piece.rfind(mark)) >= 0:
            return at + len(mark)
    at = len(piece)
    while at > len(piece) - 4 and piece[at - 1] & 0xC0 == 0x80:
        at -= 1
    return at - 1 if at > 1 and piece[at - 1] >= 0xC0 else max(at, 1)
