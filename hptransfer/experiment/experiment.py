"""One experiment, read from YAML: the arms that are compared, the cells that are searched, the held-out one, the budget."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import reduce
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from hptransfer.base.config import checked, find_config, load_yaml, merge, nested, override
from hptransfer.base.errors import UsageError, unknown
from hptransfer.base.frozen import Frozen
from hptransfer.base.plugins import load_plugins
from hptransfer.experiment.arm import BASELINE, NOT_OF_AN_ARM, Arm, Inputs
from hptransfer.experiment.model import ModelChoice
from hptransfer.experiment.program import Program, ProgramFiles, check_program
from hptransfer.experiment.settings import DataSpec, EvaluationSpec, Horizon, Parametrization, Precision, ScheduleSpec
from hptransfer.experiment.space import SearchSpace, load_space, program_space
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.optimizers.rules.weight_decay import WeightDecayRule
from hptransfer.runs.point import Number, Point

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a folder of reports


class DataChoice(Frozen):
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


class SearchSettings(Frozen):
    """How a study spends its trials. Everything here is part of what makes a study reproducible."""

    trials: int = Field(12, gt=0, description="finished runs per (recipe, parametrization, width)")
    batch: Annotated[int, Field(gt=1)] | Literal["auto"] = Field(
        4, description="proposals made before the next look at the results; auto: as many as a study has slots when it starts"
    )
    sampler: Literal["design", "gp", "tpe", "random"] = "design"
    seed: int = Field(0, ge=0, lt=5_000)  # seeds from `membership.REPEATED_SEED` on are of no search


class ValidationSettings(Frozen):
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


class Resources(Frozen):
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


class Budget(Frozen):
    """Where a search stops although trials are left; the same command with more budget goes on."""

    hours: float | None = Field(None, gt=0, description="wall time of the command; what is in flight then is finished")
    flops: float | None = Field(None, gt=0, description="forward and backward FLOPs of all of the experiment's runs in the store")


class Experiment(Frozen):
    """An experiment: what is compared, at which scales, on which data, and what it may cost.

    `load_experiment` reads one from YAML. Its **arms** (``compared``) are what is measured against each other: recipes, which
    ``optimizers`` x ``parametrizations`` name, or any named sets of settings (``arms``). Each is searched at the ``widths`` and
    validated at ``target_width``, which no search sees, against the ``baseline`` (the only arm of plain AdamW unless named).
    ``horizon`` says how long a run is, in tokens or tokens per parameter; ``batch_sequences`` how large a batch, in sequences of
    ``model.context`` tokens; ``base_width`` is the width at which base coordinates are final values. ``scales: {width: [...]}``
    is another way to write ``widths``. A misspelt key is an error.

    >>> hptransfer.load_experiment("quickstart").widths
    (32, 64)
    """

    name: str
    description: str = ""
    plugins: tuple[str, ...] = Field((), description="Python files with more recipes and families; from the working directory")
    model: ModelChoice = Field(default_factory=lambda: ModelChoice.model_validate({}))
    data: DataChoice = DataChoice()
    trainer: Program | None = Field(None, description="a program of your own that is trained with, in the place of hptransfer's")
    base_width: int = Field(gt=0, description="where base coordinates are final ones (the smallest of widths)")
    widths: tuple[int, ...] = Field(min_length=1, description="widths searched")
    target_width: int = Field(gt=0, description="held-out width, never searched")
    horizon: Horizon | None = None
    batch_sequences: int | None = Field(None, gt=0)
    schedule: ScheduleSpec = ScheduleSpec()
    precision: Precision = "float32"
    evaluation: EvaluationSpec = EvaluationSpec()
    target_loss: float | None = Field(None, gt=0, description="validation loss, nats per token; the tokens to it are reported")
    optimizers: tuple[str, ...] = ()
    arms: dict[str, dict[str, Any]] = Field({}, description="by name: optimizer, parametrization, options.x, or any other key")
    baseline: str | None = Field(None, description="the arm that the others are measured against (the only one of adamw)")
    parametrizations: tuple[Parametrization, ...] = Field(("mup",), min_length=1)
    weight_decay_rule: WeightDecayRule = "inverse_width"
    search: SearchSettings = SearchSettings()
    validation: ValidationSettings = ValidationSettings()
    resources: Resources = Resources()
    budget: Budget = Budget()
    spaces: dict[str, dict[str, Any]] = Field({}, description="per arm, or per recipe, over search_spaces/<recipe>.yaml")
    _spaces: dict[str, SearchSpace] = PrivateAttr(default_factory=dict)
    _under: dict[str, Experiment] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if "scales" in data:
            scales = dict(data["scales"]) if isinstance(data["scales"], dict) else {}
            if set(scales) != {"width"} or "widths" in data:
                raise ValueError("scales has one searched scale, width, and then there is no widths")
            data = {key: value for key, value in data.items() if key != "scales"} | {"widths": scales["width"]}
        widths = data.get("widths")
        if "base_width" not in data and isinstance(widths, list | tuple) and all(isinstance(width, int) for width in widths):
            data = data | ({"base_width": min(widths)} if widths else {})
        return data

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name has up to 64 letters, digits, dots, underscores and dashes, a letter or digit first")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        arms = self.compared
        for recipe in self.optimizers:
            get_recipe(recipe)
        for name in self.spaces:
            if name not in self.arms and name not in RECIPES.names():
                raise ValueError(str(unknown("arm or recipe in spaces", name, {*self.arms, *RECIPES.names()})))
        if not arms:
            raise ValueError("there is nothing to search: name optimizers, or arms")
        for arm in arms:
            if not NAME.fullmatch(arm.name):
                raise ValueError(f"arm {arm.name!r}: a name has letters, digits, dots, underscores and dashes")
            self._check(arm)
        if self.baseline is not None and self.baseline not in (names := [arm.name for arm in arms]):
            raise ValueError(f"baseline {self.baseline!r} is none of the arms: {', '.join(names)}")
        if len(set(self.optimizers)) < len(self.optimizers):
            raise ValueError(f"optimizers {list(self.optimizers)} name a recipe twice")
        if len(set(self.widths)) < len(self.widths):
            raise ValueError(f"widths {list(self.widths)} name a width twice")
        tokens = (self.horizon and self.horizon.tokens) or math.inf
        shortest = min(self.validation.ladder, default=1.0) * tokens
        if shortest <= self.schedule.warmup_tokens < tokens:
            raise ValueError(
                f"validation.ladder {self.validation.ladder[0]:g} is a horizon of {shortest:.0f} tokens, which the warm-up of "
                f"{self.schedule.warmup_tokens} tokens takes up"
            )
        return self

    def _check(self, arm: Arm) -> None:
        """Raises ValueError where an arm lacks what its trainer needs. What an arm changes is checked once it is applied."""
        if arm.optimizer is not None:
            get_recipe(arm.optimizer)
        for key in arm.changes:
            if key.partition(".")[0] in NOT_OF_AN_ARM:
                raise ValueError(f"arms.{arm.name}: {key} is the experiment's, the same for all arms")
        if arm.changes:
            return
        if self.trainer:
            check_program(self.trainer, arm.parametrization, arm.optimizer)
            return
        if arm.optimizer is None:
            raise ValueError(f"arm {arm.name} names no optimizer")
        if arm.parametrization == "unknown":
            raise ValueError(f"arm {arm.name}: parametrization unknown is of a program of your own (trainer.command)")
        if missing := [name for name in ("horizon", "batch_sequences") if getattr(self, name) is None]:
            raise ValueError(f"{missing[0]} is missing")
        for width in (self.base_width, *self.widths, self.target_width):
            self.model.check(width)

    @property
    def compared(self) -> tuple[Arm, ...]:
        """Every arm, in the order of the file."""
        short = [Arm.of(optimizer, kind) for kind in self.parametrizations for optimizer in self.optimizers]
        named = enumerate(self.arms.items())
        return (*short, *(Arm.read(name, settings, self.parametrizations[0], place) for place, (name, settings) in named))

    @property
    def cells(self) -> tuple[dict[str, Number], ...]:
        """The values of the scales that are searched, the smallest first."""
        return tuple({"width": width} for width in sorted(self.widths))

    def arm(self, name: str) -> Arm:
        """The arm of that name. Raises UsageError with the nearest name."""
        found = {arm.name: arm for arm in self.compared}
        if name not in found:
            raise unknown(f"arm of experiment {self.name}", name, found)
        return found[name]

    def baseline_of(self, arm: Arm) -> Arm | None:
        """The arm that ``arm`` is measured against: the one that is named, else the only one of plain AdamW under the same
        parametrization."""
        if self.baseline is not None:
            return self.arm(self.baseline)
        found = [one for one in self.compared if one.optimizer == BASELINE and one.parametrization == arm.parametrization]
        return found[0] if len(found) == 1 else None

    def under(self, arm: Arm) -> Experiment:
        """The experiment with what an arm changes. Raises UsageError where it cannot have that."""
        if not arm.changes:
            return self
        key = json.dumps(arm.settings, sort_keys=True)
        if key not in self._under:
            own = {name: value for name, value in arm.settings.items() if name not in arm.changes}
            free: dict[str, Any] = {"arms": {arm.name: own}, "optimizers": [], "baseline": None}
            free["spaces"] = {name: space for name, space in self.spaces.items() if name == arm.name or name not in self.arms}
            changed = self.model_dump(mode="json", exclude_unset=True) | free
            for dotted, value in arm.changes.items():
                changed = merge(changed, nested(dotted, value))
            self._under[key] = checked(Experiment, changed, f"experiment {self.name}: arms.{arm.name}")
        return self._under[key]

    def space_name(self, arm: Arm) -> str:
        """Under which of ``spaces`` an arm's ranges are: its own name where it is there, and for a program; else its recipe's."""
        return arm.name if arm.name in self.spaces or arm.optimizer is None else arm.optimizer

    def space(self, arm: Arm) -> SearchSpace:
        """What is searched of an arm."""
        one = self.under(arm)
        changes = one.spaces.get(self.space_name(arm), {})
        program = one.trainer and [one.trainer.command]
        key = json.dumps([arm.optimizer, arm.parametrization, changes, program], sort_keys=True)  # copies share the dict
        if key not in self._spaces:
            if one.trainer:
                self._spaces[key] = program_space(arm.name, one.trainer, changes)
            else:
                assert arm.optimizer is not None
                self._spaces[key] = load_space(arm.optimizer, arm.parametrization, changes)
        return self._spaces[key]

    def at_width(self, width: int) -> Experiment:
        """The experiment with another held-out width. Raises UsageError where it cannot have that."""
        changed = self.model_dump(mode="json", exclude_unset=True) | {"target_width": width}
        return _held_out(checked(Experiment, changed, f"experiment {self.name}"), f"experiment {self.name}")

    def reads(self, arm: Arm, inputs: Inputs) -> bool:
        """Whether ``inputs`` are a version of what the runs of an arm read."""
        one = self.under(arm)
        if one.trainer:
            return isinstance(inputs, ProgramFiles) and one.trainer.names(inputs)
        return isinstance(inputs, DataSpec) and one.data.names(inputs)

    def target(self, arm: Arm, inputs: Inputs) -> Point:
        """A run of ``arm`` at the held-out width, hyperparameters as they come."""
        return self.point(arm, inputs, width=self.target_width, lr=1.0, weight_decay=0.0)

    def point(
        self,
        arm: Arm,
        inputs: Inputs,
        *,
        width: Number,
        lr: float,
        weight_decay: float,
        embedding_lr_ratio: float = 1.0,
        seed: int = 0,
    ) -> Point:
        """A run of ``arm`` at ``width``, hyperparameters in base coordinates; ``seed`` is both init and data seed. ``inputs``:
        what it reads. A program has those hyperparameters that its command takes."""
        one, tuned = self.under(arm), {"lr": lr, "weight_decay": weight_decay, "embedding_lr_ratio": embedding_lr_ratio}
        if one.trainer:
            assert isinstance(inputs, ProgramFiles)
            scales, settings = one._of_program(one.trainer, arm, inputs, width)
            tuned = {name: value for name, value in tuned.items() if name in one.trainer.tuned}
        else:
            assert isinstance(inputs, DataSpec)
            scales, settings = one._of_ours(arm, inputs, width)
        shared = {
            "parametrization": arm.parametrization,
            "weight_decay_rule": self._decay_rule(arm),
            "base": {"width": one.base_width},
        }
        return Point(scales=scales, hyperparameters=tuned, settings=settings | shared, init_seed=seed, data_seed=seed)

    def _decay_rule(self, arm: Arm) -> WeightDecayRule:
        """Of unknown coordinates there is no rule."""
        return "constant" if arm.parametrization == "unknown" else self.under(arm).weight_decay_rule

    def _of_ours(self, arm: Arm, data: DataSpec, width: Number) -> tuple[dict[str, Number], dict[str, Any]]:
        """Scales and settings of a run of our own trainer. An option of the optimizer that the arm sets goes before that of the
        recipe's search space; a recipe that averages its iterates gets a constant schedule after the warm-up."""
        assert arm.optimizer is not None and self.horizon is not None and self.batch_sequences is not None
        options, schedule = self.space(arm).fixed_options(), self.schedule
        if get_recipe(arm.optimizer).averages:
            schedule = schedule.model_copy(update={"shape": "constant"})
        tokens = {} if self.horizon.tokens is None else {"tokens": self.horizon.tokens}
        scales = {"width": width, "depth": self.model.depth, **tokens, "batch_tokens": self.batch_sequences * self.model.context}
        return scales, {
            "trainer": "ours",
            "optimizer": arm.optimizer,
            "options": reduce(lambda known, pair: merge(known, nested(*pair)), arm.options.items(), options),
            "model": {key: value for key, value in self.model.model_dump(mode="json").items() if key != "depth"},
            "data": data.model_dump(),
            "horizon": self.horizon.model_dump(exclude={"tokens"}, exclude_none=True) if not tokens else {"policy": "tokens"},
            "schedule": schedule.model_dump(),
            "evaluation": self.evaluation.model_dump(),
            "precision": self.precision,
        }

    def _of_program(
        self, program: Program, arm: Arm, files: ProgramFiles, width: Number
    ) -> tuple[dict[str, Number], dict[str, Any]]:
        """Scales and settings of a run of a user's program. Sizes that are the same at every width are scales of their own;
        others follow from the width."""
        fixed: dict[str, Number] = {
            name: round(program.fixed[name]) for name in ("tokens", "batch_tokens") if name in program.fixed
        }
        horizon = {"policy": "tokens"} if "tokens" in fixed else {"policy": "formula", "formula": str(program.tokens)}
        return {"width": width, **fixed}, {
            "trainer": "command",
            "program": program.model_dump(mode="json", exclude_none=True, exclude={"depends"}),
            "depends": files.sha256,
            **({"optimizer": arm.optimizer, "options": arm.options} if arm.optimizer else {}),
            **({"horizon": horizon} if program.tokens is not None else {}),
        }


def load_experiment(name: str, assignments: Sequence[str] = ()) -> Experiment:
    """Read an experiment from YAML and import its plugins.

    ``name``: a file (``mine.yaml``), or the name of one in ``experiments/``, of the working directory or as hptransfer comes with
    them (``quickstart``, ``four-optimizers``, ...). ``assignments``: dotted overrides, each as ``"search.trials=6"``, whose
    values are YAML. Raises `UsageError`, in one line that names the offending key or value, where there is no such experiment,
    where it is not right, or where the held-out width is searched too.

    >>> hptransfer.load_experiment("quickstart", ["target_width=256", "optimizers=[adamw, muon]"])
    """
    path = find_config("experiments", name)
    data = override(load_yaml(path), assignments)
    plugins = data.get("plugins")
    if isinstance(plugins, list) and all(isinstance(plugin, str) for plugin in plugins):
        load_plugins(plugins)  # first: the rest may name what they add
    return _held_out(checked(Experiment, data, str(path)), str(path))


def _held_out(experiment: Experiment, where: str) -> Experiment:
    """Raises UsageError where the target is a width that is searched."""
    if experiment.target_width in experiment.widths:
        raise UsageError(f"{where}: target_width {experiment.target_width} is also searched; a held-out width must not be")
    return experiment
