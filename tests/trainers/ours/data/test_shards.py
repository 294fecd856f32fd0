import re

import numpy as np
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.trainers.ours.data.shards import HEADER_BYTES, read_shard, write_shard

TOKENS = np.array([0, 1, 255, 256, 50256, 65535], dtype=np.uint16)
MANY = np.array([0, 65535, 65536, 128255, (1 << 32) - 1], dtype=np.uint32)


@pytest.fixture
def shard(tmp_path):
    write_shard(tmp_path / "train.bin", TOKENS)
    return tmp_path / "train.bin"


def test_four_bytes_a_token_are_llm_cs_for_llama_3(tmp_path) -> None:
    write_shard(tmp_path / "train.bin", MANY)
    found, content = read_shard(tmp_path / "train.bin"), (tmp_path / "train.bin").read_bytes()
    assert isinstance(found, np.memmap) and found.dtype == np.uint32 and found.tolist() == MANY.tolist()
    assert np.frombuffer(content[:1024], dtype="<i4").tolist() == [20240801, 7, 5, *[0] * 253]
    assert content[1024:] == MANY.astype("<u4").tobytes()
    (tmp_path / "train.bin").write_bytes(content[:-2])
    with pytest.raises(UsageError, match=r"holds 4 tokens, but its header says 5"):
        read_shard(tmp_path / "train.bin")


def test_more_tokens_than_a_header_counts(tmp_path) -> None:
    with pytest.raises(UsageError, match="more than its header can count"):
        write_shard(tmp_path / "train.bin", np.broadcast_to(np.uint16(0), 1 << 31))
    assert not list(tmp_path.iterdir())


def test_tokens_come_back(shard) -> None:
    assert read_shard(shard).tolist() == TOKENS.tolist()
    assert [path.name for path in shard.parent.iterdir()] == ["train.bin"]


def test_the_format_is_that_of_llm_c(shard) -> None:
    """256 int32 of header with the magic, version 1 and the count, then uint16, little-endian."""
    content = shard.read_bytes()
    assert HEADER_BYTES == 1024 and len(content) == 1024 + 2 * len(TOKENS)
    assert np.frombuffer(content[:1024], dtype="<i4").tolist() == [20240520, 1, 6, *[0] * 253]
    assert content[1024:] == TOKENS.astype("<u2").tobytes()


def overwrite(offset: int, value: int):
    def damage(content: bytes) -> bytes:
        return content[:offset] + value.to_bytes(4, "little") + content[offset + 4 :]

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-2], "holds 5 tokens, but its header says 6"),
        (lambda content: content + b"\0\0", "holds 7 tokens, but its header says 6"),
        (lambda content: content[:100], "is not a token shard"),
        (lambda content: b"", "is not a token shard"),
        (overwrite(0, 20240521), "is not a token shard"),
        (overwrite(4, 2), "is not a token shard"),
        (lambda content: overwrite(8, 0)(content)[:1024], "holds no tokens"),
    ],
    ids=["truncated", "too long", "half a header", "empty file", "magic", "version", "no tokens"],
)
def test_a_damaged_shard_is_named(shard, damage, message: str) -> None:
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(UsageError, match=re.escape(f"{shard} {message}")):
        read_shard(shard)


def test_a_shard_is_written_whole_or_not_at_all(shard) -> None:
    class Broken:
        dtype = TOKENS.dtype

        def __len__(self) -> int:
            return 9

        def astype(self, dtype: np.dtype):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shard(shard, Broken())
    assert read_shard(shard).tolist() == TOKENS.tolist()
