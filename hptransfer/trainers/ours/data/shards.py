"""Token shards in the ``.bin`` formats of llm.c (``dev/data/data_common.py``), the first of which modded-nanogpt reads too.

A header of 256 little-endian int32 ([0] magic, [1] version, [2] number of tokens), then the tokens: uint16 after magic 20240520,
version 1 (llm.c's gpt-2); uint32, for vocabularies above 65,536, after magic 20240801, version 7 (its llama-3).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hptransfer.base.errors import UsageError
from hptransfer.base.files import whole

HEADER_BYTES = 256 * 4
# Magic and version of a header, by the bytes of a token.
HEADERS = {2: (20240520, 1), 4: (20240801, 7)}

Tokens = npt.NDArray[np.unsignedinteger[Any]]


def token_type(vocab: int) -> type[np.uint16 | np.uint32]:
    """The smaller of the two types that holds every token of a vocabulary."""
    return np.uint16 if vocab <= 1 << 16 else np.uint32


def write_shard(path: Path, tokens: Tokens) -> None:
    """Write a shard, whole or not at all. Raises UsageError for more tokens than a header can count."""
    if len(tokens) >= 1 << 31:
        raise UsageError(f"{path}: {len(tokens):,} tokens are more than its header can count (2^31 - 1); set data.max_bytes")
    header = np.zeros(256, dtype="<i4")
    header[:3] = *HEADERS[tokens.dtype.itemsize], len(tokens)
    with whole(path) as file:
        file.write(header.tobytes())
        file.write(tokens.astype(tokens.dtype.newbyteorder("<")).tobytes())


def is_shard(head: bytes) -> bool:
    """Whether a file with this beginning is one."""
    return _width(head) is not None


def read_shard(path: Path) -> Tokens:
    """The tokens of a shard, memory-mapped. Raises UsageError when the file is not one."""
    with path.open("rb") as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(HEADER_BYTES)
    if (width := _width(head)) is None:
        ways = " or ".join(f"magic {magic}, version {version}" for magic, version in HEADERS.values())
        raise UsageError(f"{path} is not a token shard (its header lacks {ways})")
    count = int.from_bytes(head[8:12], "little", signed=True)
    if size != HEADER_BYTES + width * count:
        found = (size - HEADER_BYTES) // width
        raise UsageError(f"{path} holds {found} tokens, but its header says {count}: an incomplete copy?")
    if count == 0:
        raise UsageError(f"{path} holds no tokens")
    return np.memmap(path, dtype=f"<u{width}", mode="r", offset=HEADER_BYTES, shape=(count,))


def _width(head: bytes) -> int | None:
    """Bytes of a token, by the beginning of a file."""
    if len(head) < HEADER_BYTES:
        return None
    found = tuple(int(number) for number in np.frombuffer(head, dtype="<i4", count=2))
    return next((width for width, header in HEADERS.items() if header == found), None)
