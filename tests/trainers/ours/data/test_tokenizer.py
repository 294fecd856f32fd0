import json
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
    plain = library()
    plain.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    tokenizer = LibraryTokenizer.load(saved(tmp_path, plain))
    assert len(tokenizer.encode([b"plain text is not changed"])) > 1
    says = r"'cafés é' became 'cafes e'; look at its normalizer \(NFD, StripAccents\) and pre-tokenizer \(ByteLevel\)"
    with pytest.raises(UsageError, match=says):
        tokenizer.encode([b"plain", "cafés é".encode()])
    composed = library()
    composed.normalizer = normalizers.NFC()  # Qwen's
    tokenizer = LibraryTokenizer.load(saved(tmp_path, composed))
    assert tokenizer.token_bytes[tokenizer.encode(["caf\u00e9".encode()])].sum() == 5
    with pytest.raises(UsageError, match="changes text"):
        tokenizer.encode(["cafe\u0301".encode()])


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": normalizers.Lowercase()},
        {"normalizer": normalizers.Replace("o", "0")},
        {"normalizer": normalizers.Strip()},
        {"pre_tokenizer": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)])},
    ],
    ids=["lower case", "as many bytes", "strip", "spaces"],
)
def test_one_that_always_changes_text_is_known_before_text_is_read(tmp_path, change) -> None:
    found = library()
    for name, value in change.items():
        setattr(found, name, value)
    with pytest.raises(UsageError, match="changes text, so that bits per byte would be wrong"):
        identify_tokenizer(saved(tmp_path, found), None)


def test_dropout_is_refused(tmp_path) -> None:
    path = saved(tmp_path, library())
    told = json.loads(Path(path).read_text())
    told["model"]["dropout"] = 0.1
    Path(path).write_text(json.dumps(told))
    with pytest.raises(UsageError, match="drops merges at random"):
        identify_tokenizer(path, None)


CASES = Path(__file__).parents[3] / "cases" / "tok"


@pytest.mark.parametrize(("name", "adds_space"), [("seq_bytelevel", False), ("prefix_space", True), ("llama2like", True)])
def test_tokenizers_that_people_have(name: str, adds_space: bool) -> None:
    """Byte-level inside a Sequence; byte-level, and SentencePiece's with byte fallback, that put a space before a text."""
    tokenizer = LibraryTokenizer.load(str(CASES / f"{name}.json"))
    assert tokenizer.adds_space is adds_space
    texts = [text for text in TEXTS if b"\xe2\x96\x81" not in text] + [b"</s> <s> <0x0A> \n  x", b"   ", b"it's"]
    tokens = tokenizer.encode(texts)
    assert int(tokenizer.token_bytes[tokens].sum()) == sum(map(len, texts))
    known = tokenizer.library
    for text in texts[:20]:
        part = tokenizer.encode([text])[1:].tolist()
        decoded = known.decode(part, skip_special_tokens=False)
        # The decoder of a tokenizer that puts a space there takes it away.
        assert decoded == text.decode().removeprefix(" " if name == "llama2like" else "")
    assert {
        tokenizer.token_bytes[known.token_to_id(token)] for token in ("</s>", "<|endoftext|>") if known.token_to_id(token)
    } == {0}


def test_a_fallback_writes_a_space_that_a_text_cannot_have(tmp_path) -> None:
    tokenizer = LibraryTokenizer.load(str(CASES / "llama2like.json"))
    with pytest.raises(UsageError, match="'▁' is how it writes a space"):
        tokenizer.encode(["a bar ▁▂▃".encode()])


def pairs_of_bytes() -> tokenizers.Tokenizer:
    """65,792 entries: a merge for every two bytes, those that begin with an o last."""
    order = sorted(ALPHABET, key=lambda character: (character == "o", character))
    merges = [(first, second) for first in order for second in order]
    entries = [*ALPHABET, *(first + second for first, second in merges)]
    found = tokenizers.Tokenizer(models.BPE({entry: i for i, entry in enumerate(entries)}, merges))
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return found


def test_a_vocabulary_above_two_bytes(tmp_path) -> None:
    path = saved(tmp_path, pairs_of_bytes())
    tokenizer = LibraryTokenizer.load(path)
    assert identify_tokenizer(path, None)[1] == len(tokenizer.token_bytes) == 65_793
    tokens = tokenizer.encode([*TEXTS, b"oo"])
    assert tokens.dtype == np.uint32 and 65_535 < tokens[-1] < tokens[-2] == 65_792
    assert int(tokenizer.token_bytes[tokens].sum()) == sum(map(len, TEXTS)) + 2


# Begun as files of the packages sentencepiece 0.2.3 and tiktoken 0.14.0 begin.
PIECES = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c\n\x03<s>\x15\0\0\0\0\x18\x03\n\n\n\x03\xe2\x96\x81\x15\x13%\xd4\xbf"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PIECES, "is a SentencePiece model; transformers' AutoTokenizer"),
        (b"IQ== 0\nIg== 1\nIw== 2\n", "is a list of ranks of tiktoken; "),
        (b"#version: 0.2\n\xc4\xa0 t\n", "is a list of merges (merges.txt)"),
        (b"[PAD]\n[UNK]\nthe\n", "is WordPiece's vocabulary (vocab.txt)"),
        (b'{"config": {"pattern": "x"}, "vocab": [{"rank": 0, "token_bytes": "AA=="}]}', "is Mistral's tekken.json"),
        (b'{"tokenizer_class": "GPT2Tokenizer"}', "is a tokenizer_config.json; name the tokenizer.json beside it"),
        (b'{"!": 0, "a": 1}', "is a vocabulary (vocab.json)"),
        (b'{"model": "x"}', "is not a tokenizer.json: it has no 'model'"),
        (b"[" * 100_000, "is not a tokenizer.json: maximum recursion"),
        (b"\xff\xfe\0", "is not a tokenizer.json: "),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content: bytes, says: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(f"tokenizer {tmp_path / 'tokenizer.model'} {says}")) as caught:
        identify_tokenizer(str(tmp_path / "tokenizer.model"), None)
    assert "\n" not in str(caught.value)


def word_level() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))


def fallback_without_some_bytes() -> tokenizers.Tokenizer:
    entries = [*(f"<0x{byte:02X}>" for byte in range(200)), "a"]
    return tokenizers.Tokenizer(models.BPE({entry: i for i, entry in enumerate(entries)}, [], byte_fallback=True))


def without_some_bytes() -> tokenizers.Tokenizer:
    found = tokenizers.Tokenizer(models.BPE({letter: i for i, letter in enumerate(ALPHABET[:200])}, []))
    found.decoder = decoders.ByteLevel()
    return found


def too_large() -> tokenizers.Tokenizer:
    entries = {**{letter: i for i, letter in enumerate(ALPHABET)}, "a very distant one": 1 << 20}
    found = tokenizers.Tokenizer(models.BPE(entries, []))
    found.decoder = decoders.ByteLevel()
    return found


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (word_level, "is not byte-level and has no byte fallback (its model: WordLevel, its decoder: none)"),
        (fallback_without_some_bytes, "has no token for 56 of the 256 bytes"),
        (without_some_bytes, "has no token for 56 of the 256 bytes"),
        (too_large, "has 1,048,577 entries with its end of text; at most 1,048,576 are taken"),
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
        ("bpe", None, "tokenizer bpe needs data.vocab, from 257 to 1048576 entries (got None)"),
        ("bpe", 256, "to 1048576 entries (got 256)"),
        ("bpe", 1048577, "to 1048576 entries (got 1048577)"),
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
