"""What is stored as JSON or YAML, read as if a stranger had written it: every fault is a ValueError of one line.

A text that is sealed ends in the SHA-256 of what stands before it, so that no damage passes for a value.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import yaml

from hptransfer.base.errors import first_line, one_line

MOST_NESTED = 64
MOST_VALUES = 100_000  # of a YAML text, what its aliases repeat included
MOST_YAML_BYTES = 2**18  # which take the parser seconds
MOST_WHOLE = 2**63 - 1  # of a column of whole numbers
SHOWN = 60  # characters of a value that is named

SEAL = b',"text_sha256":"'  # a key that nothing else has
_SEALED = len(SEAL) + 64 + len(b'"}')
# Digits as 0, E as e, what may stand before a number as a colon: what may be one beyond the bounds is then a plain search.
_OUTLINE = bytes.maketrans(b"123456789E,[- \t\r\n", b"000000000e:::::::")
_WHOLE, _EXPONENTS, _LITERAL = b":" + b"0" * 19, (b"0e000", b"0e+000"), (b"NaN", b"Infinity", b"\\u")


def from_json(content: bytes | str) -> Any:
    """The value of a JSON text whose numbers are finite, and whole ones of 64 bits. Raises ValueError, in one line."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    require_plain(value)
    return value


def mapping_from_json(content: bytes | str) -> dict[str, Any]:
    """`from_json` where that must be a mapping."""
    value = from_json(content)
    if not isinstance(value, dict):
        raise ValueError("it holds no mapping of keys to values")
    return value


def from_yaml(text: str) -> Any:
    """`bounded_yaml` where that must be plain values, as `require_plain` says."""
    value = bounded_yaml(text)
    require_plain(value)
    return value


def bounded_yaml(text: str) -> Any:
    """The value of a YAML text that is not too long, nested too deep, or larger by its aliases than a text may be. Raises
    ValueError, in one line."""
    if len(text) > MOST_YAML_BYTES:
        raise ValueError(f"it is {len(text):,} characters long, and {MOST_YAML_BYTES:,} are the most that are read")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _size(node, {}, 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (yaml.YAMLError, TypeError, OverflowError, KeyError, AttributeError) as error:  # constructors raise what they meet
        raise ValueError(one_line(error) or first_line(error)) from None


def require_plain(value: Any, where: str = "", depth: int = 0) -> None:
    """Raises ValueError, in one line that names the place, for what is no plain value: a date, a key that is no text, a number
    that is not finite or has more than 64 bits, half a character, too deep a nesting."""
    at = f"{where}: " if where else ""
    if depth > MOST_NESTED:
        raise ValueError(f"{shown(where)}: it is nested more than {MOST_NESTED} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{at}the key {shown(key)} is no text; put it in quotes")
            require_plain(key, f"{at}a key", depth)
            require_plain(inner, f"{where}.{key}" if where else key, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            require_plain(inner, f"{where}[{index}]", depth + 1)
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{at}{shown(value)} holds half a character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{at}{value} is no finite number")
    elif isinstance(value, int):
        if abs(value) > MOST_WHOLE:
            raise ValueError(f"{at}{shown(value)} has more than 64 bits")
    elif value is not None:
        raise ValueError(f"{at}{shown(value)} is a {type(value).__name__}; put it in quotes")


def may_be_odd(content: bytes) -> bool:
    """Whether the text of a JSON mapping may hold a value that `from_json` refuses, its nesting aside: a fast look, for what is
    parsed otherwise."""
    outline = content.translate(_OUTLINE)
    if _WHOLE in outline or any(part in content for part in _LITERAL):
        return True
    return any(_is_number(outline, at) for part in _EXPONENTS for at in _places(outline, part))


def _places(text: bytes, part: bytes) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _is_number(outline: bytes, end: int) -> bool:
    """Whether the digits before a place are of a number rather than of a digest."""
    return outline[max(0, end - 400) : end].rstrip(b"0.")[-1:] == b":"


def shown(value: Any) -> str:
    """A value for a line of a message, cut where it is long."""
    try:
        text = repr(value).encode("utf-8", "backslashreplace").decode()
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def sealed(text: str) -> str:
    """A JSON mapping, as ``{...}``, with the digest of its text as its last key."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]}{SEAL.decode()}{digest}"}}'


def unsealed(content: bytes) -> bytes:
    """The text that was sealed; the text itself where it has no seal. Raises ValueError where it is not what was sealed."""
    if content[-_SEALED:][: len(SEAL)] != SEAL:
        return content
    text = content[:-_SEALED] + b"}"
    if f'{hashlib.sha256(text).hexdigest()}"}}'.encode() != content[-66:]:
        raise ValueError("it is not what was written: its digest differs")
    return text


def mapping_from_sealed(content: bytes) -> dict[str, Any]:
    """The mapping that was sealed, or has no seal. Raises ValueError where it is neither."""
    return mapping_from_json(unsealed(content))


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values a node holds, each as often as its aliases have it. Raises ValueError beyond the bounds."""
    found = known.get(id(node))
    if found is not None:
        if not found:
            raise ValueError("an alias names what it stands in")
        return found
    if depth > MOST_NESTED:
        raise ValueError(f"it is nested more than {MOST_NESTED} deep")
    known[id(node)] = 0
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inside = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inside = list(node.value)
    size = 1 + sum(_size(part, known, depth + 1) for part in inside)
    if size > MOST_VALUES:
        raise ValueError(f"its aliases make more than {MOST_VALUES:,} values of it")
    known[id(node)] = size
    return size
