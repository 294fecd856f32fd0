"""Documents that hold every byte UTF-8 allows, and a cache that no other test has filled."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

# Every one-byte and two-byte character, and one each of the longer ones by every first byte.
EVERY_BYTE = "".join(
    map(chr, [*range(1, 0x800), *range(0x800, 0xD800, 0x3FD), 0xE000, 0xFEFF, *range(0x10000, 0x110000, 0x3FFD)])
)
DOCUMENTS = [f"{i}: the quick brown fox, число {i * i}\n" * (1 + i % 4) for i in range(200)]
DOCUMENTS[7] = EVERY_BYTE
DOCUMENTS[8] = "\0a NUL\0 is dropped, <|endoftext|> in a row is text, emoji \U0001f9ea\U0001f44d\U0001f3fd e\u0301\r\n\t \u00a0"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The cache of one test."""
    monkeypatch.setenv("HPTRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hptransfer"


def write_jsonl(path: Path, documents: Sequence[str]) -> None:
    lines = "".join(json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(documents)).encode()
    with pa.output_stream(path) as file:  # compressed as the name says
        file.write(lines)


def write_parquet(path: Path, documents: Sequence[str]) -> None:
    table = pa.table({"id": range(len(documents)), "text": list(documents)})
    parquet.write_table(table, path, compression="zstd", row_group_size=64)


@pytest.fixture
def make_folder(tmp_path) -> Callable[[str], Path]:
    """A folder with the documents, of the kind that is named."""

    def make(kind: str) -> Path:
        folder = tmp_path / f"corpus-{kind}"
        folder.mkdir()
        if kind.startswith("jsonl"):
            write_jsonl(folder / f"part_0.{kind}", DOCUMENTS[:90])
            write_jsonl(folder / f"part_1.{kind}", DOCUMENTS[90:])
        elif kind == "parquet":
            write_parquet(folder / "part_0.parquet", DOCUMENTS[:90])
            write_parquet(folder / "part_1.parquet", DOCUMENTS[90:])
        else:
            for i, text in enumerate(DOCUMENTS):
                (folder / f"{i:04d}.{kind}").write_bytes(text.encode())
        return folder

    return make
