import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from trainers.ours.data.conftest import DOCUMENTS, EVERY_BYTE

from hptransfer.base.errors import UsageError
from hptransfer.trainers.ours.data.tokenizer import ByteTokenizer, LibraryTokenizer, identify_tokenizer

TEXTS = [text.replace("\0", "").encode() for text in DOCUMENTS]
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def library(vocab: int = 300, special: tuple[str, ...] = (), **kwargs) -> tokenizers.Tokenizer:
    """A byte-level BPE, as another project would train and save it."""
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(**{"add_prefix_space": False} | kwargs)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(special), initial_alphabet=ALPHABET, show_progress=False)
    found.train_from_iterator(map(bytes.decode, TEXTS), trainer)
    return found


def saved(path: Path, found: tokenizers.Tokenizer) -> str:
    found.save(str(path / "tokenizer.json"))
    return str(path / "tokenizer.json")


def foreign(tmp_path: Path) -> LibraryTokenizer:
    """With settings of its own that must not change what is seen: padding, truncation, a template, added tokens."""
    found = library(special=("[PAD]", "</s>", "[INST]"))
    found.add_tokens(["fox, число", "    "])
    found.enable_truncation(10)
    found.enable_padding(length=64)
    found.post_processor = processors.TemplateProcessing(single="</s> $A </s>", special_tokens=[("</s>", 1)])
    return LibraryTokenizer.load(saved(tmp_path, found))


def test_the_text_holds_every_byte_that_utf8_allows() -> None:
    assert {0, *b"".join(TEXTS)} == {*range(0xC0), *range(0xC2, 0xF5)}
    assert EVERY_BYTE.encode() in TEXTS


@pytest.mark.parametrize("kind", ["bytes", "bpe", "loaded"])
def test_the_bytes_of_all_tokens_are_those_of_the_text(tmp_path, kind: str) -> None:
    makers = {"bytes": ByteTokenizer, "bpe": lambda: LibraryTokenizer.train(TEXTS, 400), "loaded": lambda: foreign(tmp_path)}
    tokenizer = makers[kind]()
    tokens = tokenizer.encode(TEXTS)
    assert tokens.dtype == np.uint16 and tokenizer.token_bytes.dtype == np.int32
    assert int(tokenizer.token_bytes[tokens].sum()) == sum(map(len, TEXTS))
    end = int(tokens[0])
    assert tokenizer.token_bytes[end] == 0
    starts = np.flatnonzero(tokens == end)
    assert len(starts) == len(TEXTS)
    for document, part in zip(TEXTS, np.split(tokens, starts[1:]), strict=True):
        assert int(tokenizer.token_bytes[part].sum()) == len(document)
        if kind != "bytes":
            assert tokenizer.library.decode(part[1:].tolist(), skip_special_tokens=False) == document.decode()
    if kind == "bytes":
        assert b"".join(b"\0" + document for document in TEXTS) == tokens.astype(np.uint8).tobytes()


def test_the_entries_of_a_bpe() -> None:
    tokenizer = LibraryTokenizer.train(TEXTS, 400)
    assert tokenizer.token_bytes.shape == (400,)
    assert tokenizer.library.token_to_id("<|endoftext|>") == 0 == tokenizer.encode([b"x"])[0]
    assert (tokenizer.token_bytes[1:257] == 1).all() and (tokenizer.token_bytes[257:] > 1).all()
    # Every byte alone, the smallest one.
    assert (LibraryTokenizer.train(TEXTS, 257).token_bytes[1:] == 1).all()


def test_a_loaded_tokenizer_keeps_its_own_end_of_text(tmp_path) -> None:
    own = foreign(tmp_path)
    assert own.encode([b"x"])[0] == own.library.token_to_id("</s>") == 1
    added = LibraryTokenizer.load(saved(tmp_path, library()))
    assert added.encode([b"x"])[0] == 300 and added.token_bytes.shape == (301,)


def test_special_tokens_in_a_text_are_text(tmp_path) -> None:
    text = b"a </s> and [INST] and <|endoftext|>"
    for tokenizer in (foreign(tmp_path), LibraryTokenizer.train(TEXTS, 300)):
        tokens = tokenizer.encode([text])
        assert tokenizer.token_bytes[tokens[1:]].min() > 0
        assert tokenizer.token_bytes[tokens].sum() == len(text)


def test_a_bpe_is_the_same_in_every_process(tmp_path) -> None:
    """Whatever the number of threads and the seed of Python's hashes; on text with many ties."""
    code = (
        "import sys; from pathlib import Path; import hptransfer\n"
        "from hptransfer.trainers.ours.data.tokenizer import LibraryTokenizer\n"
        "files = sorted(Path(hptransfer.__file__).parent.rglob('*.py'))\n"
        "tokenizer = LibraryTokenizer.train([path.read_bytes() for path in files], 3000)\n"
        "tokenizer.library.save(sys.argv[1]); print(tokenizer.encode([files[0].read_bytes()]).tolist())"
    )
    seen = set()
    for i, threads in enumerate(("1", "2", "5")):
        path = tmp_path / f"{i}.json"
        env = os.environ | {"PYTHONHASHSEED": str(i), "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        done = subprocess.run([sys.executable, "-c", code, str(path)], env=env, capture_output=True, text=True, check=True)
        seen.add((path.read_text(), done.stdout))
    assert len(seen) == 1


def test_a_bpe_that_the_text_does_not_fill() -> None:
    with pytest.raises(UsageError, match=r"the training text gives 258 entries, not data\.vocab 300"):
        LibraryTokenizer.train([b"ab"], 300)


def test_a_tokenizer_that_changes_text_is_refused(tmp_path) -> None:
    lower = library()
    lower.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    tokenizer = LibraryTokenizer.load(saved(tmp_path, lower))
    assert len(tokenizer.encode([b"plain text is not changed"])) > 1
    with pytest.raises(UsageError, match=r"9 bytes became 7 in the document that begins 'cafés é'; remove its normalizer Seq"):
        tokenizer.encode([b"plain", "cafés é".encode()])
    prefix = LibraryTokenizer.load(saved(tmp_path, library(add_prefix_space=True)))
    with pytest.raises(UsageError, match=r"4 bytes became 5 in the document that begins 'text'$"):
        prefix.encode([b"text"])


def word_level() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))


def without_some_bytes() -> tokenizers.Tokenizer:
    found = tokenizers.Tokenizer(models.BPE({letter: i for i, letter in enumerate(ALPHABET[:200])}, []))
    found.decoder = decoders.ByteLevel()
    return found


def too_large() -> tokenizers.Tokenizer:
    entries = {**{letter: i for i, letter in enumerate(ALPHABET)}, **{f"entry{i}": i for i in range(256, 65536)}}
    found = tokenizers.Tokenizer(models.BPE(entries, []))
    found.decoder = decoders.ByteLevel()
    return found


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (word_level, "is not byte-level (its decoder: none)"),
        (without_some_bytes, "has no token for 56 of the 256 bytes"),
        (too_large, "has 65537 entries with its end of text; uint16 tokens allow 65536"),
    ],
)
def test_a_tokenizer_that_cannot_be_used(tmp_path, make, says: str) -> None:
    path = saved(tmp_path, make())
    with pytest.raises(UsageError, match=re.escape(f"tokenizer {path} {says}")):
        identify_tokenizer(path, None)


@pytest.mark.parametrize(
    ("name", "vocab", "says"),
    [
        ("bytes", 512, "data.vocab 512: bytes have 256 values"),
        ("bpe", None, "tokenizer bpe needs data.vocab, from 257 to 65536 entries (got None)"),
        ("bpe", 256, "to 65536 entries (got 256)"),
        ("bpe", 65537, "to 65536 entries (got 65537)"),
        ("bp", None, "tokenizer bp: No such file or directory (known: bytes, bpe, or the path of a tokenizer.json)"),
        (".", None, "tokenizer .: Is a directory"),
        (__file__, None, "is not a tokenizer.json: "),
    ],
)
def test_a_choice_that_does_not_fit(name: str, vocab: int | None, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        identify_tokenizer(name, vocab)
    assert "\n" not in str(caught.value)


def test_a_loaded_tokenizer_is_identified_by_its_content_and_padded(tmp_path) -> None:
    path = saved(tmp_path, library())
    identity, vocab = identify_tokenizer(path, None)
    assert vocab == 301 and identify_tokenizer(path, 320) == (identity, 320)
    with pytest.raises(UsageError, match=r"data\.vocab 300: .* has 301 entries with its end of text"):
        identify_tokenizer(path, 300)
    saved(tmp_path, library(310))
    assert identify_tokenizer(path, None)[0] != identity
