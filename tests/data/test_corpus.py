import sysconfig
from pathlib import Path

import numpy as np
import pytest

from hptransfer.data import corpus
from hptransfer.data.corpus import load_corpus
from hptransfer.data.shards import write_shard
from hptransfer.errors import UsageError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of this file's own, filled once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPTRANSFER_CACHE", str(folder))
        yield folder


@pytest.fixture
def folder(tmp_path):
    for name, first in (("a_train_0.bin", 0), ("a_train_1.bin", 10), ("a_val_0.bin", 20)):
        write_shard(tmp_path / name, np.arange(first, first + 10, dtype=np.uint16))
    return tmp_path


def test_the_standard_library_is_the_same_on_each_load_and_cached(cache) -> None:
    first = load_corpus("stdlib")
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")}
    assert {path.name for path in files} == {"train.bin", "val.bin"}
    again = load_corpus("stdlib")
    assert again.spec == first.spec
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")} == files
    assert (first.spec.tokenizer, first.spec.vocab, set(first.token_bytes)) == ("bytes", 256, {1})
    assert np.array_equal(first.val[0], again.val[0])


def test_the_standard_library_is_split_by_file(cache) -> None:
    """About 5 % of the files are held out; every byte is in one of the two splits, whole files in the order of their names."""
    loaded = load_corpus("stdlib")
    root = Path(sysconfig.get_path("stdlib"))
    held_out = {path: corpus._held_out(path.relative_to(root).as_posix()) for path in corpus._sources(root)}
    for split, shard in (("train", loaded.train[0]), ("val", loaded.val[0])):
        text = b"".join(path.read_bytes() for path in held_out if held_out[path] == (split == "val"))
        assert shard.astype(np.uint8).tobytes() == text
    train, val = len(loaded.train[0]), len(loaded.val[0])
    assert 5e6 < train + val < 5e7
    assert 0.02 < val / (train + val) < 0.12
    assert 0.03 < sum(held_out.values()) / len(held_out) < 0.07
    assert not any({"test", "tests", "site-packages"} & set(path.relative_to(root).parts) for path in held_out)


def test_a_damaged_cache_is_named(cache) -> None:
    load_corpus("stdlib")
    path = next(cache.rglob("val.bin"))
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-10])
        with pytest.raises(UsageError, match=f"{path} holds .* an incomplete copy"):
            load_corpus("stdlib")
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "hint"), [("stdlb", "did you mean 'stdlib'"), ("fineweb", "known: stdlib"), ("no/such/folder", "no such folder")]
)
def test_an_unknown_corpus(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint) as caught:
        load_corpus(name)
    assert name in str(caught.value)


def test_a_folder_of_shards(folder) -> None:
    loaded = load_corpus(str(folder), vocab=30)
    assert [shard.tolist() for shard in loaded.train] == [list(range(10)), list(range(10, 20))]
    assert [shard.tolist() for shard in loaded.val] == [list(range(20, 30))]
    assert loaded.spec.vocab == 30 and loaded.token_bytes is None
    assert load_corpus(str(folder), vocab=30).spec.sha256 == loaded.spec.sha256
    write_shard(folder / "a_train_1.bin", np.arange(11, 21, dtype=np.uint16))
    assert load_corpus(str(folder), vocab=30).spec.sha256 != loaded.spec.sha256


@pytest.mark.parametrize("token", [30, 65535])
@pytest.mark.parametrize("name", ["a_train_1.bin", "a_val_0.bin"])
def test_a_token_beyond_the_vocabulary_is_refused(folder, name: str, token: int) -> None:
    write_shard(folder / name, np.array([1, token, 2], dtype=np.uint16))
    with pytest.raises(UsageError, match=f"{folder}: token {token} does not fit a vocabulary of 30"):
        load_corpus(str(folder), vocab=30)


def test_a_folder_that_is_no_corpus(folder) -> None:
    with pytest.raises(UsageError, match=r"set data\.vocab"):
        load_corpus(str(folder))
    (folder / "a_val_0.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a_val_0\.bin is not a token shard"):
        load_corpus(str(folder), vocab=30)
    (folder / "a_val_0.bin").unlink()
    with pytest.raises(UsageError, match=r"no \.bin file with 'val' in its name"):
        load_corpus(str(folder), vocab=30)
