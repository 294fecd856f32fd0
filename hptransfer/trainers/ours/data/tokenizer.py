"""Tokenizers: bytes, a byte-level BPE trained on the corpus, or one loaded from a ``tokenizer.json``.

Each document is opened by the end-of-text token, as in llm.c's shards, so that every token of text has one to predict it from.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from hptransfer.base.errors import UsageError
from hptransfer.experiment.settings import MAX_VOCAB
from hptransfer.trainers.ours.data.shards import Tokens, token_type
from hptransfer.trainers.ours.data.tokenizer_files import (
    SPACE,
    Spelling,
    of_byte_level,
    read_content,
    read_tokenizer,
    spell,
    what_normalizes,
)

_LOG = logging.getLogger(__name__)

TokenBytes = npt.NDArray[np.int32]

END_OF_TEXT = "<|endoftext|>"
# The end token of a loaded tokenizer is the first of these that it has.
END_TOKENS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<|bos|>")

# Raise it whenever the same text would give another BPE.
BPE_PROCEDURE = 1
# Training text that a BPE is trained on: more makes little difference and takes a GB of memory per 25 MB.
BPE_BYTES = 50_000_000
MIN_BPE_VOCAB = 257
# What a tokenizer must give back before anything is read: one that lowers case or drops spaces is known by it.
PROBE = b"A Quick  brown Fox,\n\tjumps over 12 (lazy) dogs\n\n"


class Tokenizer(Protocol):
    """``token_bytes``, of shape (vocab,), says how many bytes of text each token stands for: 0 for the end of text."""

    token_bytes: TokenBytes

    def encode(self, documents: Sequence[bytes]) -> Tokens:
        """The tokens of all documents, each opened by the end of text. Raises UsageError when text would be lost."""
        ...


class ByteTokenizer:
    """Bytes are tokens, and byte 0, which no document has, is the end of text."""

    def __init__(self) -> None:
        self.token_bytes: TokenBytes = np.array([0, *[1] * 255], dtype=np.int32)

    def encode(self, documents: Sequence[bytes]) -> Tokens:
        text = b"".join(b"\0" + document for document in documents)
        return np.frombuffer(text, dtype=np.uint8).astype(np.uint16)

    def decode(self, tokens: Tokens) -> bytes:
        """The text, documents one after another."""
        return tokens[tokens > 0].astype(np.uint8).tobytes()


class LibraryTokenizer:
    """A tokenizer of the `tokenizers` library that keeps every byte. Special tokens that the text spells out are text."""

    def __init__(self, library: tokenizers.Tokenizer, spelling: Spelling, name: str) -> None:
        self.name = name
        self.library = library
        self.adds_space = False
        library.no_padding()
        library.no_truncation()
        library.encode_special_tokens = True
        end = next((token for token in END_TOKENS if library.token_to_id(token) is not None), END_OF_TEXT)
        library.add_special_tokens([end])
        self._end = library.token_to_id(end)
        if (entries := max(library.get_vocab(with_added_tokens=True).values()) + 1) > MAX_VOCAB:
            raise UsageError(f"{name} has {entries:,} entries with its end of text; at most {MAX_VOCAB:,} are taken")
        self._spelled = spell(library, spelling)
        self.token_bytes: TokenBytes = np.array([len(text) for text in self._spelled], dtype=np.int32)
        if missing := 256 - len({text for text in self._spelled if len(text) == 1}):
            raise UsageError(f"{name} has no token for {missing} of the 256 bytes: text would be lost")

    @classmethod
    def load(cls, path: str) -> LibraryTokenizer:
        """From a ``tokenizer.json``; where it has no end of text, one is added. One that puts a space before each text does not
        here. Raises UsageError when it cannot be used."""
        found = read_tokenizer(path)
        tokenizer = cls(found.library, found.spelling, f"tokenizer {path}")
        tokenizer.adds_space = found.adds_space
        tokenizer.encode([PROBE])
        return tokenizer

    @classmethod
    def train(cls, documents: Iterable[bytes], vocab: int) -> LibraryTokenizer:
        """A byte-level BPE with ``vocab`` entries, GPT-2's pre-tokenization; the same for the same documents."""
        library = tokenizers.Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        library.train_from_iterator((document.decode() for document in documents), trainer)
        if (found := library.get_vocab_size()) < vocab:
            raise UsageError(f"tokenizer bpe: the training text gives {found} entries, not data.vocab {vocab}; lower it")
        return cls(library, of_byte_level, "tokenizer bpe")

    def encode(self, documents: Sequence[bytes]) -> Tokens:
        encodings = self.library.encode_batch_fast([document.decode() for document in documents], add_special_tokens=False)
        parts = []
        for document, encoding in zip(documents, encodings, strict=True):
            ids = encoding.ids
            if (text := b"".join(map(self._spelled.__getitem__, ids))) != document:
                raise self._changes(document, text)
            parts.append(np.array([self._end, *ids], dtype=token_type(len(self._spelled))))
        return np.concatenate(parts)

    def _changes(self, document: bytes, text: bytes) -> UsageError:
        """What to say of a document that would come back as ``text``."""
        same = next((i for i, (was, now) in enumerate(zip(document, text, strict=False)) if was != now), len(text))
        at = max(0, same - 10)
        before, after = (each[at : at + 40].decode(errors="ignore") for each in (document, text))
        hint = f"; look at its {normalizing}" if (normalizing := what_normalizes(self.library)) else ""
        if SPACE in before and SPACE not in after:
            hint = f"; {SPACE!r} is how it writes a space, so that a text cannot have it"
        return UsageError(f"{self.name} changes text, so that bits per byte would be wrong: {before!r} became {after!r}{hint}")


def identify_tokenizer(name: str, vocab: int | None) -> tuple[str, int]:
    """What identifies a tokenizer, and its number of entries (more where ``vocab`` pads a loaded one's). Raises UsageError when
    ``vocab`` does not fit it."""
    if name == "bytes":
        if vocab not in (None, 256):
            raise UsageError(f"data.vocab {vocab}: bytes have 256 values; for more entries set data.tokenizer to bpe")
        return "bytes", 256
    if name == "bpe":
        if vocab is None or not MIN_BPE_VOCAB <= vocab <= MAX_VOCAB:
            raise UsageError(f"tokenizer bpe needs data.vocab, from {MIN_BPE_VOCAB} to {MAX_VOCAB} entries (got {vocab})")
        return f"bpe {BPE_PROCEDURE} {vocab}", vocab
    sha256 = hashlib.sha256(read_content(name)).hexdigest()
    found = _entries(name, sha256)
    if vocab is not None and vocab < found:
        raise UsageError(f"data.vocab {vocab}: tokenizer {name} has {found} entries with its end of text; leave data.vocab out")
    return f"file {sha256}", vocab or found


@cache
def _entries(name: str, sha256: str) -> int:
    """Of a tokenizer whose file has that content: one of 128,000 takes seconds to load, and is asked for by every arm."""
    return len(LibraryTokenizer.load(name).token_bytes)


def make_tokenizer(name: str, vocab: int, training: Iterable[bytes]) -> Tokenizer:
    """The tokenizer ``bytes``, ``bpe`` (trained on the documents ``training``), or that of a ``tokenizer.json``."""
    if name == "bytes":
        return ByteTokenizer()
    if name == "bpe":
        return LibraryTokenizer.train(training, vocab)
    tokenizer = LibraryTokenizer.load(name)
    if tokenizer.adds_space:
        _LOG.info("tokenizer %s puts a space before each text: left out here, as no text has that byte", name)
    return tokenizer
