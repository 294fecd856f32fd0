"""Errors that a user can cause. Each is one clear line; the command line prints it and exits with its code."""

from __future__ import annotations

import difflib
import resource
from collections.abc import Iterable

LONGEST_MESSAGE = 2_000  # characters: of a value of a megabyte both ends are enough


class HptransferError(Exception):
    """Base of every error that a user can cause: one line that says what is wrong, where, and what to do. ``exit_code`` is what a
    command that meets it ends with."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(short_line(message))


class UsageError(HptransferError):
    """Wrong usage or input, such as a column, a file or a key that is not there: one line that names it. Exit code 2."""


class CheckFailed(HptransferError):
    """The input was fine and a check on it failed, such as an optimum on the edge of its grid: exit code 1."""

    exit_code = 1


def one_line(text: object) -> str:
    """Text without line breaks and control characters, whoever wrote it."""
    return " ".join("".join(character if character.isprintable() else " " for character in str(text)).split())


def short_line(text: object) -> str:
    """The same, no longer than a message may be."""
    line, half = one_line(text), LONGEST_MESSAGE // 2
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:half]} ... {line[-half:]}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def last_line(error: BaseException) -> str:
    """What an error that carries a stack trace comes down to."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


# How those say it who are refused memory: torch, oneDNN, C++, the kernel.
MEMORY = (
    "could not create a primitive", "can't allocate memory", "bad_alloc", "Cannot allocate memory", "out of memory",
    "failed to map segment",
)  # fmt: skip
LEAST_MEMORY = 5 << 28  # bytes of addresses that the imports of a command take; short of them polars aborts


def is_of_the_machine(error: BaseException) -> bool:
    """Whether it is the machine that refuses: files, processes, memory, which torch says by a RuntimeError."""
    return isinstance(error, OSError) or _wants_memory(error)


def require_memory(least: int = LEAST_MEMORY, what: str = "no command runs") -> None:
    """Raises UsageError where a limit leaves less than ``least`` bytes of addresses."""
    if memory_limit() and resource.getrlimit(resource.RLIMIT_AS)[0] < least:
        raise UsageError(f"{what}{memory_limit()}: {least >> 10} are needed")


def in_words(error: BaseException) -> str:
    """What an error that nobody foresaw comes down to, in one line; want of memory by that name."""
    said = one_line(": ".join(filter(None, (type(error).__name__, str(error)))))[:400]
    return f"no memory was left{memory_limit()} ({said})" if _wants_memory(error) else said


def _wants_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in MEMORY)


def memory_limit() -> str:
    """The limit on this process's memory, in words; "" where there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return "" if limit == resource.RLIM_INFINITY else f" under this shell's limit on memory, `ulimit -v` {limit >> 10}"


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a name that is not among ``known``, with the nearest right one."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {what} {name!r}; {hint}")
