"""Tokenizers: bytes, a byte-level BPE trained on the corpus, or one loaded from a ``tokenizer.json``.

Each document is opened by the end-of-text token, as in llm.c's shards, so that every token of text has one to predict it from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from hptransfer.base.errors import UsageError
from hptransfer.trainers.ours.data.shards import MAX_VOCAB, Tokens

TokenBytes = npt.NDArray[np.int32]

END_OF_TEXT = "<|endoftext|>"
# The end token of a loaded tokenizer is the first of these that it has.
END_TOKENS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<|bos|>")

# Raise it whenever the same text would give another BPE.
BPE_PROCEDURE = 1
# Training text that a BPE is trained on: more makes little difference and takes a GB of memory per 25 MB.
BPE_BYTES = 50_000_000
MIN_BPE_VOCAB = 257


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
    """A byte-level tokenizer of the `tokenizers` library. Special tokens that the text spells out are text."""

    def __init__(self, library: tokenizers.Tokenizer, name: str) -> None:
        if not isinstance(library.decoder, decoders.ByteLevel):
            found = type(library.decoder).__name__ if library.decoder else "none"
            raise UsageError(f"{name} is not byte-level (its decoder: {found}), so that its tokens' bytes are not known")
        self.name = name
        self.library = library
        library.no_padding()
        library.no_truncation()
        library.encode_special_tokens = True
        end = next((token for token in END_TOKENS if library.token_to_id(token) is not None), END_OF_TEXT)
        library.add_special_tokens([end])
        self._end = library.token_to_id(end)
        ids = library.get_vocab(with_added_tokens=True)
        self.token_bytes: TokenBytes = np.zeros(max(ids.values()) + 1, dtype=np.int32)
        for token, number in ids.items():
            self.token_bytes[number] = len(token)  # its alphabet has one character for each byte
        for number, added in library.get_added_tokens_decoder().items():
            self.token_bytes[number] = 0 if added.special else len(added.content.encode())
        if missing := set(pre_tokenizers.ByteLevel.alphabet()) - ids.keys():
            raise UsageError(f"{name} has no token for {len(missing)} of the 256 bytes: text would be lost")
        if len(self.token_bytes) > MAX_VOCAB:
            raise UsageError(f"{name} has {len(self.token_bytes)} entries with its end of text; uint16 tokens allow {MAX_VOCAB}")

    @classmethod
    def load(cls, path: str) -> LibraryTokenizer:
        """From a ``tokenizer.json``; where it has no end of text, one is added. Raises UsageError when it cannot be used."""
        try:
            library = tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"tokenizer {path}: {error.strerror} (known: bytes, bpe, or the path of a tokenizer.json)") from None
        except Exception as error:  # the library raises nothing narrower
            raise UsageError(f"tokenizer {path} is not a tokenizer.json: {error}") from None
        return cls(library, f"tokenizer {path}")

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
        return cls(library, "tokenizer bpe")

    def encode(self, documents: Sequence[bytes]) -> Tokens:
        encodings = self.library.encode_batch_fast([document.decode() for document in documents], add_special_tokens=False)
        parts = [np.array([self._end, *encoding.ids]) for encoding in encodings]
        for document, tokens in zip(documents, parts, strict=True):
            if (kept := int(self.token_bytes[tokens].sum())) != len(document):
                normalizer = self.library.normalizer
                hint = f"; remove its normalizer {type(normalizer).__name__}" if normalizer else ""
                start = document[:40].decode(errors="ignore")
                raise UsageError(
                    f"{self.name} changes text, so that bits per byte would be wrong: {len(document)} bytes became {kept} "
                    f"in the document that begins {start!r}{hint}"
                )
        return np.concatenate(parts).astype(np.uint16)


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
    found = len(LibraryTokenizer.load(name).token_bytes)
    if vocab is not None and vocab < found:
        raise UsageError(f"data.vocab {vocab}: tokenizer {name} has {found} entries with its end of text; leave data.vocab out")
    return f"file {hashlib.sha256(Path(name).read_bytes()).hexdigest()}", vocab or found


def make_tokenizer(name: str, vocab: int, training: Iterable[bytes]) -> Tokenizer:
    """The tokenizer ``bytes``, ``bpe`` (trained on the documents ``training``), or that of a ``tokenizer.json``."""
    if name == "bytes":
        return ByteTokenizer()
    return LibraryTokenizer.train(training, vocab) if name == "bpe" else LibraryTokenizer.load(name)
