"""``python -m hptransfer.data``: the corpus as files that another trainer reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.experiment import DataChoice
from hptransfer.trainers.ours.data.corpus import load_corpus


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small corpus, and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPTRANSFER_CACHE", str(tmp_path / "cache"))
    Path("text").mkdir()
    for split, text in {"train": "the quick brown fox " * 500, "val": "jumps over " * 500}.items():
        Path(f"text/{split}.txt").write_text(text)
    return tmp_path


def write(*options: str) -> None:
    perform("data", ["--set", "data.corpus=text", "--write", "corpus", *options])


def test_tokens_and_text_are_those_that_runs_see(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("--json")
    said = json.loads(capsys.readouterr().out)
    assert said["dtype"] == "uint16"
    corpus = load_corpus(DataChoice(corpus="text"))
    assert json.loads(Path("corpus/corpus.json").read_text()) == said and said["sha256"] == corpus.spec.sha256
    for split, text in {"train": "the quick brown fox " * 500, "val": "jumps over " * 500}.items():
        tokens = np.memmap(f"corpus/{split}.bin", dtype=said["dtype"], mode="r", offset=1024)
        assert np.array_equal(tokens, np.concatenate(getattr(corpus, split)))
        assert Path(f"corpus/{split}.txt").read_text() == text
        assert said["splits"][split] == {"tokens": len(tokens), "bytes": len(text)}


def test_a_bpe_comes_with_its_tokenizer(folder: Path) -> None:
    write("--set", "data.tokenizer=bpe", "--set", "data.vocab=270")
    assert {path.name for path in Path("corpus").iterdir()} == {"train.bin", "val.bin", "tokenizer.json", "corpus.json"}


def test_tokens_of_a_large_vocabulary_have_four_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A byte-level tokenizer with entries above 65,535, and one of those in the text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, *(f"<{i}>" for i in range(70_000)), "\u0120o", "\u0120ov"]
    model = models.BPE({entry: i for i, entry in enumerate(entries)}, [("\u0120", "o"), ("\u0120o", "v")])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save("tokenizer.json")
    write("--set", "data.tokenizer=tokenizer.json", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["dtype"] == "uint32" and said["vocab"] == 70_259
    val = np.memmap("corpus/val.bin", dtype=said["dtype"], mode="r", offset=1024)
    assert len(val) == said["splits"]["val"]["tokens"] and (val == 70_257).sum() == 500
    again = load_corpus(DataChoice(corpus="corpus", vocab=said["vocab"]))
    assert np.array_equal(again.val[0], val)


def test_it_is_written_again_over_itself_and_over_nothing_else(folder: Path) -> None:
    write()
    write()
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="was not written by this command"):
        perform("data", ["--set", "data.corpus=text", "--write", "mine"])
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]
