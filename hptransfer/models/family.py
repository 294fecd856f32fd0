"""What a model family is: its kinds of weight and FLOPs as functions of its shape, and how a model is built. No torch here.

A family names torch inside `Family.build` alone: everything else about it is known without.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import Field

from hptransfer.base.frozen import Written
from hptransfer.optimizers.recipe import Role

if TYPE_CHECKING:
    from hptransfer.models.model import Model


class FamilyConfig(Written):
    """What a family lets one choose besides width, depth and vocabulary: its own keys of an experiment's ``model`` section."""

    context: int = Field(128, gt=0, description="tokens of a training sequence")


Config = TypeVar("Config", bound=FamilyConfig)


@dataclass(frozen=True)
class Shape(Generic[Config]):
    """One model of a family."""

    width: int
    depth: int
    vocab: int
    config: Config


@dataclass(frozen=True)
class Weight:
    """One kind of weight: its role, the dimensions of that role, and how many the model has."""

    kind: str
    role: Role
    d_in: int
    d_out: int
    count: int

    @property
    def size(self) -> int:
        """Parameters of all of them."""
        return self.d_in * self.d_out * self.count


class Family(ABC, Generic[Config]):
    """Models that differ in width, depth, vocabulary and their ``config``.

    ``presets`` are named values of its keys (and of ``depth``). A tensor of the role embedding is (d_in, d_out), a vector
    (d_out,), any other (d_out, d_in).
    """

    name: ClassVar[str]
    config: type[Config]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    residual: ClassVar[bool] = True
    """Layers are residual branches, which the rules along the depth are for."""

    def check(self, width: int, config: Config) -> None:
        """Raises ValueError for a width that a model with this config cannot have."""

    @abstractmethod
    def weights(self, shape: Shape[Config]) -> tuple[Weight, ...]:
        """Every kind of weight; the built model is checked against it. Same kinds, in the same order, at every width."""

    @abstractmethod
    def kind(self, parameter: str) -> str:
        """The kind of weight that the model's parameter of that name is."""

    @abstractmethod
    def flops_per_token(self, shape: Shape[Config]) -> float:
        """FLOPs of forward and backward for one token."""

    @abstractmethod
    def summary(self, config: Config) -> str:
        """The config in a few words for one line on the console, without depth and context."""

    @abstractmethod
    def describe(self, shape: Shape[Config]) -> dict[str, Any]:
        """What another trainer must build besides the config: ``architecture`` and ``init`` in words, and derived sizes."""

    @abstractmethod
    def build(self, shape: Shape[Config], residual_multiplier: float = 1.0) -> Model:
        """The model, not yet initialised. Residual branches are multiplied by ``residual_multiplier``."""


AnyFamily = Family[Any]
