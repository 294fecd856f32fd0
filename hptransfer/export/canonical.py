"""The canonical record: everything that a trainer needs to repeat the predicted run, in final numbers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from hptransfer import __version__
from hptransfer.base.commands import command
from hptransfer.base.config import read_json
from hptransfer.base.errors import UsageError
from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.stored import mapping_from_json
from hptransfer.experiment.settings import ScheduleSpec
from hptransfer.models import FAMILIES
from hptransfer.models.family import Shape
from hptransfer.optimizers import get_recipe
from hptransfer.runs import Job, Kind, Point
from hptransfer.runs.point import Number
from hptransfer.transfer.prediction import Prediction, RoleNumbers, is_prediction_file, read_prediction

EXPORT_VERSION = 2

MEANING = {
    "lr": "peak, and final: nothing is left to scale by width or depth; at step t it is multiplied by s(t), the schedule",
    "weight_decay": "independent: W -= s(t) * (lr * U + q(t) * weight_decay * W), q the weight-decay schedule",
    "weight_decay_coupled": "a trainer that decays by lr * wd * W needs wd = weight_decay / lr, weight by weight",
    "epsilons": "final: nothing is left to scale; the options hold no other one",
    "sides": "preconditioned axes: left the outputs, right the inputs",
}
# Of recipes whose hidden matrices keep their norm.
NORMS = "hidden: W <- R N(W - s(t) * lr * R * N(U)), R = |W_0|_F kept, N(X) = X / |X|_F"
DRAWN = "hidden matrices that would be zero"


class Ends(Interval):
    """A value with its 80 % interval, and where it comes from."""

    status: str


class Sides(Frozen):
    """Preconditioned axes."""

    left: bool
    right: bool


class WeightNumbers(Frozen):
    """One kind of weight and its final numbers. ``d_in`` and ``d_out`` are its role's: an embedding (V, D) has d_in = V."""

    kind: str
    role: str
    d_out: int
    d_in: int
    count: int
    lr: float
    weight_decay: float
    epsilons: dict[str, float]
    sides: Sides


class Optimizer(Frozen):
    """A recipe with its options, without epsilons, and the final numbers of every kind of weight; ``roles`` where kinds agree."""

    recipe: str
    options: dict[str, Any]
    roles: dict[str, RoleNumbers]
    weights: tuple[WeightNumbers, ...]
    meaning: dict[str, str] = MEANING

    @property
    def adam(self) -> dict[str, Any]:
        """The options of the Adam that serves the roles that the recipe does not; of AdamW its own."""
        own: dict[str, Any] = self.options.get("adam", self.options)
        return own


class Parametrization(Frozen):
    """In which coordinates the values were searched, and which shape they are of."""

    name: str
    base: dict[str, Number]
    base_lr: float
    base_weight_decay: float | None
    embedding_lr_ratio: float | None
    weight_decay_rule: str
    residual_multiplier: float = 1.0


class Model(BaseModel):
    """The model, with its family's own keys."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    width: int
    depth: int
    vocab: int
    parameters: int | None
    architecture: str
    init: dict[str, str]

    @property
    def own(self) -> dict[str, Any]:
        """The family's own keys."""
        return self.model_extra or {}


class Schedule(ScheduleSpec):
    """The schedule of the run, its warm-up in steps too."""

    warmup_steps: int


class Training(Frozen):
    """Horizon, batch, schedule and seeds."""

    tokens: int
    steps: int
    batch_tokens: int
    batch_sequences: int
    context: int
    schedule: Schedule
    precision: str
    init_seed: int
    data_seed: int

    @property
    def cooldown_steps(self) -> int:
        """Steps that a trapezoid cools down in, for hosts that count them whole."""
        return max(1, round((self.steps - self.schedule.warmup_steps) * self.schedule.cooldown_fraction))


class Run(NamedTuple):
    """The parts of a record whose run is known."""

    optimizer: Optimizer
    parametrization: Parametrization
    model: Model
    training: Training


class Canonical(Frozen):
    """What is known of a predicted run. None where it is not, and then ``unknown`` names it: a table knows its columns, a
    program its command."""

    export_version: int = EXPORT_VERSION
    hptransfer: str = __version__
    name: str
    prediction: str
    scales: dict[str, Number]
    interval_80: dict[str, Ends]
    expected_regret: float | None
    unknown: tuple[str, ...] = ()
    parametrization: Parametrization | None = None
    optimizer: Optimizer | None = None
    model: Model | None = None
    training: Training | None = None
    data: dict[str, Any] | None = None
    command: str | None = None
    depends: dict[str, str] | None = None
    provenance: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """What is known, as JSON has it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value is not None}

    @property
    def run(self) -> Run | None:
        """The run, where it is known: neither of a table nor of a program."""
        if self.optimizer is None or self.parametrization is None or self.model is None or self.training is None:
            return None
        return Run(self.optimizer, self.parametrization, self.model, self.training)

    @property
    def known(self) -> Run:
        """The run of a record that has one."""
        assert self.run is not None, f"{self.name}: {', '.join(self.unknown)} unknown"
        return self.run


def canonical(prediction: Prediction) -> Canonical:
    """The canonical record of a prediction. Raises UsageError where it has no target: there is nothing to export."""
    if not prediction.job or not prediction.hyperparameters:
        raise UsageError(f"{prediction.name} was predicted without a target: give one with --at, or at= of hptransfer.predict")
    job, point = prediction.job, prediction.job.point
    common: dict[str, Any] = {
        "name": prediction.name,
        "prediction": prediction.digest,
        "scales": point.scales,
        "interval_80": _intervals(prediction),
        "expected_regret": prediction.expected_regret,
        "provenance": prediction.provenance,
    }
    if not job.run_id:
        return Canonical(**common, unknown=("optimizer", "roles", "parametrization", "model", "schedule", "batch", "data"))
    if "command" in job.details:  # a program's configuration is the command that starts it
        unknown = ("optimizer's options", "model", "schedule") + (() if job.kinds else ("roles",))
        return Canonical(**common, command=job.details["command"], depends=point.settings["depends"], unknown=unknown)
    settings, hyperparameters = point.settings, point.hyperparameters
    return Canonical(
        **common,
        parametrization=Parametrization(
            name=settings["parametrization"],
            base=settings["base"],
            base_lr=point["lr"],
            base_weight_decay=hyperparameters.get("weight_decay"),
            embedding_lr_ratio=hyperparameters.get("embedding_lr_ratio"),
            weight_decay_rule=settings["weight_decay_rule"],
            residual_multiplier=job.details["residual_multiplier"],
        ),
        optimizer=Optimizer(
            recipe=settings["optimizer"],
            options=job.details["options"],
            roles=prediction.roles,
            weights=tuple(_weight(kind) for kind in job.kinds),
            meaning=MEANING | ({"norms": NORMS} if get_recipe(settings["optimizer"]).keeps_norms else {}),
        ),
        model=Model.model_validate(
            {
                "width": point["width"],
                "depth": point["depth"],
                **settings["model"],
                "vocab": settings["data"]["vocab"],
                "parameters": job.parameters,
                **model_words(point),
            }
        ),
        training=_training(job),
        data=settings["data"],
    )


def read_record(path: str | Path) -> Prediction | Canonical:
    """A prediction file, or an exported record. Raises UsageError where it is neither."""
    path = Path(path)
    if not is_prediction_file(path):
        with suppress(OSError, ValueError):
            found = mapping_from_json(path.read_bytes()).get("export_version")
            if found == EXPORT_VERSION:
                return read_json(Canonical, path, command("export"))
            if found is not None:
                raise UsageError(f"{path} has export_version {found!r}; this hptransfer reads {EXPORT_VERSION}: export it again")
    return read_prediction(path)


def _intervals(prediction: Prediction) -> dict[str, Ends]:
    """Of every hyperparameter; weight decay is the final one where a rule says it."""
    values = dict(prediction.hyperparameters)
    if prediction.job and prediction.job.kinds and (decay := prediction.weight_decay) is not None:
        values["weight_decay"] = decay
    return {name: Ends(value=one.value, low=one.low, high=one.high, status=one.words) for name, one in values.items()}


def model_words(point: Point) -> dict[str, Any]:
    """The model in its family's own words: its architecture, and how each kind of weight starts."""
    keys = point.settings["model"]
    family = FAMILIES.get(keys.get("family", "gpt"))
    config = family.config.model_validate({name: value for name, value in keys.items() if name != "family"})
    words = family.describe(Shape(int(point["width"]), int(point["depth"]), point.settings["data"]["vocab"], config))
    if get_recipe(point.settings["optimizer"]).keeps_norms:
        words["init"] |= {DRAWN: "normal, std 1/sqrt(d_in): they have a norm to keep"}
    return words


def _weight(kind: Kind) -> WeightNumbers:
    left, right = kind.sides
    numbers = kind.model_dump(include={"role", "d_out", "d_in", "count", "lr", "weight_decay", "epsilons"})
    return WeightNumbers(kind=kind.name, sides=Sides(left=left, right=right), **numbers)


def _training(job: Job) -> Training:
    point, settings = job.point, job.point.settings
    context, schedule = settings["model"]["context"], settings["schedule"]
    return Training(
        tokens=int(point["tokens"]),
        steps=job.steps,
        batch_tokens=int(point["batch_tokens"]),
        batch_sequences=int(point["batch_tokens"]) // context,
        context=context,
        schedule=Schedule(**schedule, warmup_steps=round(schedule["warmup_tokens"] / point["batch_tokens"])),
        precision=settings["precision"],
        init_seed=point.init_seed,
        data_seed=point.data_seed,
    )
