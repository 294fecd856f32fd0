"""Many records in little memory: what they have in common is there once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from hptransfer.runs.record import Record


class Sharing:
    """Lets records that are equal in a part have it as one object. Nobody changes a record, so that nobody sees it."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def __call__(self, record: Record) -> Record:
        """The record, its parts those of earlier records where they are equal."""
        job, outcome, point = record.job, record.outcome, record.job.point
        self._share(point, "scales", "settings")
        self._share(job, "exponents", "constants", "details")
        self._share(outcome, "metrics")
        self._share(record, "versions")
        return record

    def _share(self, owner: BaseModel, *names: str) -> None:
        own = vars(owner)  # the model itself is frozen
        for name in names:
            own[name] = self._known.setdefault(to_json(own[name]), own[name])
        given = owner.model_fields_set
        object.__setattr__(owner, "__pydantic_fields_set__", self._known.setdefault(frozenset(given), given))


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's collector of cycles rests: among objects that come by the million, and have none, it looks for them again and
    again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
