import gzip
import hashlib
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from trainers.ours.data.conftest import DOCUMENTS, write_parquet

from hptransfer.base.errors import UsageError
from hptransfer.trainers.ours.data.documents import file_source
from hptransfer.trainers.ours.data.files import find_files


def documents(path: Path, max_bytes: int | None = None) -> list[tuple[str, bytes]]:
    return list(file_source(find_files(str(path))).documents(max_bytes))


def expected(text: str) -> tuple[str, bytes]:
    content = text.replace("\0", "").encode()
    return "val" if hashlib.sha256(content).digest()[0] < 13 else "train", content


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_rows_come_back_split_by_their_text(make_folder, kind: str) -> None:
    assert documents(make_folder(kind)) == [expected(text) for text in DOCUMENTS]
    assert 3 <= sum(expected(text)[0] == "val" for text in DOCUMENTS) <= 20


def test_text_files_are_documents_or_hold_several(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\n<|endoftext|>two\0\n<|endoftext|>")
    (tmp_path / "b.md").write_text("три\n")
    (tmp_path / "empty.txt").write_text("")
    assert [text for _, text in documents(tmp_path)] == [b"one\r\n", b"two\n", "три\n".encode()]


def test_one_long_text_is_cut_at_lines_so_that_it_can_be_split(tmp_path) -> None:
    path = tmp_path / "input.txt"
    path.write_text("".join(f"line {i}, ещё one\n" for i in range(60_000)))
    found = documents(path)
    assert b"".join(text for _, text in found) == path.read_bytes()
    assert all(text.endswith(b"\n") and len(text) < 1.02 * path.stat().st_size / 200 for _, text in found)
    held_out = sum(len(text) for split, text in found if split == "val")
    assert 0.01 < held_out / path.stat().st_size < 0.12


def test_max_bytes_of_training_text_and_all_of_a_named_validation(tmp_path) -> None:
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"text": "x" * 10}) + "\n" for _ in range(100)))
    (tmp_path / "val.jsonl").write_text("".join(json.dumps({"text": "y" * 10}) + "\n" for _ in range(7)))
    assert [split for split, _ in documents(tmp_path, 95)] == ["train"] * 10 + ["val"] * 7
    assert len(documents(tmp_path)) == 107


def test_max_bytes_is_a_beginning_of_the_same_split(make_folder) -> None:
    folder = make_folder("jsonl")
    part = documents(folder, 2000)
    assert part == documents(folder)[: len(part)]
    read = [len(text) for split, text in part if split == "train"]
    assert sum(read[:-1]) < 2000 <= sum(read)


def test_the_last_of_nanochats_shards_is_validation(tmp_path) -> None:
    for i in range(3):
        write_parquet(tmp_path / f"shard_{i:05d}.parquet", DOCUMENTS[50 * i : 50 * (i + 1)])
    assert [split for split, _ in documents(tmp_path)] == ["train"] * 100 + ["val"] * 50


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "x"}\n\nnot json\n', "a.jsonl line 3 is not JSON: Expecting value in column 1"),
        ("a.jsonl", b'{"text": "\xff"}\n', "a.jsonl line 1 is not JSON: 'utf-8' codec"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl line 1 is not JSON: maximum recursion"),
        ("a.jsonl", b'{"content": "x", "id": 1}\n', "a.jsonl line 1 has no key 'text' (its keys: content, id)"),
        ("a.jsonl", b"[1]\n", "a.jsonl line 1 has no key 'text' (it is a list)"),
        ("a.jsonl", b'{"text": ["x"]}\n', "a.jsonl line 1: text is of type list, not a string"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl line 1: text holds half of a surrogate pair"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9, mtime=0)[:-12], "a.jsonl.gz cannot be read: "),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz cannot be read: "),
        ("a.txt", b"fine\n" * 2000 + b"caf\xe9\n", "a.txt is not UTF-8 at byte 10003; convert it"),
        ("a.parquet", b"no parquet", "a.parquet cannot be read: "),
        ("a.parquet", pa.table({"body": ["a"], "id": [1]}), "a.parquet has no column 'text' (its columns: body, id)"),
        ("a.parquet", pa.table({"text": [1]}), "a.parquet: text is of type int, not a string"),
        ("a.parquet", pa.table({"text": pa.array([b"\xff"]).view(pa.string())}), "a.parquet: its text is not UTF-8"),
    ],
)
def test_text_that_cannot_be_read_is_one_line(tmp_path, name: str, content, says: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        parquet.write_table(content, tmp_path / name)
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        documents(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_in_a_row_is_no_document(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": ""}\n{"text": "x"}\n')
    assert [text for _, text in documents(tmp_path)] == [b"x"]
