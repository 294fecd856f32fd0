import re
from pathlib import Path

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
        (["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"], ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"], []),
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
        ([], "no file of a known kind (.bin, .jsonl, .parquet, .txt, .md"),
        (["a.png", "b.bin.gz"], "no file of a known kind"),
        (["a.txt", "b.jsonl"], "mixes files of several kinds (jsonl, text)"),
        (["a.parquet", "b.bin", "README.md"], "mixes files of several kinds (parquet, shards)"),
    ],
)
def test_a_folder_that_is_no_corpus(tmp_path, names, says) -> None:
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=re.escape(says)):
        find_files(str(tmp_path))
