"""``tokenizer.json`` files: what bytes their tokens stand for, and what other tokenizer files are that are taken for one.

Two kinds keep every byte of a text. Byte-level ones (GPT-2, Llama 3, Qwen, DeepSeek, OLMo) write bytes in an alphabet of 256
characters. Those with byte fallback (Llama 2, Mistral, Gemma: SentencePiece's) write a space as U+2581 and bytes that no other
token has as ``<0x0A>``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tokenizers

from hptransfer.base.errors import UsageError, first_line

# The printable characters of Latin-1 are their own bytes, the others come after it: GPT-2's bytes_to_unicode.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
ALPHABET = {chr(byte): bytes([byte]) for byte in _PRINTABLE} | {chr(256 + i): bytes([byte]) for i, byte in enumerate(_OTHERS)}
SPACE = "\u2581"
_BYTE = re.compile("<0x([0-9A-F]{2})>")

Spelling = Callable[[str], bytes]

# A tokenizer.json of 256,000 entries has 35 MB.
_LONGEST = 1 << 28


def of_byte_level(token: str) -> bytes:
    """What an entry of a byte-level vocabulary stands for."""
    return b"".join(ALPHABET.get(character) or character.encode() for character in token)


def of_byte_fallback(token: str) -> bytes:
    """What an entry of a vocabulary with byte fallback stands for."""
    found = _BYTE.fullmatch(token)
    return bytes([int(found[1], 16)]) if found else token.replace(SPACE, " ").encode()


def spell(library: tokenizers.Tokenizer, spelling: Spelling) -> list[bytes]:
    """The bytes of each token of a library, none for special ones. Converters that add the bytes of a fallback to the vocabulary
    call those special too."""
    ids, added = library.get_vocab(with_added_tokens=True), library.get_added_tokens_decoder()
    found = [b""] * (max(ids.values()) + 1)
    for token, number in ids.items():
        if number not in added or (spelling is of_byte_fallback and _BYTE.fullmatch(token)):
            found[number] = spelling(token)
        elif not added[number].special:
            found[number] = added[number].content.encode()
    return found


@dataclass(frozen=True)
class Read:
    """A tokenizer that was read: ``adds_space``, whether its file has it put a space before each text, which here it does not."""

    library: tokenizers.Tokenizer
    spelling: Spelling
    adds_space: bool


def read_content(path: str) -> bytes:
    """A tokenizer's file. Raises UsageError where it cannot be read, or is too long to be one."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"tokenizer {path}: {reason} (known: bytes, bpe, or the path of a tokenizer.json)") from None
    if len(content) > _LONGEST:
        raise UsageError(f"tokenizer {path} is longer than {_LONGEST >> 20} MiB, which no tokenizer.json is")
    return content


def read_tokenizer(path: str) -> Read:
    """A ``tokenizer.json``. Raises UsageError for another file, named for what it is, and for a tokenizer that may lose bytes or
    give a text other tokens each time."""
    name, content = f"tokenizer {path}", read_content(path)
    if kind := _other_kind(content[:4096]):
        raise UsageError(f"{name} is {kind}")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not a tokenizer.json: {first_line(error)}") from None
    if not isinstance(told, dict) or not isinstance(told.get("model"), dict):
        kind = _other_json(told)
        raise UsageError(f"{name} is {kind}" if kind else f"{name} is not a tokenizer.json: it has no 'model'")
    if told["model"].get("dropout"):
        raise UsageError(f"{name} drops merges at random (dropout), so that a text has other tokens each time; set it to null")
    parts = {part: _without_space(told.get(part)) for part in ("normalizer", "pre_tokenizer")}
    adds_space = any(parts[part] != told.get(part) for part in parts)
    try:
        library = tokenizers.Tokenizer.from_str(json.dumps(told | parts) if adds_space else content.decode())
    except Exception as error:  # the library raises nothing narrower
        raise UsageError(f"{name} is not a tokenizer.json: {first_line(error)}") from None
    return Read(library, _spelling(told, name), adds_space)


def _spelling(told: dict[str, Any], name: str) -> Spelling:
    if any("ByteLevel" in _types(told.get(part)) for part in ("decoder", "pre_tokenizer", "normalizer")):
        return of_byte_level
    if told["model"].get("byte_fallback"):
        return of_byte_fallback
    model, decoder = told["model"].get("type") or "of no named type", ", ".join(_types(told.get("decoder"))) or "none"
    raise UsageError(
        f"{name} is not byte-level and has no byte fallback (its model: {model}, its decoder: {decoder}), so that it may lose "
        "text, and its tokens' bytes are not known; take one of GPT-2's or Llama's kind, or bpe"
    )


def _types(part: Any) -> list[str]:
    """The types of a component and of those in it, if it is a Sequence."""
    if isinstance(part, list):
        return [found for each in part for found in _types(each)]
    if not isinstance(part, dict):
        return []
    inner = [found for value in part.values() if isinstance(value, list) for found in _types(value)]
    return inner if part.get("type") == "Sequence" else [str(part["type"])] if "type" in part else []


def what_normalizes(library: tokenizers.Tokenizer) -> str:
    """The types of what a library does to a text before its model sees it, in words."""
    parts = {"normalizer": library.normalizer, "pre-tokenizer": library.pre_tokenizer}
    found = {name: _types(json.loads(part.__getstate__())) for name, part in parts.items() if part}
    return " and ".join(f"{name} ({', '.join(types)})" for name, types in found.items())


def _without_space(part: Any) -> Any:
    """A normalizer or pre-tokenizer that puts no space before a text, which would be a byte that no text has."""
    if isinstance(part, list):
        kept = [_without_space(each) for each in part]
        return [each for each, before in zip(kept, part, strict=True) if each is not None or before is None]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend":
        return None
    changed = {key: _without_space(value) if isinstance(value, list) else value for key, value in part.items()}
    if part.get("add_prefix_space"):
        changed["add_prefix_space"] = False
    if part.get("type") == "Metaspace":
        changed["prepend_scheme"] = "never"
    return changed


def _convert(*packages: str) -> str:
    install = " ".join(("pip install transformers", *packages))
    return f"transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(OTHER) writes a tokenizer.json ({install})"


def _other_kind(head: bytes) -> str | None:
    """What a file is that begins like this and is no JSON, with the way to a tokenizer.json."""
    # A ModelProto begins with its first piece: field 1, its length; in it field 1, a string, then field 2, a float.
    piece = re.match(rb"\n[\x05-\x7f]\n([\x01-\x7f])", head, re.DOTALL)
    if piece and head[4 + piece[1][0] :][:1] == b"\x15":
        return f"a SentencePiece model; {_convert('sentencepiece')}"
    if re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", head):
        return f"a list of ranks of tiktoken; from it as tokenizer.model in FOLDER, {_convert('tiktoken')}"
    if head.startswith(b"#version"):
        return f"a list of merges (merges.txt), half of a tokenizer; {_convert()}"
    if head.startswith(b"[PAD]\n"):
        return "WordPiece's vocabulary (vocab.txt): it loses text; take a byte-level tokenizer.json, or bpe"
    return None


def _other_json(told: Any) -> str | None:
    """What a JSON file is that has no model."""
    if not isinstance(told, dict):
        return None
    if isinstance(told.get("vocab"), list) and isinstance(told.get("config"), dict):
        return "Mistral's tekken.json; its model's repository has a tokenizer.json beside it"
    if "tokenizer_class" in told or "added_tokens_decoder" in told:
        return "a tokenizer_config.json; name the tokenizer.json beside it"
    if told and all(isinstance(value, int) for value in told.values()):
        return f"a vocabulary (vocab.json), half of a tokenizer; {_convert()}"
    return None
