"""The prediction file: what `transfer` says and what `validate`, `report` and `export` read."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hptransfer.base.commands import command
from hptransfer.base.config import fault
from hptransfer.base.errors import UsageError, one_line
from hptransfer.base.files import replace
from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.jsons import to_json
from hptransfer.base.refusals import Refusal
from hptransfer.base.stored import from_json, mapping_from_json, shown
from hptransfer.optimizers.recipe import ROLES
from hptransfer.runs.point import Job, Kind, Number, Point
from hptransfer.transfer.axes import cell_words

PREDICTION_VERSION = 4
LETTERS = {"depth": "d", "tokens": "t", "batch_tokens": "b"}  # of scales, in names of files


class Estimate(Interval):
    """A hyperparameter's predicted value. ``status``: fitted to the runs; by a rule alone, because of ``why``; by a simple rule
    that was asked for; or frozen, what the search settled on."""

    status: Literal["fitted", "rule", "asked", "frozen"] = "fitted"
    why: Refusal | None = None

    @property
    def is_fitted(self) -> bool:
        return self.status == "fitted"

    @property
    def words(self) -> str:
        """Where the value comes from."""
        if self.status == "fitted":
            return "identified"
        return self._reason if self.status in ("frozen", "asked") else f"not identified, rule used: {self._reason}"

    @property
    def _reason(self) -> str:
        return self.why.text if self.why else "it was not searched"


class RuleWeight(Frozen):
    """A rule of how an optimum moves along a scale: its exponent (None: a free one), whether the 80 % interval of the line
    through the optima alone holds it (None: there is no such interval), how likely it is beside the others by prior and runs, and
    where it comes from."""

    name: str
    exponent: float | None
    inside: bool | None
    weight: float
    source: str


class Drift(Frozen):
    """Exponent gamma of hp* ~ scale^gamma in the runs' coordinates: ``theory`` (None: there is none), the line through the
    optima alone with its 80 % interval (None: no drift shows), and the value used, from the middle of the runs to the target,
    which ``rules`` that compete and the optima have made."""

    hyperparameter: str
    scale: str
    theory: float | None
    fitted: float | None
    low: float | None
    high: float | None
    used: float
    reason: str
    rules: tuple[RuleWeight, ...] = ()


class Check(Frozen):
    """A precondition of transfer. Without a ``required`` one nothing is predicted, unless it is forced."""

    name: str
    ok: bool
    detail: str
    required: bool = False


class Optimum(Frozen):
    """The optimum of one cell, from the joint surface. ``loss``: of the surface there, nats per token; ``flops`` of a run of the
    cell and ``parameters`` of its model. None where unknown: a table may give the optima alone."""

    scales: dict[str, Number]
    best: dict[str, Interval]
    loss: float | None
    runs: int
    diverged: int
    flops: float | None = None
    parameters: int | None = None

    @property
    def lr(self) -> Interval:
        return self.best["lr"]

    @property
    def width(self) -> Number:
        return self.scales["width"]

    @property
    def cell(self) -> str:
        """The cell in words."""
        return cell_words(self.scales)


class Bowl(Frozen):
    """ln loss = ln optimum.loss + curvature * d^2, d the ln distance of the first hyperparameter, itself times ``skew`` where
    d > 0."""

    curvature: float
    skew: float

    def cost(self, distance: float) -> float:
        """ln loss above the lowest at a ln distance from the optimum."""
        return self.curvature * ((self.skew if distance > 0 else 1.0) * distance) ** 2

    def basin(self, height: float) -> tuple[float, float]:
        """From where to where (ln distance from the optimum) the loss is within ``height`` of the lowest, relative."""
        reach = math.sqrt(math.log1p(height) / self.curvature) if self.curvature > 0 else math.inf
        return -reach, reach / self.skew


class HoldOut(Frozen):
    """The largest searched cell predicted from the smaller ones; of the first hyperparameter. ``simple``: the regret there of the
    simple rules (`hptransfer.transfer.simple`). ``better``: which of them won by more than the noise (None: none)."""

    scales: dict[str, Number]
    predicted: float
    own: float
    regret: float
    simple: dict[str, float] = {}
    better: str | None = None

    @property
    def cell(self) -> str:
        """The cell in words."""
        return cell_words(self.scales)


class RoleNumbers(Frozen):
    """Final numbers of one role at the target: nothing is left to scale."""

    lr: float
    weight_decay: float
    epsilons: dict[str, float]

    @property
    def weight_decay_coupled(self) -> float:
        """What a trainer takes that decays by lr * wd * W, as torch's AdamW."""
        return self.weight_decay / self.lr


class Prediction(Frozen):
    """What the runs of one arm, or of one group of a table, say of the optimum at a target: what `hptransfer.predict` returns and
    prediction files hold.

    ``prediction.lr`` and ``prediction.hyperparameters[name]`` have ``value``, ``low`` and ``high``, an 80 % interval whose end is
    None where it is not bounded; of an experiment's arm ``prediction.weight_decay`` is the final independent value at the target
    and ``prediction.roles`` are the final numbers of each role (embedding, hidden, readout, vector).

    ``hyperparameters``: in base coordinates, or in a table's own terms; empty without a target. ``expected_regret``: from their
    uncertainty, relative to the loss; ``noise``: relative standard deviation of the loss, over seeds or around the surface,
    whichever is larger. ``optima``: of every swept cell; ``drifts``: how they move with the scales, by theory and by the runs;
    ``hold_out``: the largest cell as the smaller ones predict it; ``checks``: each precondition of transfer, and whether it
    holds. ``budget``: finished runs by cell, those at other frozen hyperparameters included. ``job``: the predicted run; for a
    table its scales alone.
    """

    prediction_version: int = PREDICTION_VERSION
    name: str
    hyperparameters: dict[str, Estimate]
    drifts: tuple[Drift, ...]
    expected_regret: float | None
    noise: float | None
    budget: dict[str, int]
    optima: tuple[Optimum, ...]
    bowl: Bowl | None
    hold_out: HoldOut | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    job: Job | None
    provenance: dict[str, Any] = {}

    @property
    def run(self) -> Job:
        """The predicted run. Only of predictions that have a target."""
        assert self.job is not None
        return self.job

    @property
    def point(self) -> Point:
        """The predicted run's point."""
        return self.run.point

    @property
    def lr(self) -> Estimate:
        """In base coordinates."""
        return self.hyperparameters["lr"]

    @property
    def weight_decay(self) -> Estimate | None:
        """The final independent value at the target, which the weight decay rule makes of the one in base coordinates; None where
        the runs have none."""
        base = self.hyperparameters.get("weight_decay")
        if base is None:
            return None
        final = self.run.weight_decay
        factor = final / base.value if base.value > 0 else 1.0
        ends = {end: None if value is None else value * factor for end, value in (("low", base.low), ("high", base.high))}
        return base.model_copy(update={"value": final, **ends})

    @property
    def drift(self) -> Drift:
        """Of the learning rate with the first scale."""
        return self.drifts[0]

    def exponent(self, hyperparameter: str, scale: str) -> float:
        """How the best value of a hyperparameter goes with a scale, by what was used; 0 where the runs say nothing of it."""
        found = (drift.used for drift in self.drifts if (drift.hyperparameter, drift.scale) == (hyperparameter, scale))
        return next(found, 0.0)

    @cached_property
    def roles(self) -> dict[str, RoleNumbers]:
        """The final numbers of every role whose kinds of weight agree; the others are in the job."""
        found: dict[str, list[Kind]] = {}
        for kind in self.run.kinds:
            found.setdefault(kind.role, []).append(kind)
        numbers = {
            role: {(kind.lr, kind.weight_decay, *kind.epsilons.items()): kind for kind in kinds} for role, kinds in found.items()
        }
        return {
            role: RoleNumbers(lr=kind.lr, weight_decay=kind.weight_decay, epsilons=kind.epsilons)
            for role, kinds in numbers.items()
            if len(kinds) == 1
            for kind in kinds.values()
        }

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify what was predicted, whatever machine or moment it was written on."""
        return _digest(self.model_dump(mode="json"))

    def stored(self) -> dict[str, Any]:
        """Plain values, as they are stored, with their digest: `prediction_of` reads them."""
        content = self.model_dump(mode="json")
        return content | {"digest": _digest(content)}


def _digest(content: dict[str, Any]) -> str:
    """Of the stored values, whatever later versions add to a prediction."""
    told = {name: value for name, value in content.items() if name not in ("provenance", "digest")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def file_name(arm: str, width: Number, **others: Number) -> str:
    """What files about an arm's target are called; ``others``: its further scales that are named for it."""
    beyond = "".join(f"-{letter}{others[name]}" for name, letter in LETTERS.items() if name in others)
    return f"{arm}-{width}{beyond}.json"


def default_path(experiment: str, arm: str, width: Number, **others: Number) -> Path:
    """Where a prediction is written and looked for unless a path is given."""
    return Path(f"predictions/{experiment}/{file_name(arm, width, **others)}")


def is_prediction_file(path: Path) -> bool:
    """Whether a file is a prediction, of whatever version."""
    try:
        return path.is_file() and "prediction_version" in mapping_from_json(path.read_bytes())
    except (OSError, ValueError):
        return False


def write_prediction(prediction: Prediction, path: str | Path) -> Path:
    """Write ``prediction`` to the JSON file ``path``, whole or not at all; returns the path.

    Folders are made as needed, and an earlier prediction is replaced. Raises `UsageError` where the file cannot be written, or
    where something else than a prediction has that name.

    >>> hptransfer.write_prediction(prediction, "predictions/mine.json")
    """
    path = Path(path)
    if path.exists() and not is_prediction_file(path):
        raise UsageError(f"{path} is there and is no prediction file: it is not overwritten; choose another --output")
    replace(path, to_json(prediction.stored(), indent=1) + "\n")
    return path


def read_prediction(path: str | Path) -> Prediction:
    """Read a prediction file, as `write_prediction` and ``hptransfer transfer`` write them.

    Raises `UsageError`, one line, where there is no such file, where it is none, or where another version of hptransfer wrote
    it in another form.

    >>> hptransfer.read_prediction("predictions/quickstart/shampoo-128.json").lr.value
    """
    try:
        data = from_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"prediction {path}: {error.strerror}; make it with `{command('transfer')}`") from None
    except ValueError as error:
        raise UsageError(f"{path} is not a prediction file (not JSON): {one_line(error)}") from None
    return prediction_of(data, str(path))


def prediction_of(data: Any, where: str) -> Prediction:
    """The prediction in stored values. Raises UsageError, in one line, for what is none, is of another version, or was changed
    since it was written. (Those of before they had a digest are read without.)"""
    if not isinstance(data, dict) or "prediction_version" not in data:
        raise UsageError(f"{where} is not a prediction file (no prediction_version in it)")
    if data["prediction_version"] != PREDICTION_VERSION:
        raise UsageError(
            f"{where} has prediction_version {shown(data['prediction_version'])}; this hptransfer reads {PREDICTION_VERSION}"
        )
    again = f"make it with `{command('transfer')}`"
    if "digest" in data and data["digest"] != _digest(data):
        raise UsageError(f"{where} was edited after it was written: its digest differs; {again}")
    try:
        found = Prediction.model_validate({name: value for name, value in data.items() if name != "digest"})
        _require_sound(found)
    except ValueError as error:
        raise UsageError(f"{where} is damaged: {fault(error)}; {again}") from None
    return found


def _require_sound(prediction: Prediction) -> None:
    """Raises ValueError for values that no runs make: of a file without a digest nothing else says so."""
    for name, one in prediction.hyperparameters.items():
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        if not 0 <= low <= one.value <= high or (name == "lr" and one.value == 0):
            raise ValueError(f"{name} {one.value:g}, from {one.low} to {one.high}, is no value with its interval")
    for kind in prediction.job.kinds if prediction.job else ():
        if kind.role not in ROLES or kind.lr < 0 or kind.weight_decay < 0:
            raise ValueError(
                f"{shown(kind.name)} with lr {kind.lr:g} and weight decay {kind.weight_decay:g} is no kind of weight"
            )
