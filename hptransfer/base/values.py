"""What a value may be, by kind: a count, a positive number, a list of names, scales by name, a line of text.

Each is read from text in one way, whoever asks; a ``ValueError`` says in one line, with the value, what is wrong. Nothing but
Python's own is imported: ``--help`` waits for nothing.
"""

from __future__ import annotations

import math

MOST = 2**53  # of a count: beyond it a float no longer holds every whole number
LONGEST = 255  # bytes of a name, of a file as of an arm: what file systems take
LONGEST_PATH = 4095  # bytes


def text(value: str) -> str:
    """A line of text: not empty, UTF-8, without line breaks and other control characters."""
    if not value.strip():
        raise ValueError(f"{value!r} is empty")
    if not _is_utf8(value):
        raise ValueError(f"{value!r} is not UTF-8")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{value!r} has a line break or another control character")
    return value


def program(value: str) -> str:
    """A command line of a shell, which may have several lines."""
    text(value.replace("\n", " ").replace("\t", " "))
    return value


def path(value: str) -> str:
    """A line of text that a file system takes as a path, or an address."""
    encoded = text(value).encode()
    if len(encoded) > LONGEST_PATH or any(len(part) > LONGEST for part in encoded.split(b"/")):
        raise ValueError(f"{value!r} is longer than a path may be, {LONGEST} bytes a name")
    return value


def count(value: str) -> int:
    """A whole number from 1 to `MOST`; 1e9 is one."""
    found = _number(value)
    if not (1 <= found <= MOST and found.is_integer()):
        raise ValueError(f"{value!r} is no whole number from 1 to {MOST}")
    return int(found)


def count_from_0(value: str) -> int:
    """A whole number from 0 to `MOST`."""
    found = _number(value)
    if not (0 <= found <= MOST and found.is_integer()):
        raise ValueError(f"{value!r} is no whole number from 0 to {MOST}")
    return int(found)


def positive(value: str) -> float:
    """A finite number above 0."""
    found = _number(value)
    if not 0 < found < math.inf:
        raise ValueError(f"{value!r} is no finite number above 0")
    return found


def positives(value: str) -> tuple[float, ...]:
    """Positive numbers apart by commas."""
    return tuple(positive(part.strip()) for part in value.split(","))


def not_negative(value: str) -> float:
    """A finite number, 0 or above."""
    found = _number(value)
    if not 0 <= found < math.inf:
        raise ValueError(f"{value!r} is no finite number, 0 or above")
    return found


def share(value: str) -> float:
    """A number above 0 and up to 1."""
    found = _number(value)
    if not 0 < found <= 1:
        raise ValueError(f"{value!r} is no share above 0 and up to 1")
    return found


def names(value: str) -> tuple[str, ...]:
    """Names apart by commas, each once."""
    found = tuple(name.strip() for name in text(value).split(","))
    if not all(found):
        raise ValueError(f"{value!r} is no list of names: one of them is empty")
    if twice := next((name for place, name in enumerate(found) if name in found[:place]), None):
        raise ValueError(f"{value!r} names {twice} twice")
    if long := next((name for name in found if len(name.encode()) > LONGEST), None):
        raise ValueError(f"{long!r} is longer than a name may be, {LONGEST} bytes")
    return found


def scales(value: str) -> dict[str, float]:
    """NAME=VALUE apart by commas, each name once, each value positive and finite."""
    found: dict[str, float] = {}
    for part in text(value).split(","):
        name, equals, number = part.rpartition("=")
        if not equals or not name.strip():
            raise ValueError(f"{value!r} is not NAME=VALUE[,NAME=VALUE]")
        if name.strip() in found:
            raise ValueError(f"{value!r} says {name.strip()} twice")
        try:
            found[name.strip()] = positive(number.strip())
        except ValueError as error:
            raise ValueError(f"{name.strip()} {error}") from None
    return found


def _number(value: str) -> float:
    """The number that a text is; nan where it is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # an argument of other bytes, which Python keeps as surrogates
        return False
    return True
