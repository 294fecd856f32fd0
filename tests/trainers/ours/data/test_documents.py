import gzip
import hashlib
import json
import random
import re
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from trainers.ours.data.conftest import DOCUMENTS, write_parquet

from hptransfer.base.errors import UsageError
from hptransfer.trainers.ours.data import rows
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


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (" ".join(f"word number {i}" for i in range(3000)), " "),
        ("".join(random.Random(0).choices("\u6587\u5b57\u306f\u7a7a\u767d\u304c\u306a\u3044", k=8000)), ""),
        ("title\n" + " ".join(f"word number {i}" for i in range(3000)), (" ", "title\n")),
        ("".join(f"document {i}<|endoftext|>" for i in range(1500)), tuple("0123456789")),
    ],
    ids=["spaces", "no spaces", "a title", "separators"],
)
def test_a_long_line_is_cut_where_nothing_else_can_split_it(tmp_path, text: str, ends) -> None:
    """At spaces or separators, never inside a character; all of the text is there, and some is held out."""
    (tmp_path / "one").write_text(text)
    found = documents(tmp_path)
    whole = b"".join(piece for _, piece in found).decode()
    assert whole == text.replace("<|endoftext|>", "")
    assert all(piece.decode().endswith(ends) for _, piece in found[:-1])
    assert all(len(piece) <= max(64, len(text.encode()) // 200) for _, piece in found)
    held_out = sum(len(piece) for split, piece in found if split == "val")
    assert 0.01 < held_out / len(text.encode()) < 0.15


def test_long_lines_stay_whole_where_validation_is_named(tmp_path) -> None:
    """What could be split before there were cuts has the same documents still."""
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(f"{split} goes on " * 3000)
    assert documents(tmp_path) == [(split, f"{split} goes on ".encode() * 3000) for split in ("train", "val")]
    rng = random.Random(0)
    lines = ["".join(rng.choices("abc ", k=rng.choice([10, 9000]))) + "\n" for _ in range(150)]
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "a.txt").write_text("".join(lines))
    assert all(text.endswith(b"\n") for _, text in documents(tmp_path / "lines"))


def test_what_is_read_at_once_is_bounded(tmp_path) -> None:
    """A line without end in a small compressed file costs no memory to speak of."""
    (tmp_path / "val.txt").write_text("some text")
    with gzip.open(tmp_path / "train.txt.gz", "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(b"word " * (1 << 18))
    tracemalloc.start()
    found = documents(tmp_path, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [split for split, _ in found] == ["train", "val"] and len(found[0][1]) < 3 << 20
    assert peak < 20 << 20


@pytest.mark.parametrize("first", [b'{"text": "', b'[{"text": "'])
def test_a_row_without_end_is_refused(tmp_path, monkeypatch, first: bytes) -> None:
    monkeypatch.setattr(rows, "LONGEST", 1 << 21)
    with gzip.open(tmp_path / "a.json.gz", "wb", compresslevel=1) as file:
        file.write(first)
        for _ in range(40):
            file.write(b"word " * (1 << 18))
    tracemalloc.start()
    with pytest.raises(UsageError, match=r"1 is longer than 2 MiB"):
        documents(tmp_path, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


ROWS = [{"id": i, "content": text, "meta": {"raw": text, "lang": "en"}} for i, text in enumerate(DOCUMENTS)]


@pytest.mark.parametrize(("key", "found"), [(None, "content"), ("content", "content"), ("meta.raw", "meta.raw")])
@pytest.mark.parametrize("kind", ["jsonl", "json", "ndjson", "json.gz", "parquet"])
def test_text_under_another_key(tmp_path, kind: str, key: str | None, found: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS, indent=2))
    else:
        with pa.output_stream(path) as file:
            file.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    source = file_source(find_files(str(tmp_path)), key)
    assert source.key == found
    assert list(source.documents(None)) == [expected(text) for text in DOCUMENTS]


def test_a_list_is_read_across_pieces(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "_CHUNK", 7)
    (tmp_path / "a.json").write_text(json.dumps([{"text": text} for text in DOCUMENTS[:40]]))
    assert documents(tmp_path) == [expected(text) for text in DOCUMENTS[:40]]


def test_text_files_have_no_keys(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"data\.text content: text files have no keys"):
        file_source(find_files(str(tmp_path)), "content")


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
        ("a.jsonl", b'{"a":' * 100_000, "a.jsonl line 1 is not JSON: maximum recursion"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl item 1 is not JSON: maximum recursion"),
        ("a.jsonl", b'{"text": "x"}\n{"content": "x", "id": 1}\n', "a.jsonl line 2 has no 'text' (it has content, id)"),
        ("a.jsonl", b'{"title": "x", "meta": {"raw": "y"}}\n', "line 1 has no 'text' (it has title, meta.raw); name what has"),
        ("a.jsonl", b'{"body": "x", "content": "y"}\n', "a.jsonl line 1: any of content, body may be the text; name it"),
        ("a.jsonl", b'"x"\n', "a.jsonl line 1 has no 'text' (it is of type str)"),
        ("a.jsonl", b"[1]\n", "a.jsonl item 1 has no 'text' (it is of type int)"),
        ("a.json", b'[{"text": "x"}, {"text": "y"', "a.json item 2 is not JSON: "),
        ("a.json", b'[{"text": "x"}, {"text": "y"}', "a.json item 3 is not JSON: "),
        ("a.json", b'[{"text": "x"}, {"text": nothing}]', "a.json item 2 is not JSON: "),
        ("a.jsonl", b'{"text": ["x"]}\n', "a.jsonl line 1: text is of type list, not a string"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl line 1: text holds half of a surrogate pair"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9, mtime=0)[:-12], "a.jsonl.gz cannot be read: "),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz cannot be read: "),
        ("a.txt", b"fine\n" * 2000 + b"caf\xe9\n", "a.txt is not UTF-8 at byte 10003; convert it"),
        ("a.parquet", b"no parquet", "a.parquet cannot be read: "),
        ("a.parquet", pa.table({"title": ["a"], "id": [1]}), "a.parquet has no 'text' (it has title, id)"),
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
