"""``python -m hptransfer.data``: the corpus as files that another trainer reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

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
    corpus = load_corpus(DataChoice(corpus="text"))
    assert json.loads(Path("corpus/corpus.json").read_text()) == said and said["sha256"] == corpus.spec.sha256
    for split, text in {"train": "the quick brown fox " * 500, "val": "jumps over " * 500}.items():
        tokens = np.memmap(f"corpus/{split}.bin", dtype=np.uint16, mode="r", offset=1024)
        assert np.array_equal(tokens, np.concatenate(getattr(corpus, split)))
        assert Path(f"corpus/{split}.txt").read_text() == text
        assert said["splits"][split] == {"tokens": len(tokens), "bytes": len(text)}


def test_a_bpe_comes_with_its_tokenizer(folder: Path) -> None:
    write("--set", "data.tokenizer=bpe", "--set", "data.vocab=270")
    assert {path.name for path in Path("corpus").iterdir()} == {"train.bin", "val.bin", "tokenizer.json", "corpus.json"}


def test_it_is_written_again_over_itself_and_over_nothing_else(folder: Path) -> None:
    write()
    write()
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="was not written by this command"):
        perform("data", ["--set", "data.corpus=text", "--write", "mine"])
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]
