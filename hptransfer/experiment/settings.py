"""The settings that an experiment gives to every run, beside what its arms change: data, horizon, schedule, evaluation."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from hptransfer.base.frozen import Frozen, Written

Parametrization = Literal["mup", "sp", "spectral", "unknown"]  # unknown: of a program that says nothing of its coordinates
Precision = Literal["float32", "float64", "bfloat16"]
PARAMETRIZATIONS: tuple[Parametrization, ...] = ("mup", "sp", "spectral")  # of a recipe
ParameterConvention = Literal["all", "non_embedding", "matrices_and_readout"]
COUNTED: dict[ParameterConvention, tuple[str, ...]] = {  # the roles whose weights a convention counts
    "all": ("embedding", "hidden", "readout", "vector"),
    "non_embedding": ("hidden", "vector"),
    "matrices_and_readout": ("hidden", "readout"),
}


# More than any tokenizer has (Gemma's: 262,144).
MAX_VOCAB = 1 << 20
# Where a row of JSON or of a table has its text, unless another name is given.
TEXT = "text"


class DataSpec(Frozen):
    """Identity of the data: two runs with the same ``sha256`` saw the same tokens. ``text`` is the key or column of the text, if
    that is not ``text``; else it is not written, so that records of the same data are the same as before there was the field."""

    corpus: str
    tokenizer: str
    sha256: str
    vocab: int
    max_bytes: int | None = None
    text: str | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if (name, value) != ("text", None)}


class Horizon(Written):
    """How long a run is: a fixed number of tokens, or tokens per parameter by a named parameter convention."""

    policy: Literal["tokens", "tpp"] = "tokens"
    tokens: int | None = Field(None, gt=0)
    tpp: float | None = Field(None, gt=0)
    convention: ParameterConvention = "all"

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if (self.tokens is None) == (self.policy == "tokens") or (self.tpp is None) == (self.policy == "tpp"):
            given = ", ".join(f"{name} {value}" for name in ("tokens", "tpp") if (value := getattr(self, name)) is not None)
            raise ValueError(f"policy {self.policy!r} needs '{self.policy}' and nothing else (got {given or 'neither'})")
        return self


class ScheduleSpec(Written):
    """Learning-rate factor s(t) in [0, 1]: linear warm-up of a fixed number of tokens, then the shape. Weight decay has a factor
    q(t) of its own besides."""

    shape: Literal["constant", "linear", "cosine", "trapezoid"] = "linear"
    weight_decay: Literal["constant", "linear", "cosine"] = Field("constant", description="q(t): 1, or from 1 to 0 over the run")
    warmup_tokens: int = Field(0, ge=0)
    cooldown_fraction: float = Field(0.2, gt=0, le=1, description="share of the run after warm-up that a trapezoid cools down in")


class EvaluationSpec(Written):
    """Validation loss: ``tokens`` for the final value, an eighth of them at the other ``points`` on the curve."""

    tokens: int = Field(65_536, gt=0)
    points: int = Field(6, ge=1)
