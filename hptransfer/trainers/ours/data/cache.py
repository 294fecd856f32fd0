"""Tokenized text on disk: `.bin` shards in a folder that is there whole or not at all."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from hptransfer.base.errors import UsageError
from hptransfer.base.files import cache_home
from hptransfer.experiment.settings import DataSpec
from hptransfer.trainers.ours.data.documents import SPLITS, Source, Split
from hptransfer.trainers.ours.data.shards import Tokens, read_shard, write_shard
from hptransfer.trainers.ours.data.tokenizer import BPE_BYTES, LibraryTokenizer, TokenBytes, Tokenizer, make_tokenizer

_LOG = logging.getLogger(__name__)

# Text that is tokenized at once, and tokens after which a new shard begins (200 MB, as FineWeb's are).
BATCH_BYTES = 4 << 20
SHARD_TOKENS = 100_000_000
# Seconds between two lines that say how far it is.
PROGRESS_SECONDS = 10.0


def cache_folder(spec: DataSpec) -> Path:
    """Where the tokens of ``spec`` are, or will be."""
    name = re.sub(r"\W+", "-", f"{Path(spec.corpus).name}-{Path(spec.tokenizer).stem}").strip("-")
    return cache_home() / f"{name}-{spec.sha256[:16]}"


def fill(spec: DataSpec, source: Source) -> None:
    """Tokenize ``source`` into the cache. A second process that wants the same waits for the first; a folder that a killed one
    left half-made has another name, and is removed. Raises UsageError for text that cannot be read, or a split without any."""
    folder = cache_folder(spec)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.is_dir():
                return
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _tokenize(spec, source, partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cache {folder.parent} (HPTRANSFER_CACHE) cannot be written: {error.strerror or error}") from None


def read_cached(spec: DataSpec) -> tuple[dict[Split, tuple[Tokens, ...]], TokenBytes] | None:
    """The shards of each split, memory-mapped, and the bytes of each token, if they are in the cache. Raises UsageError where
    somebody has since damaged them."""
    folder = cache_folder(spec)
    if not folder.is_dir():
        return None
    shards = {split: tuple(read_shard(path) for path in sorted(folder.glob(f"{split}_*.bin"))) for split in SPLITS}
    try:
        token_bytes: TokenBytes = np.load(folder / "token_bytes.npy")
    except (OSError, ValueError, EOFError):
        token_bytes = np.zeros(0, dtype=np.int32)
    if len(token_bytes) != spec.vocab or not all(shards.values()):
        raise UsageError(f"{folder} lacks files or holds damaged ones; remove it, and it is made again")
    return shards, token_bytes


def _tokenize(spec: DataSpec, source: Source, folder: Path) -> None:
    training = (text for split, text in source.documents(min(spec.max_bytes or BPE_BYTES, BPE_BYTES)) if split == "train")
    tokenizer = make_tokenizer(spec.tokenizer, spec.vocab, training)
    if isinstance(tokenizer, LibraryTokenizer):
        tokenizer.library.save(str(folder / "tokenizer.json"))
    np.save(folder / "token_bytes.npy", np.pad(tokenizer.token_bytes, (0, spec.vocab - len(tokenizer.token_bytes))))
    writers = {split: _Writer(folder, split, tokenizer) for split in SPLITS}
    for split, text in _with_progress(spec, source.documents(spec.max_bytes)):
        writers[split].add(text)
    for split, writer in writers.items():
        if not writer.close():
            raise UsageError(
                f"corpus {spec.corpus} has no text in its {split} split: name a file {split}, or have more documents"
                f"{', or raise data.max_bytes' if spec.max_bytes else ''} (about 5 % of them become validation)"
            )


def _with_progress(spec: DataSpec, documents: Iterator[tuple[Split, bytes]]) -> Iterator[tuple[Split, bytes]]:
    """The documents; every few seconds a line says how many bytes there were."""
    began = said = time.monotonic()
    read = 0
    for split, text in documents:
        yield split, text
        read += len(text)
        if (now := time.monotonic()) - said > PROGRESS_SECONDS:
            said = now
            speed = read / 1e6 / (now - began)
            _LOG.info("tokenizing corpus %s into the cache: %.0f MB so far, %.1f MB/s", spec.corpus, read / 1e6, speed)


class _Writer:
    """Tokenizes the documents of a split, a batch at a time, into numbered shards that each begin with a document."""

    def __init__(self, folder: Path, split: Split, tokenizer: Tokenizer) -> None:
        self._folder, self._split, self._tokenizer = folder, split, tokenizer
        self._documents: list[bytes] = []
        self._batch_bytes = 0
        self._tokens: list[Tokens] = []
        self._shards = 0

    def add(self, document: bytes) -> None:
        self._documents.append(document)
        self._batch_bytes += len(document)
        if self._batch_bytes >= BATCH_BYTES:
            self._encode()

    def close(self) -> int:
        """Write what is left; how many shards there are."""
        if self._documents:
            self._encode()
        if self._tokens:
            self._write()
        return self._shards

    def _encode(self) -> None:
        self._tokens.append(self._tokenizer.encode(self._documents))
        self._documents, self._batch_bytes = [], 0
        if sum(map(len, self._tokens)) >= SHARD_TOKENS:
            self._write()

    def _write(self) -> None:
        write_shard(self._folder / f"{self._split}_{self._shards:06d}.bin", np.concatenate(self._tokens))
        self._tokens = []
        self._shards += 1
