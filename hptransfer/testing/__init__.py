"""Conformance suites for members of the protocols, in-tree and from plugins: each raises AssertionError with one clear line.
`hptransfer.testing.worlds` has tables of runs for predictions to be judged by."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hptransfer.testing.families import check_family
    from hptransfer.testing.hosts import check_host
    from hptransfer.testing.laws import check_law
    from hptransfer.testing.recipes import check_recipe
    from hptransfer.testing.sources import check_source
    from hptransfer.testing.trainers import check_trainer

__all__ = ["check_family", "check_host", "check_law", "check_recipe", "check_source", "check_trainer"]

_HOMES = {
    "check_family": "families",
    "check_host": "hosts",
    "check_law": "laws",
    "check_recipe": "recipes",
    "check_source": "sources",
    "check_trainer": "trainers",
}


def __getattr__(name: str) -> object:
    """Import a suite when it is first used (PEP 562): the suites need torch, the worlds do not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
