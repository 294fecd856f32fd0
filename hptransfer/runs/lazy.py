"""Rows of numbers that records are full of and few look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, get_args, overload

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Item = TypeVar("Item")


class LazyTuple(Sequence[Item]):
    """A tuple; one whose JSON was read from a store is parsed when somebody looks at it."""

    __slots__ = ("_parse", "_rows", "_text")

    def __init__(self, rows: Iterable[Item] = ()) -> None:
        self._rows, self._text = tuple(rows), b""
        self._parse: Callable[[bytes], tuple[Item, ...]] | None = None

    @classmethod
    def of_json(cls, text: bytes, parse: Callable[[bytes], tuple[Item, ...]]) -> LazyTuple[Item]:
        """Of a JSON array, which is to be one that ``parse`` takes."""
        found = cls()
        found._text, found._parse = text, parse
        return found

    @property
    def _all(self) -> tuple[Item, ...]:
        if self._parse is not None:
            self._rows, self._text, self._parse = self._parse(self._text), b"", None
        return self._rows

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        return self._all[place]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyTuple | tuple) and self._all == tuple(other)

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return repr(self._all)

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyTuple, (self._all,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        rows = handler.generate_schema(tuple[get_args(source)[0], ...])  # type: ignore[misc]
        taken = core_schema.no_info_before_validator_function(_plain, rows)
        written = core_schema.plain_serializer_function_ser_schema(_plain, return_schema=rows)
        return core_schema.no_info_after_validator_function(cls, taken, serialization=written)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, LazyTuple) else value
