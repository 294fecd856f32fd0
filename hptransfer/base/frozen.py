"""The base of everything that is written down: immutable, and a misspelt key is an error."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)  # for dataclasses: what a store has by the million is small with slots


class Frozen(BaseModel):
    """Frozen, no unknown keys, no infinite or undefined numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():  # `model_copy` changes what was cached
            del copied.__dict__[name]
        return copied
