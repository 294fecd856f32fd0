"""The ``model`` section of an experiment: a family with its own keys, in one flat mapping."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, field_validator, model_serializer, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from hptransfer.base.errors import unknown
from hptransfer.base.frozen import Written
from hptransfer.base.stored import shown
from hptransfer.models import FAMILIES
from hptransfer.models.family import AnyFamily, FamilyConfig

MOST_LAYERS = 10_000


class ModelChoice(Written):
    """A model of a family without width and vocabulary: an experiment's ``model`` section.

    The family's own keys stand in one mapping with the others: ``{"depth": 3, "head_dim": 64}``. ``family`` is not written where
    it is gpt. A ``preset`` of the family fills in what is not given. An unknown family or preset is a UsageError.
    """

    family: str = "gpt"
    depth: int = Field(3, gt=0, description="number of layers")
    config: FamilyConfig

    @field_validator("depth")
    @classmethod
    def _can_be_built(cls, depth: int) -> int:
        if depth > MOST_LAYERS:
            raise ValueError(f"more than {MOST_LAYERS:,} layers, each of which must be built")
        return depth

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if not isinstance(data.get("family", "gpt"), str):
            raise ValueError(f"family {shown(data['family'])} is no name")
        family = FAMILIES.get(data.get("family", "gpt"))
        given = {key: value for key, value in data.items() if key != "preset"}
        if data.get("preset") is not None:
            preset = str(data["preset"])
            if preset not in family.presets:
                raise unknown(f"preset of model family {family.name!r}:", preset, family.presets)
            given = {**family.presets[preset], **given}
        own = cls.model_fields.keys() - {"config"}
        keys = [*(key for key in cls.model_fields if key != "config"), "preset", *family.config.model_fields]
        for key in (key for key in given if key not in keys):
            wrong = PydanticCustomError("extra_forbidden", "Extra inputs are not permitted", {"known": keys})
            raise ValidationError.from_exception_data(cls.__name__, [InitErrorDetails(type=wrong, loc=(key,), input=given[key])])
        config = family.config.model_validate({key: value for key, value in given.items() if key not in own})
        return {key: value for key, value in given.items() if key in own} | {"config": config}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        flat = {name: getattr(self, name) for name in type(self).model_fields if name != "config"} | self.config.model_dump()
        return flat if self.family != "gpt" else {key: value for key, value in flat.items() if key != "family"}

    def of_every_family(self) -> dict[str, Any]:
        """Depth and context: what a model of another family takes over."""
        return {"depth": self.depth, "context": self.context}

    @property
    def of(self) -> AnyFamily:
        """The family itself."""
        return FAMILIES.get(self.family)

    @property
    def context(self) -> int:
        """Tokens of a training sequence."""
        return self.config.context

    def check(self, width: int) -> None:
        """Raises ValueError for a width that such a model cannot have."""
        self.of.check(width, self.config)
