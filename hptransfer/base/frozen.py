"""The base of everything that is written down: immutable, and a misspelt key is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)  # for dataclasses: what a store has by the million is small with slots


class Frozen(BaseModel):
    """Frozen, no unknown keys, no infinite or undefined numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():  # `model_copy` changes what was cached
            del copied.__dict__[name]
        return copied


class Written(Frozen):
    """What a person writes, in YAML or as an option: true and false are no numbers there."""

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            given = [*value] if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, bool) for one in given) and name in cls.model_fields:
                kinds = set(_kinds(cls.model_fields[name].annotation))
                if kinds & {int, float} and bool not in kinds:
                    raise ValueError(f"{name}: {str(value).lower()} is no number")
        return data


def _kinds(annotation: Any) -> Iterator[Any]:
    """Every plain type in an annotation."""
    if inside := get_args(annotation):
        for one in inside:
            yield from _kinds(one)
    elif isinstance(annotation, type):
        yield annotation
