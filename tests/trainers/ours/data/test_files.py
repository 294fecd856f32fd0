import re
from pathlib import Path

import numpy as np
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.trainers.ours.data.files import find_files, says


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("fineweb_val_000000.bin", "val"),
        ("fineweb_train_000001.bin", "train"),
        ("val/part.jsonl", "val"),
        ("data/validation-00000-of-00001.parquet", "val"),
        ("wiki.valid.txt", "val"),
        ("Train00.txt", "train"),
        ("evaluation.md", None),
        ("interval.txt", None),
        ("training-guide.md", None),
        ("constraints.txt", None),
    ],
)
def test_a_split_is_a_word_of_a_name(name: str, split: str | None) -> None:
    assert [which for which in ("train", "val") if says(name, which)] == ([split] if split else [])


@pytest.mark.parametrize(
    ("names", "train", "val"),
    [
        (["a.txt", "b.md", ".hidden.txt", ".git/c.txt", "picture.png"], ["a.txt", "b.md"], []),
        (["train.jsonl", "val.jsonl", "test.jsonl"], ["train.jsonl"], ["val.jsonl"]),
        (["train.jsonl", "test.jsonl"], ["train.jsonl"], []),
        (["val/a.txt", "a.txt", "b/c.txt"], ["a.txt", "b/c.txt"], ["val/a.txt"]),
        (["shard_00000.parquet", "shard_00001.parquet", "shard_00002.parquet"], ["shard_00000.parquet", "shard_00001.parquet"],
         ["shard_00002.parquet"]),
        (["shard_00000.parquet"], ["shard_00000.parquet"], []),
        (["a.parquet", "b.parquet", "README.md"], ["a.parquet", "b.parquet"], []),
        (["README.md", "guide.md"], ["README.md", "guide.md"], []),
        (["a.jsonl", "b.ndjson", "c.json.gz", "info.json"], ["a.jsonl", "b.ndjson", "c.json.gz"], []),
        (["train", "val", ".hidden", "b.png"], ["train"], ["val"]),
        (["train.bin", "val.bin", "corpus.json", "tokenizer.json", "LICENSE"], ["train.bin"], ["val.bin"]),
    ],
)  # fmt: skip
def test_files_are_split_by_name(tmp_path, names, train, val) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = find_files(str(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in found.train] == train
    assert [path.relative_to(tmp_path).as_posix() for path in found.val] == val


def test_names_sizes_and_both_ends_identify_files(tmp_path) -> None:
    def identity() -> str:
        return find_files(str(tmp_path)).sha256

    content = bytearray(b"x" * (5 << 20))
    (tmp_path / "a.txt").write_bytes(content)
    seen = {identity()}
    assert identity() in seen
    for place in (0, -1):
        content[place] = ord("y")
        (tmp_path / "a.txt").write_bytes(content)
        seen.add(identity())
    (tmp_path / "a.txt").write_bytes(content + b"x")
    seen.add(identity())
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    seen.add(identity())
    assert len(seen) == 5


def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.txt").write_text("x")

    def refuse(self: Path, mode: str):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"a\.txt cannot be read: Permission denied"):
        find_files(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no file of a known kind (.bin, .jsonl, .ndjson, "),
        (["a.png", "b.bin.gz"], "no file of a known kind"),
        (["a.txt", "b.jsonl"], "mixes files of several kinds (json, text)"),
        (["a.arrow", "state.txt.arrow"], "was saved by the package datasets: name it hf:"),
        (["a.parquet", "b.bin", "README.md"], "mixes files of several kinds (parquet, shards)"),
    ],
)
def test_a_folder_that_is_no_corpus(tmp_path, names, says) -> None:
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=re.escape(says)):
        find_files(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("text8", b" anarchism originated as a term", "text"),
        ("wiki.train.raw", "= Valkyria = \n 戦場".encode(), "text"),
        ("part-00000", b'{"text": "x"}\n', "json"),
        ("data00.json", b'[{"story": "x"}]', "json"),
        ("dump.json", b'\xef\xbb\xbf {"text": "x"}\n', "json"),
        ("part", b"[Illustration: a {curly} one]\n{", "text"),
        ("table", b"PAR1" + b"\0" * 99, "parquet"),
        ("tokens.dat", np.array([20240801, 7, 0, *[0] * 253], dtype="<i4").tobytes(), "shards"),
    ],
)
def test_what_its_name_does_not_say_is_looked_for_in_a_file(tmp_path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert find_files(str(tmp_path / name)).kind == kind


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0", b"caf\xe9 is Latin-1", b"", b"text\0and more"])
def test_a_file_that_is_no_corpus(tmp_path, content: bytes) -> None:
    (tmp_path / "picture").write_bytes(content)
    with pytest.raises(UsageError, match="is neither UTF-8 text nor JSON, Parquet or a token shard"):
        find_files(str(tmp_path / "picture"))
