"""Corpora: tokens for training and validation, from text that is tokenized once, or from token shards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hptransfer.base.errors import UsageError
from hptransfer.experiment import DataChoice
from hptransfer.experiment.settings import DataSpec
from hptransfer.trainers.ours.data.cache import fill, read_cached
from hptransfer.trainers.ours.data.documents import Source, file_source
from hptransfer.trainers.ours.data.files import CorpusFiles, find_files
from hptransfer.trainers.ours.data.hugging_face import PREFIX, dataset_source
from hptransfer.trainers.ours.data.shards import Tokens, read_shard
from hptransfer.trainers.ours.data.tokenizer import TokenBytes, identify_tokenizer


@dataclass(frozen=True)
class Corpus:
    """Tokens for training and validation, each a sequence of shards. ``token_bytes``, of shape (vocab,), says how many bytes of
    text each token stands for, 0 for the end of text; None where that is unknown."""

    spec: DataSpec
    train: tuple[Tokens, ...]
    val: tuple[Tokens, ...]
    token_bytes: TokenBytes | None

    def require(self, asked: DataSpec) -> None:
        """Raises UsageError unless these are the tokens that a run asks for."""
        if self.spec.sha256 != asked.sha256:
            raise UsageError(
                f"corpus {asked.corpus} here has sha256 {self.spec.sha256[:16]}, the run asks for {asked.sha256[:16]}: other data"
            )


def identify(choice: DataChoice | DataSpec) -> DataSpec:
    """The identity of a corpus, without tokenizing it. Raises UsageError in one line when it cannot be."""
    return _resolve(choice)[0]


def load_corpus(choice: DataChoice | DataSpec) -> Corpus:
    """A corpus as this machine has it: text is tokenized into the cache first, where it is not there.

    Raises UsageError for an unknown name, files of no or several kinds, text that cannot be read or that the tokenizer would
    change, a vocabulary that does not fit, or a damaged shard.
    """
    spec, source = _resolve(choice)
    if isinstance(source, CorpusFiles):
        return _shards(spec, source)
    if (found := _cached(spec)) is not None:
        return found
    fill(spec, source)
    corpus = _cached(spec)
    assert corpus is not None
    return corpus


def open_corpus(spec: DataSpec) -> Corpus:
    """The corpus that a run names, from the cache where it is there, else as this machine has it; `train` compares the two."""
    return _cached(spec) or load_corpus(spec)


def _resolve(choice: DataChoice | DataSpec) -> tuple[DataSpec, CorpusFiles | Source]:
    """The identity, and where shards or documents are."""
    name = choice.corpus
    source = dataset_source(name) if name.startswith(PREFIX) else find_files(name)
    if isinstance(source, CorpusFiles):
        if source.kind == "shards":
            return _shards_spec(choice, source), source
        source = file_source(source)
    tokenizer, vocab = identify_tokenizer(choice.tokenizer, choice.vocab)
    seen = f"text {source.identity} {tokenizer} {vocab} {choice.max_bytes}"
    sha256 = hashlib.sha256(seen.encode()).hexdigest()
    spec = DataSpec(corpus=name, tokenizer=choice.tokenizer, sha256=sha256, vocab=vocab, max_bytes=choice.max_bytes)
    return spec, source


def _cached(spec: DataSpec) -> Corpus | None:
    if (found := read_cached(spec)) is None:
        return None
    shards, token_bytes = found
    return Corpus(spec, shards["train"], shards["val"], token_bytes)


def _shards_spec(choice: DataChoice | DataSpec, files: CorpusFiles) -> DataSpec:
    name = choice.corpus
    if choice.vocab is None:
        raise UsageError(f"corpus {name}: token shards do not say their vocabulary; set data.vocab")
    if choice.tokenizer not in ("bytes", "shards") or choice.max_bytes:
        raise UsageError(f"corpus {name} is token shards, tokenized already: data.tokenizer and data.max_bytes are for text")
    for split, found in (("train", files.train), ("val", files.val)):
        if not found:
            raise UsageError(f"corpus {name}: no .bin file with {split!r} in its name")
    return DataSpec(corpus=name, tokenizer="shards", sha256=files.sha256, vocab=choice.vocab)


def _shards(spec: DataSpec, files: CorpusFiles) -> Corpus:
    """Token shards as they are."""
    train, val = (tuple(read_shard(path) for path in paths) for paths in (files.train, files.val))
    if (largest := int(max(shard[: 1 << 20].max() for shard in (*train, *val)))) >= spec.vocab:
        raise UsageError(f"corpus {spec.corpus}: token {largest} does not fit a vocabulary of {spec.vocab}")
    return Corpus(spec, train, val, token_bytes=None)
