"""What determines one training run: `RunSpec` and its parts. Frozen pydantic models; unknown keys are errors.

A `RunSpec` carries base coordinates (``lr``, ``weight_decay``, base shape); ``groups()`` resolves them into the final numbers
per kind of weight, and ``run_id`` hashes those: a mended rule makes a new run, and two ways to write the same run are one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from hptransfer.base.frozen import Frozen
from hptransfer.experiment.model import ModelChoice
from hptransfer.experiment.settings import (
    COUNTED,
    DataSpec,
    EvaluationSpec,
    Horizon,
    ParameterConvention,
    Parametrization,
    Precision,
    ScheduleSpec,
)
from hptransfer.models.family import Shape, Weight
from hptransfer.optimizers import Recipe, get_recipe
from hptransfer.optimizers.recipe import Options, Role, Sides
from hptransfer.optimizers.rules.weight_decay import WeightDecayRule, weight_decay_multiplier
from hptransfer.optimizers.rules.width import Ratios
from hptransfer.optimizers.scaling import Size, final_epsilons, final_lr, ratios_of, sides_of

# Raise it whenever the same resolved numbers would train differently: loop, init, batches, or a transform.
NUMERICS_VERSION = 3


class ModelSpec(ModelChoice):
    """A model of a family at a width, with a vocabulary."""

    width: int = Field(gt=0)
    vocab: int = Field(gt=1)

    @model_validator(mode="after")
    def _width_fits(self) -> Self:
        self.check(self.width)
        return self

    @property
    def shape(self) -> Shape[Any]:
        """What the family's functions take."""
        return Shape(self.width, self.depth, self.vocab, self.config)

    def weights(self) -> tuple[Weight, ...]:
        """Every kind of weight in the model. The torch model is checked against it when it is built."""
        return self.of.weights(self.shape)

    def parameters(self, convention: ParameterConvention = "all") -> int:
        """Number of parameters by a named convention."""
        return sum(weight.size for weight in self.weights() if weight.role in COUNTED[convention])

    @property
    def flops_per_token(self) -> float:
        """FLOPs of forward and backward for one token."""
        return self.of.flops_per_token(self.shape)


class BaseShape(Frozen):
    """The model and run that every ratio is relative to."""

    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    tokens: int = Field(gt=0)
    batch_tokens: int = Field(gt=0)


class OptimizerSpec(Frozen):
    """A recipe with its hyperparameters in base coordinates."""

    recipe: str
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0, description="independent")
    embedding_lr_ratio: float = Field(1.0, gt=0, description="embedding and readout LR relative to hidden")
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        self.resolved_options  # noqa: B018  raises here rather than in mid-run
        return self

    @property
    def rules(self) -> Recipe:
        return get_recipe(self.recipe)

    @cached_property
    def resolved_options(self) -> Options:
        """The recipe's options with defaults filled in."""
        return self.rules.options.model_validate(self.options)


@dataclass(frozen=True)
class ParameterGroup:
    """Final numbers of one kind of weight: what the optimizer receives."""

    kind: str
    role: Role
    lr: float
    weight_decay: float
    epsilons: dict[str, float]
    sides: Sides


class RunSpec(Frozen):
    """Everything that determines one training run."""

    model: ModelSpec
    base: BaseShape
    data: DataSpec
    optimizer: OptimizerSpec
    parametrization: Parametrization = "mup"
    weight_decay_rule: WeightDecayRule = "inverse_width"
    horizon: Horizon
    batch_sequences: int = Field(gt=0)
    schedule: ScheduleSpec = ScheduleSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    precision: Precision = "float32"
    init_seed: int = 0
    data_seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            self.model.check(self.base.width)
        except ValueError as error:
            raise ValueError(f"base {error}") from None
        if self.model.vocab != self.data.vocab:
            raise ValueError(f"model vocab {self.model.vocab} differs from the corpus's {self.data.vocab}")
        if self.schedule.warmup_tokens >= self.tokens:
            raise ValueError(f"warmup_tokens {self.schedule.warmup_tokens} is not below the horizon of {self.tokens} tokens")
        if self.optimizer.rules.averages and self.schedule.shape != "constant":
            raise ValueError(
                f"{self.optimizer.recipe} averages its iterates in place of a schedule: schedule.shape must be constant, "
                f"not {self.schedule.shape}"
            )
        if self.parametrization != "sp" and self.model.depth != self.base.depth and not self.model.of.residual:
            raise ValueError(
                f"no depth rule: the layers of {self.model.family} are no residual branches; depth {self.model.depth} must be "
                f"that of the base, {self.base.depth}, or the parametrization sp"
            )
        if self.parametrization == "mup":
            self._check_sides()
        if refusal := self.optimizer.resolved_options.refusal(self.parametrization):
            raise ValueError(refusal)
        return self

    def _check_sides(self) -> None:
        base, target = self._sides(self.base_model), self._sides(self.model)
        for weight in self.model.weights():
            if base[weight.kind] != target[weight.kind]:
                raise ValueError(
                    f"no width rule: {weight.kind} ({weight.d_out} x {weight.d_in} at width {self.model.width}) is not "
                    f"preconditioned along the axes that it is at base width {self.base.width}; change max_preconditioner_dim"
                )

    @property
    def title(self) -> str:
        """The run in words, for people."""
        optimizer, kind = self.optimizer, "" if self.parametrization == "mup" else f" ({self.parametrization})"
        values = f"LR {optimizer.lr:.4g}, WD {optimizer.weight_decay:.4g}"
        values += "" if optimizer.embedding_lr_ratio == 1 else f", embedding LR ratio {optimizer.embedding_lr_ratio:.4g}"
        return f"{optimizer.recipe}{kind}, width {self.model.width}, {values}"

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.model.context

    @property
    def tokens(self) -> int:
        """Training tokens: a whole number of batches, at least one."""
        horizon = self.horizon
        wanted = horizon.tokens if horizon.tokens is not None else (horizon.tpp or 0) * self.model.parameters(horizon.convention)
        return max(1, round(wanted / self.batch_tokens)) * self.batch_tokens

    @property
    def steps(self) -> int:
        return self.tokens // self.batch_tokens

    @property
    def flops(self) -> float:
        """Forward and backward FLOPs of the whole run, without the optimizer's."""
        return self.model.flops_per_token * self.tokens

    @property
    def base_model(self) -> ModelSpec:
        return self.model.model_copy(update={"width": self.base.width, "depth": self.base.depth})

    @property
    def residual_multiplier(self) -> float:
        """Factor on each residual branch: 1 under sp, else base depth over depth."""
        return 1.0 if self.parametrization == "sp" else self.base.depth / self.model.depth

    @property
    def block_size(self) -> int:
        """Preconditioner block; 0: unblocked."""
        return self.optimizer.resolved_options.block(self.base.width)

    def _sides(self, model: ModelSpec) -> dict[str, Sides]:
        """The preconditioned axes of every kind of weight, by kind."""
        options, recipe = self.optimizer.resolved_options, self.optimizer.rules
        return {weight.kind: sides_of(recipe, options, weight.role, _size(weight)) for weight in model.weights()}

    def ratios(self) -> dict[str, Ratios]:
        """Ratios target/base of every kind of weight, by kind."""
        depth = self.model.depth / self.base.depth
        sides = self._sides(self.model)
        return {
            target.kind: ratios_of(
                _size(base),
                _size(target),
                sides[target.kind],
                block_size=self.block_size,
                depth=depth if target.role == "hidden" else 1.0,
            )
            for base, target in zip(self.base_model.weights(), self.model.weights(), strict=True)
        }

    def groups(self) -> tuple[ParameterGroup, ...]:
        """The final LR, weight decay and epsilons of every kind of weight; of ``vector`` also where the model has none."""
        ratios, sides = self.ratios(), self._sides(self.model)
        return tuple(self._group(base, ratios[base.kind], sides[base.kind]) for base in self.base_model.weights())

    def _group(self, base: Weight, ratios: Ratios, sides: Sides) -> ParameterGroup:
        options, recipe, role = self.optimizer.resolved_options, self.optimizer.rules, base.role
        kind = self.parametrization
        lr = self.optimizer.lr * (self.optimizer.embedding_lr_ratio if role in ("embedding", "readout") else 1.0)
        return ParameterGroup(
            kind=base.kind,
            role=role,
            lr=final_lr(recipe, options, role, _size(base), ratios, sides, parametrization=kind, lr=lr),
            weight_decay=self.weight_decay if recipe.decays(role) else 0.0,
            epsilons=final_epsilons(recipe, options, role, ratios, sides, parametrization=kind),
            sides=sides,
        )

    def unscaled_options(self, groups: tuple[ParameterGroup, ...] = ()) -> dict[str, Any]:
        """The recipe's options without what the groups hold as final numbers: the epsilons, and the units of the LR."""
        epsilons = {name for group in groups or self.groups() for name in group.epsilons}
        options = self.optimizer.resolved_options.unscaled(epsilons)
        return options | ({"block_size": self.block_size} if "block_size" in options else {})

    @property
    def weight_decay(self) -> float:
        """The final independent weight decay of every matrix that decays."""
        return self.optimizer.weight_decay * weight_decay_multiplier(
            self.weight_decay_rule,
            width=self.model.width / self.base.width,
            tokens=self.tokens / self.base.tokens,
            batch_tokens=self.batch_tokens / self.base.batch_tokens,
        )

    @cached_property
    def run_id(self) -> str:
        """16 hexadecimal digits of the sha256 over everything that the training sees: resolved numbers, not coordinates."""
        groups = self.groups()
        seen = {
            "numerics": NUMERICS_VERSION,
            "model": self.model.model_dump(),
            "data": self.data.sha256,
            "recipe": self.optimizer.recipe,
            "options": self.unscaled_options(groups),
            "groups": [vars(group) for group in groups],
            "residual_multiplier": self.residual_multiplier,
            "spectral": self.parametrization == "spectral",
            "tokens": self.tokens,
            "batch_sequences": self.batch_sequences,
            "schedule": self.schedule.model_dump(),
            "evaluation": self.evaluation.model_dump(),
            "precision": self.precision,
            "seeds": [self.init_seed, self.data_seed],
        }
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]

    def at(self, **changes: Any) -> RunSpec:
        """A copy with dotted fields replaced and validated again: ``spec.at(**{"optimizer.lr": 0.01, "init_seed": 1})``."""
        data = self.model_dump()
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            node = data
            for parent in parents:
                node = node[parent]
            node[last] = value
        return RunSpec.model_validate(data)


def _size(weight: Weight) -> Size:
    return Size(weight.d_out, weight.d_in)
