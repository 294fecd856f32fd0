"""Many records in little time and memory: what they have in common is parsed once, and there once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json

from hptransfer.runs.lazy import LazyTuple
from hptransfer.runs.point import Kind, Point
from hptransfer.runs.record import CurvePoint, Outcome, Record

Model = TypeVar("Model", bound=BaseModel)

# Where a record's text is cut: before what is a run's own, and behind it. No run's own can hold one of these.
CUTS = RUN_ID, POINT, TUNED, SETTINGS, SEEDS, PARAMETERS, KINDS, EXPONENTS, OUTCOME, CURVE, STEPS, VERSIONS = (
    *(b'"run_id":', b',"point":{', b',"hyperparameters":', b',"settings":{', b',"init_seed":', b'},"parameters":'),
    *(b',"kinds":[', b'],"exponents":{', b',"outcome":', b',"curve":[', b'],"steps":', b',"versions":{'),
)
parse_kinds = TypeAdapter(tuple[Kind, ...]).validate_json
parse_curve = TypeAdapter(tuple[CurvePoint, ...]).validate_json


class RecordParser:
    """Makes records of their texts. They share what they have in common: nobody changes a record, so that nobody sees it.

    What is not a run's own is parsed with the first run that has it, and looked up from then on. A trainer keeps whatever it
    likes in settings and details: where the text is not cut as it should be, that is seen at the first run, and all such texts
    are parsed as a whole.
    """

    def __init__(self) -> None:
        self._firsts: dict[tuple[bytes, ...], Record | None] = {}  # by what they share; None: to be parsed as a whole

    def __call__(self, text: bytes) -> Record:
        """The record in a text. Raises ValidationError where there is none."""
        shared, own = _cut(text)
        if (first := self._firsts.get(shared)) is not None:
            return _like(first, *own)
        whole = Record.model_validate_json(text)
        if shared not in self._firsts:
            self._firsts[shared] = whole if _is_cut(whole, shared, own) else None
        return whole


def _cut(text: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """What runs of a cell share of a record's text, and what is its own: run_id, point, kinds, curve, and the outcome without it.
    Behind settings and details, which may hold any key, the last one counts: what follows them holds none."""
    start, run_id, text = _between(text, RUN_ID, POINT)
    point, tuned, text = _between(text, TUNED, SETTINGS)
    settings, kinds, text = _between(text, KINDS, EXPONENTS)
    settings, _, job = settings.rpartition(SEEDS)
    seeds, _, job = job.partition(PARAMETERS)
    details, _, text = text.rpartition(OUTCOME)
    outcome, _, versions = text.rpartition(VERSIONS)
    head, curve, tail = _between(outcome, CURVE, STEPS)
    own = b'{"scales":{},"hyperparameters":%b,"init_seed":%b}' % (tuned, seeds)
    rows = b"[%b]" % kinds, b"[%b]" % curve
    return (start, point, settings, job, details, versions), (run_id, own, *rows, head + CURVE + STEPS + tail)


def _between(text: bytes, before: bytes, behind: bytes) -> tuple[bytes, bytes, bytes]:
    start, _, rest = text.partition(before)
    found, _, rest = rest.partition(behind)
    return start, found, rest


def _is_cut(record: Record, shared: tuple[bytes, ...], own: tuple[bytes, ...]) -> bool:
    """Whether what a record shares, and what is its own, is all that it is."""
    try:
        return not any(cut in piece for cut in CUTS for piece in shared) and _like(record, *own) == record
    except ValueError:
        return False


def _like(first: Record, run_id: bytes, point: bytes, kinds: bytes, curve: bytes, outcome: bytes) -> Record:
    """The record of a run that differs from the first one in what is its own alone."""
    shared = {"scales": first.point.scales, "settings": first.point.settings}
    own = _changed(first.point, **(vars(Point.model_validate_json(point)) | shared))
    job = _changed(first.job, run_id=from_json(run_id), point=own, kinds=LazyTuple.of_json(kinds, parse_kinds))
    plain = vars(Outcome.model_validate_json(outcome)) | {"curve": LazyTuple.of_json(curve, parse_curve)}
    return _changed(first, job=job, outcome=_changed(first.outcome, **plain))


def _changed(model: Model, **changes: Any) -> Model:
    """`model_copy` in half its time, which shares even the names of what was given."""
    made: Model = object.__new__(type(model))
    object.__setattr__(made, "__dict__", vars(model) | changes)
    object.__setattr__(made, "__pydantic_fields_set__", model.model_fields_set)
    object.__setattr__(made, "__pydantic_extra__", None)
    object.__setattr__(made, "__pydantic_private__", None)
    return made


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
