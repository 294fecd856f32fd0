"""Files by what is in them, whatever their names say: gzip, bzip2, xz and Zstandard are seen by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from hptransfer.base.errors import UsageError, first_line


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(file), "zstd"))


OPENERS: dict[bytes, tuple[str, Callable[[IO[bytes]], IO[bytes]]]] = {
    b"\x1f\x8b": ("gzip", lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file))),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("Zstandard", _zstandard),
}
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")


def without_compression(path: str | Path) -> Path:
    """The path without the suffix of a compression: ``runs.csv`` of ``runs.csv.gz``."""
    path = Path(path)
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def compression(path: str | Path) -> str | None:
    """What a file is compressed with, in words; None where it is not."""
    with open(path, "rb") as file:
        start = file.read(max(map(len, OPENERS)))
    return next((name for magic, (name, _) in OPENERS.items() if start.startswith(magic)), None)


@contextmanager
def plain_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """A file's bytes as they were before they were compressed. Raises UsageError where the file is not there or broken."""
    try:
        with open(path, "rb") as file:
            start = file.read(max(map(len, OPENERS)))
            file.seek(0)
            opener = next((opener for magic, (_, opener) in OPENERS.items() if start.startswith(magic)), None)
            if opener is None:
                yield file
            else:
                with opener(file) as unpacked:
                    yield unpacked
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or first_line(error)}") from None
