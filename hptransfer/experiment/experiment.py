"""One experiment: model family, widths searched, held-out width, horizon, recipes, seeds and budget, read from YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hptransfer.base.config import Spec, find_config, load_yaml, override, validate
from hptransfer.base.errors import UsageError
from hptransfer.base.plugins import load_plugins
from hptransfer.models.spec import ModelChoice, ModelSpec
from hptransfer.optimizers import get_recipe
from hptransfer.optimizers.rules.weight_decay import WeightDecayRule
from hptransfer.trainers.ours.spec import (
    DataSpec,
    EvaluationSpec,
    Horizon,
    OptimizerSpec,
    Parametrization,
    Precision,
    RunSpec,
    ScheduleSpec,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a folder of reports


class DataChoice(Spec):
    """Which text, and what its tokens are. ``corpus``: ``stdlib`` (embedded), a folder (or one file) of text, JSONL, Parquet or
    ``.bin`` token shards, or ``hf:NAME``, a Hugging Face dataset. Shards are tokenized already and need ``vocab``."""

    corpus: str = "stdlib"
    tokenizer: str = Field("bytes", description="bytes, bpe (trained on the corpus), or the path of a tokenizer.json")
    vocab: int | None = Field(None, gt=1, le=65536, description="entries of bpe, or of the tokenizer of .bin shards")
    max_bytes: int | None = Field(None, gt=0, description="how much training text is read, from the start")

    def names(self, data: DataSpec) -> bool:
        """Whether ``data`` is a version of the corpus that is chosen here, with its tokenizer."""
        return (
            (data.corpus, data.max_bytes) == (self.corpus, self.max_bytes)
            and data.tokenizer in (self.tokenizer, "shards")
            and self.vocab in (None, data.vocab)
        )


class SearchSettings(Spec):
    """How a study spends its trials. Everything here is part of what makes a study reproducible."""

    trials: int = Field(12, gt=0, description="finished runs per (recipe, parametrization, width)")
    batch: int = Field(4, gt=1, description="proposals made before the next look at the results")
    sampler: Literal["design", "gp", "tpe", "random"] = "design"
    seed: int = Field(0, ge=0)


class ValidationSettings(Spec):
    """What is run at the held-out width."""

    seeds: int = Field(3, gt=0)
    probe_octaves: tuple[float, ...] = Field((0.5, 1.0), description="distances of probes on LR and on weight decay, powers of 2")
    ladder: tuple[float, ...] = Field((0.5, 2.0, 4.0), description="other AdamW horizons, as factors, until they bracket")

    @property
    def probe_factors(self) -> tuple[float, ...]:
        """Factors on the predicted value, ascending: each distance to both sides."""
        return tuple(sorted(2.0**octave for distance in self.probe_octaves for octave in (-distance, distance)))

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        distances = list(self.probe_octaves)
        if distances != sorted(set(distances)) or any(not 0 < distance <= 3 for distance in distances):
            raise ValueError(f"probe_octaves {distances} are not ascending, above 0 and up to 3, a factor of 8")
        if list(self.ladder) != sorted(set(self.ladder)) or any(horizon <= 0 or horizon == 1 for horizon in self.ladder):
            raise ValueError(f"ladder {list(self.ladder)} is not ascending, of positive factors other than 1")
        return self


class Resources(Spec):
    """What one trial gets. As many run at once as the cluster's nodes have room for."""

    cpus: float = Field(1, gt=0, description="CPU cores; whole ones are the trial's threads")
    gpus: float = Field(0, ge=0, description="GPUs; a share such as 0.25 puts four trials on each")
    memory_gb: float | None = Field(None, gt=0, description="main memory, where it is what runs out first")
    hang_seconds: float = Field(600, gt=0, description="a run without a step for this long is killed and goes on elsewhere")

    @property
    def threads(self) -> int:
        """Threads of the trial's process."""
        return max(1, int(self.cpus))

    def demand(self) -> dict[str, float]:
        """What Ray is asked for, by its names; memory in bytes."""
        demand = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_gb or 0) * 1e9}
        return {name: value for name, value in demand.items() if value}

    @model_validator(mode="after")
    def _whole_or_share(self) -> Self:
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus {self.gpus:g} is neither a share of one GPU nor a whole number")
        return self


class Budget(Spec):
    """Where a search stops although trials are left; the same command with more budget goes on."""

    hours: float | None = Field(None, gt=0, description="wall time of the command; what is in flight then is finished")
    flops: float | None = Field(None, gt=0, description="forward and backward FLOPs of all of the experiment's runs in the store")


class Experiment(Spec):
    """An experiment file."""

    name: str
    description: str = ""
    plugins: tuple[str, ...] = Field((), description="Python files with more recipes and families; from the working directory")
    model: ModelChoice = Field(default_factory=lambda: ModelChoice.model_validate({}))
    data: DataChoice = DataChoice()
    base_width: int = Field(gt=0)
    widths: tuple[int, ...] = Field(min_length=1, description="widths searched")
    target_width: int = Field(gt=0, description="held-out width, never searched")
    horizon: Horizon
    batch_sequences: int = Field(gt=0)
    schedule: ScheduleSpec = ScheduleSpec()
    precision: Precision = "float32"
    evaluation: EvaluationSpec = EvaluationSpec()
    target_loss: float | None = Field(None, gt=0, description="validation loss, nats per token; the tokens to it are reported")
    optimizers: tuple[str, ...] = Field(min_length=1)
    parametrizations: tuple[Parametrization, ...] = Field(("mup",), min_length=1)
    weight_decay_rule: WeightDecayRule = "inverse_width"
    search: SearchSettings = SearchSettings()
    validation: ValidationSettings = ValidationSettings()
    resources: Resources = Resources()
    budget: Budget = Budget()
    spaces: dict[str, dict[str, Any]] = Field({}, description="per recipe, merged over search_spaces/<recipe>.yaml")

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name has up to 64 letters, digits, dots, underscores and dashes, a letter or digit first")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for recipe in (*self.optimizers, *self.spaces):
            get_recipe(recipe)
        if len(set(self.optimizers)) < len(self.optimizers):
            raise ValueError(f"optimizers {list(self.optimizers)} name a recipe twice")
        if len(set(self.widths)) < len(self.widths):
            raise ValueError(f"widths {list(self.widths)} name a width twice")
        shortest = min(self.validation.ladder, default=1.0) * (self.horizon.tokens or math.inf)
        if shortest <= self.schedule.warmup_tokens < (self.horizon.tokens or math.inf):
            raise ValueError(
                f"validation.ladder {self.validation.ladder[0]:g} is a horizon of {shortest:.0f} tokens, which the warm-up of "
                f"{self.schedule.warmup_tokens} tokens takes up"
            )
        for width in (self.base_width, *self.widths, self.target_width):
            self.model.check(width)
        return self

    def run_spec(
        self, data: DataSpec, optimizer: OptimizerSpec, *, width: int, parametrization: Parametrization, seed: int = 0
    ) -> RunSpec:
        """The run of ``optimizer`` at ``width``; ``seed`` is both init and data seed. Raises UsageError when they do not fit.

        A schedule-free recipe gets the experiment's warm-up and a constant schedule after it.
        """
        model = self.model.model_dump() | {"vocab": data.vocab}
        base = validate(ModelSpec, model | {"width": self.base_width}, f"experiment {self.name}: model")
        batch_tokens = self.batch_sequences * base.context
        fields = {
            "model": model | {"width": width},
            "base": {
                "width": base.width,
                "depth": base.depth,
                "tokens": self.horizon.resolve(base, batch_tokens),
                "batch_tokens": batch_tokens,
            },
            "data": data,
            "optimizer": optimizer,
            "parametrization": parametrization,
            "weight_decay_rule": self.weight_decay_rule,
            "horizon": self.horizon,
            "batch_sequences": self.batch_sequences,
            "schedule": self.schedule.model_copy(update={"shape": "constant"}) if optimizer.rules.averages else self.schedule,
            "evaluation": self.evaluation,
            "precision": self.precision,
            "init_seed": seed,
            "data_seed": seed,
        }
        return validate(RunSpec, fields, f"experiment {self.name}")


def load_experiment(name: str, assignments: Sequence[str] = ()) -> Experiment:
    """The experiment of that name or file, with dotted overrides and its plugins loaded. Raises UsageError in one line."""
    path = find_config("experiments", name)
    data = override(load_yaml(path), assignments)
    plugins = data.get("plugins")
    if isinstance(plugins, list) and all(isinstance(plugin, str) for plugin in plugins):
        load_plugins(plugins)  # first: the rest may name what they add
    experiment = validate(Experiment, data, str(path))
    if experiment.target_width in experiment.widths:
        raise UsageError(f"{path}: target_width {experiment.target_width} is also searched; a held-out width must not be")
    return experiment
