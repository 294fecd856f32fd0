"""One experiment, read from YAML: the arms that are compared, the cells that are searched, the held-out one, the budget."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from hptransfer.base.config import checked, find_config, load_yaml, merge, nested, override
from hptransfer.base.errors import UsageError, unknown
from hptransfer.base.frozen import Written
from hptransfer.base.plugins import load_plugins
from hptransfer.experiment.arm import BASELINE, NOT_OF_AN_ARM, Arm, Inputs
from hptransfer.experiment.cells import (
    SAID_BY,
    SCALES,
    Cells,
    Count,
    Values,
    cells_of,
    check_cells,
    in_order,
    require_held_out,
    short_form,
)
from hptransfer.experiment.effort import Budget, Resources, SearchSettings, ValidationSettings
from hptransfer.experiment.model import ModelChoice
from hptransfer.experiment.planned import planned
from hptransfer.experiment.points import base_of, settings_of_ours, settings_of_program
from hptransfer.experiment.program import Program, ProgramFiles, check_program
from hptransfer.experiment.settings import (
    MAX_VOCAB,
    TEXT,
    DataSpec,
    EvaluationSpec,
    Horizon,
    Parametrization,
    Precision,
    ScheduleSpec,
)
from hptransfer.experiment.space import SearchSpace, load_space, program_space
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.optimizers.rules.weight_decay import WeightDecayRule
from hptransfer.runs.point import Number, Point

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a folder of reports


class DataChoice(Written):
    """Which text, and what its tokens are. ``corpus``: ``stdlib`` (embedded), a folder (or one file) of text, JSON, Parquet or
    ``.bin`` token shards, or ``hf:NAME``, a Hugging Face dataset. Shards are tokenized already and need ``vocab``."""

    corpus: str = Field("stdlib", min_length=1)
    text: str | None = Field(None, min_length=1, description="key or column of the text (text, else the one usual name there is)")
    tokenizer: str = Field(
        "bytes", min_length=1, description="bytes, bpe (trained on the corpus), or the path of a tokenizer.json"
    )
    vocab: int | None = Field(None, gt=1, le=MAX_VOCAB, description="entries of bpe, or of the tokenizer of .bin shards")
    max_bytes: int | None = Field(None, gt=0, description="how much training text is read, from the start")

    def names(self, data: DataSpec) -> bool:
        """Whether ``data`` is a version of the corpus that is chosen here, with its tokenizer."""
        return (
            (data.corpus, data.max_bytes) == (self.corpus, self.max_bytes)
            and data.tokenizer in (self.tokenizer, "shards")
            and self.vocab in (None, data.vocab)
            and self.text in (None, data.text or TEXT)
        )


class Experiment(Written):
    """An experiment: what is compared, at which scales, on which data, and what it may cost.

    `load_experiment` reads one from YAML. Its **arms** (``compared``) are what is measured against each other: recipes, which
    ``optimizers`` x ``parametrizations`` name, or any named sets of settings (``arms``). Each is searched at the ``widths`` and
    validated at ``target_width``, which no search sees, against the ``baseline`` (the only arm of plain AdamW unless named).
    ``horizon`` says how long a run is, in tokens or tokens per parameter; ``batch_sequences`` how large a batch, in sequences of
    ``model.context`` tokens; ``base_width`` is the width at which base coordinates are final values.

    ``scales`` are searched beside the width: depth, tokens and batch_tokens, each with its values, which go before what
    ``model.depth``, ``horizon`` and ``batch_sequences`` say. The ``cells`` are a star (the smallest of each scale, and along each
    scale its other values with the rest at their smallest), all combinations (full), or a list, which ``budgets`` of FLOPs and a
    ``series`` on one dial write too (`hptransfer.experiment.planned`); ``widths`` and ``scales`` then have the values in it.
    ``target`` has the held-out run's values of them; a scale that it does not name stays at its smallest. ``scales.width`` and
    ``target.width`` are other ways to write ``widths`` and ``target_width``. A misspelt key is an error.

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
    scales: dict[str, Values] = Field(
        {}, description="searched beside the width: depth, tokens, batch_tokens, each with its values"
    )
    cells: Cells = Field("star", description="star: one scale at a time from the smallest cell; full: all; or a list of them")
    target_width: int = Field(gt=0, description="held-out width, never searched")
    target: dict[str, Count] = Field({}, description="other scales of the held-out run (the smallest searched)")
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
        data = planned(short_form(data))
        widths = data.get("widths")
        if "base_width" not in data and isinstance(widths, list | tuple) and all(isinstance(width, int) for width in widths):
            data = data | ({"base_width": min(widths)} if widths else {})
        if data.get("target") and "target_width" not in data and "base_width" in data:
            data = data | {"target_width": min(widths, default=data["base_width"])}
        return data

    @field_validator("scales", "target")
    @classmethod
    def _names_scales(cls, scales: dict[str, Any]) -> dict[str, Any]:
        return in_order(scales)

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
        tokens = self.target.get("tokens") or self.smallest("tokens") or math.inf
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
            for scale in self.moved:
                if any(key == said or key.startswith(f"{said}.") for said in SAID_BY[scale]):
                    raise ValueError(f"arms.{arm.name}: {key} is of the cells, which have {scale} of their own")
        if arm.changes:
            return
        check_cells(self)
        if self.trainer:
            check_program(self.trainer, arm.parametrization, arm.optimizer, self._varying)
            return
        if arm.optimizer is None:
            raise ValueError(f"arm {arm.name} names no optimizer")
        if arm.parametrization == "unknown":
            raise ValueError(f"arm {arm.name}: parametrization unknown is of a program of your own (trainer.command)")
        for key, scale in {"horizon": "tokens", "batch_sequences": "batch_tokens"}.items():
            if getattr(self, key) is None and scale not in self.scales:
                raise ValueError(f"{key} is missing")
        for width in (self.base_width, *self.widths, self.target_width):
            self.model.check(width)

    @property
    def compared(self) -> tuple[Arm, ...]:
        """Every arm, in the order of the file."""
        short = [Arm.of(optimizer, kind) for kind in self.parametrizations for optimizer in self.optimizers]
        named = enumerate(self.arms.items())
        return (*short, *(Arm.read(name, settings, self.parametrizations[0], place) for place, (name, settings) in named))

    @property
    def searched_cells(self) -> tuple[dict[str, int], ...]:
        """The values of the scales that are searched, of the width and of those with several values; one that is smaller in all
        of them comes first."""
        searched = {"width": self.widths, **{name: values for name, values in self.scales.items() if len(values) > 1}}
        if isinstance(self.cells, tuple):
            return tuple({name: cell[name] for name in searched} for cell in self.cells)
        return cells_of(searched, self.cells)

    @property
    def target_cell(self) -> dict[str, int]:
        """The values of the scales of the held-out run, of the width and of those that are named."""
        return {"width": self.target_width, **self.target}

    @property
    def moved(self) -> tuple[str, ...]:
        """The scales beside the width that the cells, or the target, have of their own."""
        return tuple(name for name in SCALES if name in self.scales or name in self.target)

    @property
    def _varying(self) -> tuple[str, ...]:
        """The scales in which cells and target differ."""
        target, found = self.target_cell, ["width"] if {*self.widths} != {self.target_width} else []
        for name in self.moved:
            least = self.smallest(name)
            found += [name] if len({least, *self.scales.get(name, ()), target.get(name, least)}) > 1 else []
        return tuple(found)

    def smallest(self, scale: str) -> int | None:
        """The smallest value of a scale in the searched cells: where it is the same in all, what the model, the horizon, the
        batch or the program says. None: that is not known, or follows from other scales."""
        if scale == "width":
            return min(self.widths)
        if scale in self.scales:
            return min(self.scales[scale])
        if self.trainer:
            return round(self.trainer.fixed[scale]) if scale in self.trainer.fixed else None
        if scale == "tokens":
            return self.horizon.tokens if self.horizon else None
        if scale == "batch_tokens":
            return self.batch_sequences * self.model.context if self.batch_sequences else None
        return self.model.depth

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
            if arm.changes.get("model.family", self.model.family) != self.model.family:
                changed["model"] = self.model.of_every_family()
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

    def at(self, cell: Mapping[str, float]) -> Experiment:
        """The experiment with other values of the held-out run's scales. Raises UsageError where it cannot have these."""
        known = self.model_dump(mode="json", exclude_unset=True)
        changed = merge(known, short_form({"target": dict(cell)}))
        return require_held_out(checked(Experiment, changed, f"experiment {self.name}"), f"experiment {self.name}")

    def reads(self, arm: Arm, inputs: Inputs) -> bool:
        """Whether ``inputs`` are a version of what the runs of an arm read."""
        one = self.under(arm)
        if one.trainer:
            return isinstance(inputs, ProgramFiles) and one.trainer.names(inputs)
        return isinstance(inputs, DataSpec) and one.data.names(inputs)

    def target_point(self, arm: Arm, inputs: Inputs) -> Point:
        """The held-out run of ``arm``, hyperparameters as they come."""
        return self.point(arm, inputs, **self.target_cell, lr=1.0, weight_decay=0.0, embedding_lr_ratio=1.0, seed=0)

    def point(
        self,
        arm: Arm,
        inputs: Inputs,
        *,
        width: int,
        depth: int | None = None,
        tokens: int | None = None,
        batch_tokens: int | None = None,
        lr: float,
        weight_decay: float,
        embedding_lr_ratio: float = 1.0,
        seed: int = 0,
    ) -> Point:
        """A run of ``arm`` in a cell, hyperparameters in base coordinates; ``seed`` is both init and data seed. A scale that is
        not given is the smallest searched. ``inputs``: what it reads. A program has those hyperparameters that its command
        takes."""
        one, tuned = self.under(arm), {"lr": lr, "weight_decay": weight_decay, "embedding_lr_ratio": embedding_lr_ratio}
        given = {"depth": depth, "tokens": tokens, "batch_tokens": batch_tokens}
        scales = {name: value if value is not None else one.smallest(name) for name, value in given.items()}
        cell: dict[str, Number] = {"width": width, **{name: value for name, value in scales.items() if value is not None}}
        if one.trainer:
            assert isinstance(inputs, ProgramFiles)
            settings = settings_of_program(one.trainer, arm, inputs, cell)
            tuned = {name: value for name, value in tuned.items() if name in one.trainer.tuned}
        else:
            assert isinstance(inputs, DataSpec)
            settings = settings_of_ours(one, arm, inputs, cell)
        shared = {
            "parametrization": arm.parametrization,
            "weight_decay_rule": self._decay_rule(arm),
            "base": base_of(one),
        }
        return Point(scales=cell, hyperparameters=tuned, settings=settings | shared, init_seed=seed, data_seed=seed)

    def _decay_rule(self, arm: Arm) -> WeightDecayRule:
        """Of unknown coordinates there is no rule."""
        return "constant" if arm.parametrization == "unknown" else self.under(arm).weight_decay_rule


def load_experiment(name: str, assignments: Sequence[str] = ()) -> Experiment:
    """Read an experiment from YAML and import its plugins.

    ``name``: a file (``mine.yaml``), or the name of one in ``experiments/``, of the working directory or as hptransfer comes with
    them (``quickstart``, ``four-optimizers``, ...). ``assignments``: dotted overrides, each as ``"search.trials=6"``, whose
    values are YAML. Raises `UsageError`, in one line that names the offending key or value, where there is no such experiment,
    where it is not right, or where the held-out run's scales are searched too.

    >>> hptransfer.load_experiment("quickstart", ["target_width=256", "optimizers=[adamw, muon]"])
    """
    path = find_config("experiments", name)
    data: dict[str, Any] = {}
    try:
        for part in (load_yaml(path), *(override({}, [assignment]) for assignment in assignments)):
            data = merge(data, short_form(part))
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    plugins = data.get("plugins")
    if isinstance(plugins, list) and all(isinstance(plugin, str) for plugin in plugins):
        load_plugins(plugins)  # first: the rest may name what they add
    return require_held_out(checked(Experiment, data, str(path)), str(path))
