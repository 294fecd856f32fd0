"""Hosts with one planted mistake: whether their suites are worth anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from hptransfer.export.host import Host


class Mistake(NamedTuple):
    """``old`` in the source of a host's module, or of a ``module`` that it is made from, becomes ``new``; ``what`` goes wrong."""

    what: str
    old: str
    new: str
    module: str = ""


def mutant(host: str, mistake: Mistake) -> Host:
    """The host with the mistake in it."""
    home = f"hptransfer.export.hosts.{host.replace('-', '_')}"
    names = [mistake.module, home] if mistake.module else [home]
    found: dict[str, ModuleType] = {}
    for name in names:
        path = Path(str(import_module(name).__file__))
        text = path.read_text()
        if name == names[0]:
            assert text.count(mistake.old) == 1, (
                f"{mistake.what}: {mistake.old!r} is in {path.name} {text.count(mistake.old)} times"
            )
            text = text.replace(mistake.old, mistake.new)
        found[name] = made = ModuleType(name)
        made.__file__ = str(path)
        kept = {other: sys.modules.get(other) for other in found}
        sys.modules.update(found)
        try:
            exec(compile(text, str(path), "exec"), made.__dict__)
        finally:
            sys.modules.update({other: one for other, one in kept.items() if one is not None})
    made = found[home]
    return next(
        value
        for value in vars(made).values()
        if not isinstance(value, type) and getattr(value, "name", None) == host and callable(getattr(value, "render", None))
    )


def is_caught(check: Callable[[Host], object], host: str, mistake: Mistake) -> bool:
    """Whether a check of the host fails on the mutant. It passes on the host itself, or this raises."""
    wrong = mutant(host, mistake)
    try:
        check(wrong)
    except Exception:  # an assertion, or the host's own parser
        return True
    return False
