"""Tools that a source reads with, where they are not part of every installation."""

from __future__ import annotations

from hptransfer.base.errors import UsageError


def missing(place: str, package: str, extra: str) -> UsageError:
    """One line for a place that only a package can read which is not installed."""
    return UsageError(f"{place} is read by the package {package}, which is not installed: pip install 'hptransfer[{extra}]'")
