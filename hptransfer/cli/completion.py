"""Completion by the shell, as shtab writes it from the parsers. shtab is imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "tcsh")
# The placeholders of values that are files and folders.
FILES = ("FILE", "PATH", "TABLE", "FILE.svg", "NAME|FILE")
FOLDERS = ("DIR", "FOLDER", "DIR|URI")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What the shell has to read to complete the commands of ``parser``, their options, and files where one is meant."""
    import shtab

    for action in _actions(parser):
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a parser and of those below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
