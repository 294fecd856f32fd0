import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from trainers.ours.data.conftest import DOCUMENTS

from hptransfer.base.errors import UsageError
from hptransfer.experiment import DataChoice
from hptransfer.trainers.ours.data import cache as cache_module
from hptransfer.trainers.ours.data.corpus import load_corpus, open_corpus

LOAD = (
    "import sys; from hptransfer.trainers.ours.data import cache, tokenizer\n"
    "from hptransfer.trainers.ours.data.corpus import load_corpus\n"
    "from hptransfer.experiment import DataChoice\n"
    "plain = tokenizer.ByteTokenizer.encode\n"
    "def encode(self, documents):\n"
    "    import time; print('tokenizing', flush=True); time.sleep({seconds})\n"
    "    return plain(self, documents)\n"
    "tokenizer.ByteTokenizer.encode = encode; cache.BATCH_BYTES = 1000\n"
    "corpus = load_corpus(DataChoice(corpus=sys.argv[1]))\n"
    "print(sum(map(len, corpus.train)), sum(map(len, corpus.val)))"
)


def start(folder: Path, seconds: float) -> subprocess.Popen:
    """A process that tokenizes the folder, that many seconds a batch."""
    code = LOAD.format(seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def text_of(shards) -> bytes:
    return b"".join(shard.astype(np.uint8).tobytes() for shard in shards)


def test_a_killed_tokenization_leaves_nothing_that_is_trusted(cache, make_folder) -> None:
    folder = make_folder("jsonl")
    child = start(folder, 0.3)
    assert [child.stdout.readline() for _ in range(3)] == ["tokenizing\n"] * 3
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    left = [path for path in cache.iterdir() if path.is_dir()]
    assert [path.suffix for path in left] == [".partial"]
    corpus = load_corpus(DataChoice(corpus=str(folder)))
    assert sorted(text_of((*corpus.train, *corpus.val)).split(b"\0")[1:]) == sorted(
        text.replace("\0", "").encode() for text in DOCUMENTS
    )
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [""]


def test_two_processes_tokenize_once(cache, make_folder) -> None:
    folder = make_folder("jsonl")
    children = [start(folder, 0.05), start(folder, 0.05)]
    outputs = [child.communicate(timeout=120)[0].splitlines() for child in children]
    assert all(child.returncode == 0 for child in children)
    assert outputs[0][-1] == outputs[1][-1]
    assert sorted(len(lines) > 1 for lines in outputs) == [False, True]


def test_large_text_is_several_shards_of_whole_documents(cache, make_folder, monkeypatch) -> None:
    folder = str(make_folder("jsonl"))
    whole = load_corpus(DataChoice(corpus=folder))
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin")}
    monkeypatch.setenv("HPTRANSFER_CACHE", str(cache / "other"))
    monkeypatch.setattr(cache_module, "BATCH_BYTES", 300)
    monkeypatch.setattr(cache_module, "SHARD_TOKENS", 2000)
    cut = load_corpus(DataChoice(corpus=folder))
    assert len(whole.train) == 1 < len(cut.train) and cut.spec == whole.spec
    assert {int(shard[0]) for shard in (*cut.train, *cut.val)} == {0}
    assert all(len(shard) >= 2000 for shard in cut.train[:-1])
    for split in ("train", "val"):
        assert text_of(getattr(cut, split)) == text_of(getattr(whole, split))
    monkeypatch.setenv("HPTRANSFER_CACHE", str(cache.parent))
    assert text_of(open_corpus(whole.spec).train) == text_of(whole.train)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.bin") if path in files} == files


def test_shards_are_memory_mapped(cache, make_folder) -> None:
    corpus = load_corpus(DataChoice(corpus=str(make_folder("jsonl"))))
    assert all(isinstance(shard, np.memmap) for shard in (*corpus.train, *corpus.val))


def test_a_damaged_cache_is_named(cache, make_folder) -> None:
    choice = DataChoice(corpus=str(make_folder("jsonl")))
    load_corpus(choice)
    shard, table = next(cache.rglob("val_*.bin")), next(cache.rglob("token_bytes.npy"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    with pytest.raises(UsageError, match=f"{shard} holds .* an incomplete copy"):
        load_corpus(choice)
    shard.write_bytes(content)
    content = table.read_bytes()
    for damaged in (None, content[:-4], b"", b"no table"):
        table.unlink() if damaged is None else table.write_bytes(damaged)
        with pytest.raises(UsageError, match=f"{table.parent} lacks files or holds damaged ones; remove it"):
            load_corpus(choice)
    table.write_bytes(content)
    load_corpus(choice)
    shard.unlink()
    with pytest.raises(UsageError, match=f"{table.parent} lacks files or holds damaged ones; remove it"):
        load_corpus(choice)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, make_folder) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPTRANSFER_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"\(HPTRANSFER_CACHE\) cannot be written: Not a directory"):
        load_corpus(DataChoice(corpus=str(make_folder("jsonl"))))


def test_what_takes_long_says_how_far_it_is(cache, make_folder, monkeypatch, caplog) -> None:
    monkeypatch.setattr(cache_module, "PROGRESS_SECONDS", 0.0)
    caplog.set_level("INFO")
    folder = make_folder("jsonl")
    load_corpus(DataChoice(corpus=str(folder)))
    assert f"tokenizing corpus {folder} into the cache: 0 MB so far" in caplog.text
    caplog.clear()
    load_corpus(DataChoice(corpus=str(folder)))
    assert caplog.messages == []


def test_time_is_not_part_of_it(cache, make_folder) -> None:
    """Files touched, not changed, are the same corpus."""
    folder = make_folder("txt")
    spec = load_corpus(DataChoice(corpus=str(folder))).spec
    for path in folder.iterdir():
        os.utime(path, (time.time() + 100, time.time() + 100))
    assert load_corpus(DataChoice(corpus=str(folder))).spec == spec
