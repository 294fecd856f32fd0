"""Corpora: tokens for training and validation, from text that is tokenized once, or from token shards."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from hptransfer.base.errors import UsageError
from hptransfer.base.files import cache_home
from hptransfer.experiment import DataChoice
from hptransfer.experiment.settings import TEXT, DataSpec
from hptransfer.trainers.ours.data.cache import fill, read_cached
from hptransfer.trainers.ours.data.documents import Source, file_source
from hptransfer.trainers.ours.data.files import PREFIX, CorpusFiles, find_files
from hptransfer.trainers.ours.data.hugging_face import dataset_source
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

    def require(self, asked: DataSpec, context: int) -> None:
        """Raises UsageError unless these are the tokens that a run asks for, and enough for its context."""
        if self.spec.sha256 != asked.sha256:
            raise UsageError(
                f"corpus {asked.corpus} here has sha256 {self.spec.sha256[:16]}, the run asks for {asked.sha256[:16]}: other data"
            )
        if (longest := max(map(len, self.train))) <= context:
            raise UsageError(f"corpus {asked.corpus} has {longest} training tokens; a context of {context} needs more in a shard")
        if max(map(len, self.val)) < 2:
            raise UsageError(f"corpus {asked.corpus}: its val split has no two tokens, of which one could be predicted")


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
    source = dataset_source(name, choice.text) if name.startswith(PREFIX) else find_files(name)
    if isinstance(source, CorpusFiles):
        if source.kind == "shards":
            return _shards_spec(choice, source), source
        source = file_source(source, choice.text)
    tokenizer, vocab = identify_tokenizer(choice.tokenizer, choice.vocab)
    key = None if source.key == TEXT else source.key
    seen = f"text {source.identity} {tokenizer} {vocab} {choice.max_bytes}{f' {key}' if key else ''}"
    known = choice.model_dump(include={"corpus", "tokenizer", "max_bytes"})
    return DataSpec(**known, sha256=hashlib.sha256(seen.encode()).hexdigest(), vocab=vocab, text=key), source


def _cached(spec: DataSpec) -> Corpus | None:
    if (found := read_cached(spec)) is None:
        return None
    shards, token_bytes = found
    return Corpus(spec, shards["train"], shards["val"], token_bytes)


def _shards_spec(choice: DataChoice | DataSpec, files: CorpusFiles) -> DataSpec:
    name = choice.corpus
    if choice.vocab is None:
        raise UsageError(f"corpus {name}: token shards do not say their vocabulary; set data.vocab")
    if choice.tokenizer not in ("bytes", "shards") or choice.max_bytes or choice.text:
        raise UsageError(f"corpus {name} is token shards, tokenized already: of data.* only vocab is said of them")
    for split, found in (("train", files.train), ("val", files.val)):
        if not found:
            raise UsageError(f"corpus {name}: no .bin file with {split!r} in its name")
    return DataSpec(corpus=name, tokenizer="shards", sha256=files.sha256, vocab=choice.vocab)


def _shards(spec: DataSpec, files: CorpusFiles) -> Corpus:
    """Token shards as they are. They are looked through for a token beyond the vocabulary, once: the cache knows which were."""
    train, val = (tuple(read_shard(path) for path in paths) for paths in (files.train, files.val))
    seen = cache_home() / f"shards-{spec.sha256[:16]}-{spec.vocab}.seen"
    if not seen.exists():
        for shard in (*train, *val):
            for start in range(0, len(shard), 1 << 24):
                if (largest := int(shard[start : start + (1 << 24)].max())) >= spec.vocab:
                    raise UsageError(f"corpus {spec.corpus}: token {largest} does not fit a vocabulary of {spec.vocab}")
        with suppress(OSError):  # a cache that cannot be written costs time alone
            seen.parent.mkdir(parents=True, exist_ok=True)
            seen.touch()
    return Corpus(spec, train, val, token_bytes=None)
