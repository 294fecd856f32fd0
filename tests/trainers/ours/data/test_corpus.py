import gzip
import hashlib
import json
import os
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from trainers.ours.data.conftest import DOCUMENTS, write_jsonl

from hptransfer.base.errors import UsageError
from hptransfer.experiment import DataChoice
from hptransfer.experiment.settings import DataSpec
from hptransfer.trainers.ours.data.batches import batch
from hptransfer.trainers.ours.data.corpus import identify, load_corpus, open_corpus
from hptransfer.trainers.ours.data.shards import write_shard


def load(corpus: object, **kwargs):
    return load_corpus(DataChoice(corpus=str(corpus), **kwargs))


@pytest.fixture
def folder(cache, tmp_path) -> Path:
    for name, first in (("a_train_0.bin", 0), ("a_train_1.bin", 10), ("a_val_0.bin", 20)):
        write_shard(tmp_path / name, np.arange(first, first + 10, dtype=np.uint16))
    return tmp_path


@pytest.fixture
def tokenizer_file(tmp_path) -> str:
    """Bytes and nothing else, without an end of text."""
    library = Tokenizer(models.BPE({letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.save(str(tmp_path / "bytes.json"))
    return str(tmp_path / "bytes.json")


def test_the_standard_library(cache) -> None:
    """Every byte of its files is in one of two splits, of which validation is about 5 %; the same on each load, and cached."""
    first = load_corpus(DataChoice())
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")}
    assert load_corpus(DataChoice()).spec == first.spec == identify(DataChoice())
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")} == files
    assert (first.spec.tokenizer, first.spec.vocab, first.token_bytes.tolist()) == ("bytes", 256, [0] + [1] * 255)
    sizes = {split: int(first.token_bytes[getattr(first, split)[0]].sum()) for split in ("train", "val")}
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data"}
    paths = [path for path in root.rglob("*.py") if not skipped & set(path.relative_to(root).parts)]
    assert sum(sizes.values()) == sum(path.stat().st_size for path in paths if not path.name.startswith("_sysconfigdata"))
    assert 5e6 < sum(sizes.values()) < 5e7
    assert 0.02 < sizes["val"] / sum(sizes.values()) < 0.12


@pytest.mark.parametrize("kind", ["txt", "jsonl", "jsonl.gz", "parquet"])
def test_every_tokenizer_sees_the_same_text(cache, make_folder, tokenizer_file, kind: str) -> None:
    """The bytes of the tokens of a split add up to the bytes of its documents, exactly."""
    folder = make_folder(kind)
    texts = [text.replace("\0", "").encode() for text in DOCUMENTS]
    if kind == "txt":  # an ending of its own would need a document of its own
        texts = [part for text in texts for part in text.split(b"<|endoftext|>")]
    held_out = [text for text in texts if hashlib.sha256(text).digest()[0] < 13]
    seen = set()
    for choice in ({"tokenizer": "bytes"}, {"tokenizer": "bpe", "vocab": 400}, {"tokenizer": tokenizer_file, "vocab": 300}):
        corpus = load(folder, **choice)
        assert corpus.token_bytes.shape == (corpus.spec.vocab,)
        for split, size in (("val", sum(map(len, held_out))), ("train", sum(map(len, texts)) - sum(map(len, held_out)))):
            shards = getattr(corpus, split)
            assert sum(int(corpus.token_bytes[shard].sum()) for shard in shards) == size
            # The first token of a shard, which nothing predicts, stands for no text.
            assert all(corpus.token_bytes[shard[0]] == 0 for shard in shards)
        seen.add(corpus.spec.sha256)
        assert identify(DataChoice(corpus=str(folder), **choice)) == corpus.spec
        assert np.array_equal(open_corpus(corpus.spec).val[0], corpus.val[0])
    assert len(seen) == 3


def test_open_corpus_makes_what_another_node_has_not_cached(cache, make_folder, tmp_path, monkeypatch) -> None:
    first = load(make_folder("parquet"), tokenizer="bpe", vocab=400, max_bytes=12_000)
    monkeypatch.setenv("HPTRANSFER_CACHE", str(tmp_path / "another node"))
    again = open_corpus(first.spec)
    assert again.spec == first.spec
    assert np.array_equal(again.train[0], first.train[0]) and np.array_equal(again.token_bytes, first.token_bytes)
    shards = tmp_path / "shards"
    shards.mkdir()
    write_shard(shards / "train.bin", np.arange(9, dtype=np.uint16))
    write_shard(shards / "val.bin", np.arange(9, dtype=np.uint16))
    assert open_corpus(load(shards, vocab=9).spec).spec == load(shards, vocab=9).spec


def test_the_cache_serves_a_corpus_whose_files_are_elsewhere(cache, make_folder) -> None:
    folder = make_folder("jsonl")
    spec = load(folder).spec
    folder.rename(folder.with_name("moved"))
    assert len(open_corpus(spec).train[0]) > 1000
    with pytest.raises(UsageError, match="no such folder or file"):
        load(folder)


def test_text_tokenizer_and_limit_identify_a_corpus(cache, make_folder, tokenizer_file) -> None:
    folder = make_folder("jsonl")
    choices = [
        {},
        {"max_bytes": 3000},
        {"tokenizer": "bpe", "vocab": 300},
        {"tokenizer": "bpe", "vocab": 301},
        {"tokenizer": tokenizer_file},
        {"tokenizer": tokenizer_file, "vocab": 300},
    ]
    seen = [identify(DataChoice(corpus=str(folder), **choice)).sha256 for choice in choices]
    os.rename(folder / "part_1.jsonl", folder / "part_2.jsonl")
    seen.append(identify(DataChoice(corpus=str(folder))).sha256)
    assert len(set(seen)) == 7
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("stdlb", "did you mean 'stdlib'"), ("fineweb", "known: stdlib"), ("no/such/folder", "no such folder or file")],
)
def test_an_unknown_corpus(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint) as caught:
        load(name)
    assert name in str(caught.value)


@pytest.mark.parametrize(("file", "split"), [("train.jsonl", "val"), ("val.jsonl", "train")])
def test_a_split_without_text(cache, tmp_path, file: str, split: str) -> None:
    write_jsonl(tmp_path / file, ["one document"])
    with pytest.raises(UsageError, match=f"corpus {tmp_path} has no text in its {split} split"):
        load(tmp_path)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_folder_of_shards(folder) -> None:
    loaded = load(folder, vocab=30)
    assert [shard.tolist() for shard in loaded.train] == [list(range(10)), list(range(10, 20))]
    assert [shard.tolist() for shard in loaded.val] == [list(range(20, 30))]
    assert loaded.spec.vocab == 30 and loaded.token_bytes is None
    assert all(isinstance(shard, np.memmap) for shard in (*loaded.train, *loaded.val))
    assert load(folder, vocab=30).spec == loaded.spec == open_corpus(loaded.spec).spec
    write_shard(folder / "a_train_1.bin", np.arange(11, 21, dtype=np.uint16))
    assert load(folder, vocab=30).spec.sha256 != loaded.spec.sha256


CASES = Path(__file__).parents[3] / "cases" / "corpora"


@pytest.mark.parametrize(
    ("name", "key", "size"),
    [("c4", None, 38_547), ("content.jsonl", "content", 38_547), ("nd.ndjson", None, 38_547), ("text8like.txt", None, 40_000)],
)
def test_corpora_that_people_have(cache, name: str, key: str | None, size: int) -> None:
    """C4's folder, text under another key, NDJSON, and text8's one line: all of the text, in two splits."""
    corpus = load(CASES / name)
    assert corpus.spec.text == key and len(corpus.train) == len(corpus.val) == 1
    assert sum(int(corpus.token_bytes[shards[0]].sum()) for shards in (corpus.train, corpus.val)) == size


def test_the_key_of_the_text_is_part_of_the_data(cache, tmp_path, monkeypatch) -> None:
    texts = {name: [f"{name} number {i} of many" for i in range(200)] for name in ("content", "summary")}
    rows = [dict(zip(texts, pair, strict=True)) for pair in zip(*texts.values(), strict=True)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, named, other = load(path), load(path, text="content"), load(path, text="summary")
    assert found.spec == named.spec != other.spec and found.spec.sha256 != other.spec.sha256
    chosen = {key: DataChoice(corpus=str(path), text=key).names(found.spec) for key in (None, "content", "summary", "text")}
    assert chosen == {None: True, "content": True, "summary": False, "text": False}
    monkeypatch.setenv("HPTRANSFER_CACHE", str(tmp_path / "another node"))
    assert np.array_equal(open_corpus(DataSpec.model_validate_json(other.spec.model_dump_json())).train[0], other.train[0])


def lines(count: int) -> str:
    return "".join(f"line {i}: the quick brown fox, число {i * i}\n" for i in range(count))


def jsonl(count: int) -> str:
    return "".join(json.dumps({"text": f"{i}: quick brown fox {i * i}", "id": i}) + "\n" for i in range(count))


@pytest.mark.parametrize(
    ("files", "sha256", "tokens"),
    [
        ({"a.txt": lines(3000), "b.md": lines(20), "LICENSE": "x", "meta.json": "{}"}, "02db7081013a8dbf", "e339d1a8579d0d33"),
        ({"train.txt": "the quick brown fox " * 500, "val.txt": "jumps over " * 500}, "1ea36a20c573fa35", "f3d05f9b92505df6"),
        (
            {
                "a.jsonl": jsonl(200),
                "b.jsonl.gz": gzip.compress(jsonl(90).encode(), mtime=0),
                "info.json": '{"a":1}',
                "README.md": "x",
            },
            "fa9c2411e860c6e1",
            "175b65bba6bb3eae",
        ),
    ],
    ids=["text", "one line each", "jsonl"],
)
def test_what_was_read_before_is_the_same_data(cache, tmp_path, files, sha256: str, tokens: str) -> None:
    """Identities and tokens as they were before other keys, long lines and 32 bits: of the commit 57bfe6a."""
    (tmp_path / "corpus").mkdir()
    for name, content in files.items():
        (tmp_path / "corpus" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    corpus, seen = load(tmp_path / "corpus"), hashlib.sha256()
    for shard in (*corpus.train, *corpus.val):
        seen.update(shard.astype("<u2").tobytes())
    seen.update(corpus.token_bytes.tobytes())
    assert (corpus.spec.sha256[:16], seen.hexdigest()[:16]) == (sha256, tokens)
    assert corpus.spec.model_dump().keys() == {"corpus", "tokenizer", "sha256", "vocab", "max_bytes"}


def test_shards_of_four_bytes_a_token(cache, tmp_path) -> None:
    for name in ("train.bin", "val.bin"):
        write_shard(tmp_path / name, np.arange(127_000, 128_000, dtype=np.uint32))
    corpus = load(tmp_path, vocab=128_256)
    inputs, targets = batch(corpus.train, seed=0, step=0, sequences=4, context=8)
    assert inputs.min() >= 127_000 and (targets - inputs == 1).all()
    with pytest.raises(UsageError, match="token 127999 does not fit a vocabulary of 127500"):
        load(tmp_path, vocab=127_500)


def test_a_token_far_into_a_shard_is_looked_at_once(cache, tmp_path) -> None:
    tokens = np.zeros(3 << 20, dtype=np.uint16)
    write_shard(tmp_path / "val.bin", tokens)
    write_shard(tmp_path / "train.bin", tokens)
    load(tmp_path, vocab=30)
    tokens[-(1 << 20) - 1] = 99  # neither end, which identify the file
    write_shard(tmp_path / "train.bin", tokens)
    load(tmp_path, vocab=30)
    with pytest.raises(UsageError, match="token 99 does not fit a vocabulary of 31"):
        load(tmp_path, vocab=31)


def test_a_corpus_that_is_too_short_for_its_context(cache, folder) -> None:
    corpus = load(folder, vocab=30)
    corpus.require(corpus.spec, 9)
    with pytest.raises(UsageError, match="has 10 training tokens; a context of 10 needs more"):
        corpus.require(corpus.spec, 10)
    write_shard(folder / "a_val_0.bin", np.arange(1, dtype=np.uint16))
    corpus = load(folder, vocab=30)
    with pytest.raises(UsageError, match="val split has no two tokens"):
        corpus.require(corpus.spec, 9)


@pytest.mark.parametrize("token", [30, 65535])
@pytest.mark.parametrize("name", ["a_train_1.bin", "a_val_0.bin"])
def test_a_token_beyond_the_vocabulary_is_refused(folder, name: str, token: int) -> None:
    write_shard(folder / name, np.array([1, token, 2], dtype=np.uint16))
    with pytest.raises(UsageError, match=f"{folder}: token {token} does not fit a vocabulary of 30"):
        load(folder, vocab=30)


def test_shards_that_are_no_corpus(folder) -> None:
    with pytest.raises(UsageError, match=r"set data\.vocab"):
        load(folder)
    for choice in ({"tokenizer": "bpe"}, {"max_bytes": 10}, {"text": "content"}):
        with pytest.raises(UsageError, match=r"tokenized already: of data\.\* only vocab"):
            load(folder, vocab=300, **choice)
    (folder / "a_val_0.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a_val_0\.bin is not a token shard"):
        load(folder, vocab=30)
    (folder / "a_val_0.bin").unlink()
    with pytest.raises(UsageError, match=r"no \.bin file with 'val' in its name"):
        load(folder, vocab=30)


def test_which_runs_an_experiment_chose(cache, make_folder) -> None:
    folder = str(make_folder("jsonl"))
    bpe = DataChoice(corpus=folder, tokenizer="bpe", vocab=400)
    data = identify(bpe)
    assert bpe.names(data) and bpe.names(data.model_copy(update={"sha256": "0" * 64}))
    for other in ({"vocab": 300}, {"tokenizer": "bytes", "vocab": None}, {"max_bytes": 9}, {"corpus": "stdlib"}):
        assert not bpe.model_copy(update=other).names(data)
    assert DataChoice().names(identify(DataChoice()))
