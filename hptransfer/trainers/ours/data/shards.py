"""Token shards in the ``.bin`` format of llm.c and modded-nanogpt.

A header of 256 little-endian int32 ([0] magic 20240520, [1] version 1, [2] number of tokens), then uint16 tokens.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hptransfer.base.errors import UsageError

MAGIC = 20240520
HEADER_BYTES = 256 * 4
MAX_VOCAB = 1 << 16

Tokens = npt.NDArray[np.uint16]


def write_shard(path: Path, tokens: Tokens) -> None:
    """Write a shard, whole or not at all."""
    header = np.zeros(256, dtype="<i4")
    header[:3] = MAGIC, 1, len(tokens)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(header.tobytes())
        file.write(tokens.astype("<u2").tobytes())
    os.replace(temporary, path)


def read_shard(path: Path) -> Tokens:
    """The tokens of a shard, memory-mapped. Raises UsageError when the file is not one."""
    size = path.stat().st_size
    header = np.fromfile(path, dtype="<i4", count=256)
    if len(header) < 256 or header[0] != MAGIC or header[1] != 1:
        raise UsageError(f"{path} is not a token shard (its header lacks magic {MAGIC}, version 1)")
    count = int(header[2])
    if size != HEADER_BYTES + 2 * count:
        raise UsageError(f"{path} holds {(size - HEADER_BYTES) // 2} tokens, but its header says {count}: an incomplete copy?")
    if count == 0:
        raise UsageError(f"{path} holds no tokens")
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(count,))
