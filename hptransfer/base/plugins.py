"""Registries of members by name, and members from outside: a user's Python files and installed packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

from hptransfer.base.errors import UsageError, first_line, unknown

ENTRY_POINTS = "hptransfer.plugins"


class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)

_loaded: dict[str, str] = {}  # the module of each plugin file, by absolute path


class Registry(Generic[T]):
    """Members of one protocol by name. Those in-tree are given as ``"package.module:NAME"`` and imported when they are asked
    for; ``what`` is the word for one in messages."""

    def __init__(self, what: str, members: Mapping[str, str]) -> None:
        self._what, self._members = what, dict[str, str | T](members)

    def get(self, name: str) -> T:
        """The member of that name. Raises UsageError with the nearest known name."""
        if name not in self._members:
            load_entry_points()
        if name not in self._members:
            raise unknown(self._what, name, self._members)
        member = self._members[name]
        if isinstance(member, str):
            module, _, attribute = member.partition(":")
            member = self._members[name] = cast(T, getattr(importlib.import_module(module), attribute))
        return member

    def names(self) -> tuple[str, ...]:
        """All names, those in-tree first."""
        load_entry_points()
        return tuple(self._members)

    def add(self, member: T) -> T:
        """Take in a plugin's member. Raises UsageError where the name is taken."""
        if member.name in self._members:
            raise UsageError(f"the name of {self._what} {member.name!r} is taken")
        self._members[member.name] = member
        return member


def load_plugins(paths: Iterable[str]) -> None:
    """Import each Python file, once in a process; paths are relative to the working directory.

    Raises UsageError, one line with the file and the error, for a file that is missing or raises.
    """
    for path in paths:
        absolute = str(Path(path).resolve())
        if absolute in _loaded:
            continue
        if not Path(absolute).is_file():
            raise UsageError(f"plugin {path}: no such file")
        # The same name in every process, by which what is pickled finds its class again.
        name = f"hptransfer_plugin_{hashlib.sha256(absolute.encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(name, absolute)
        if spec is None or spec.loader is None:
            raise UsageError(f"plugin {path}: not a Python file")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(f"plugin {path}: {_said(error)}") from error
        _loaded[absolute] = name


def plugin_function(named: str) -> Callable[..., object]:
    """What ``file.py:name`` names, the file being loaded as a plugin is. Raises UsageError, one line, where there is none."""
    path, colon, name = named.rpartition(":")
    if not colon or not name.isidentifier():
        raise UsageError(f"{named!r} is not of the form file.py:function")
    load_plugins([path])
    found = getattr(sys.modules[_loaded[str(Path(path).resolve())]], name, None)
    if not callable(found):
        raise UsageError(f"{path} has no function {name!r}")
    return cast(Callable[..., object], found)


@cache
def load_entry_points() -> None:
    """Import what installed packages name in the group `ENTRY_POINTS`, once in a process."""
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:
            raise UsageError(f"plugin {entry.name} ({entry.value}): {_said(error)}") from error


def loaded_plugins() -> tuple[str, ...]:
    """Absolute paths of the plugin files of this process, with which another loads the same."""
    return tuple(_loaded)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {first_line(error)}"
