"""The prediction file: what `transfer` says and what `validate`, `report` and `export` read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hptransfer.base.config import read_json
from hptransfer.base.errors import UsageError
from hptransfer.optimizers.recipe import Role
from hptransfer.trainers.ours.spec import RunSpec, Spec

PREDICTION_VERSION = 3


class Interval(Spec):
    """A value with an 80 % interval. ``None`` at an end: not bounded there."""

    value: float
    low: float | None
    high: float | None


class WeightDecay(Interval):
    """``status`` starts with ``identified``, or says in words why the rule was used."""

    status: str

    @property
    def is_identified(self) -> bool:
        """Whether the runs told it, not the rule alone."""
        return self.status.startswith("identified")


class Hyperparameters(Spec):
    """``lr`` in base coordinates; ``weight_decay`` is the final independent value at the target; the ratio is that of
    embedding and readout LR to hidden LR, searched at the smallest width and kept."""

    lr: Interval
    weight_decay: WeightDecay
    embedding_lr_ratio: float


class Target(Spec):
    """The run that the prediction is for."""

    width: int
    depth: int
    tokens: int
    batch_tokens: int
    parameters: int


class Drift(Spec):
    """Exponent gamma of lr* ~ width^gamma in base coordinates: theory, the line through the optima alone with its 80 %
    interval, and the value used, theory corrected by the data."""

    theory: float
    fitted: float | None
    low: float | None
    high: float | None
    used: float
    reason: str


class RoleNumbers(Spec):
    """Final numbers of one role at the target: nothing is left to scale."""

    lr: float
    weight_decay: float
    epsilons: dict[str, float]


class Check(Spec):
    """A precondition of transfer."""

    name: str
    ok: bool
    detail: str


class Optimum(Spec):
    """The LR optimum at one searched width (base coordinates), from the joint surface."""

    width: int
    lr: Interval
    loss: float  # of the surface at its optimum, nats per token
    runs: int
    diverged: int


class Surface(Spec):
    """ln loss = ln optimum.loss + curvature * d^2, d = ln lr - ln optimum.lr, itself times ``skew`` where d > 0."""

    curvature: float
    skew: float


class HoldOut(Spec):
    """The largest searched width predicted from the narrower ones."""

    width: int
    predicted_lr: float
    own_lr: float
    regret: float


class Prediction(Spec):
    """One optimizer's hyperparameters at one target."""

    prediction_version: int = PREDICTION_VERSION
    optimizer: str
    parametrization: str
    target: Target
    hyperparameters: Hyperparameters
    drift: Drift
    roles: dict[Role, RoleNumbers]
    expected_regret: float  # from the uncertainty of lr, and of weight_decay where it is identified; relative
    noise: float  # relative standard deviation of the loss: over seeds or around the surface, whichever is larger
    budget: dict[int, int]  # finished runs per searched width, those at other LR ratios included
    optima: tuple[Optimum, ...]
    surface: Surface
    hold_out: HoldOut | None
    checks: tuple[Check, ...]
    spec: RunSpec  # the predicted run itself
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify what was predicted, whatever machine or moment it was written on."""
        content = self.model_dump(mode="json", exclude={"provenance"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def default_path(recipe: str, parametrization: str, width: int) -> Path:
    """Where a prediction is written and looked for unless a path is given."""
    middle = "" if parametrization == "mup" else f"-{parametrization}"
    return Path(f"predictions/{recipe}{middle}-{width}.json")


def read_prediction(path: str | Path) -> Prediction:
    """A prediction file. Raises UsageError in one line when it is none."""
    try:
        data = json.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"prediction {path}: {error.strerror}; make it with `python -m hptransfer.transfer`") from None
    except ValueError:
        raise UsageError(f"{path} is not a prediction file (not JSON)") from None
    if not isinstance(data, dict) or "prediction_version" not in data:
        raise UsageError(f"{path} is not a prediction file (no prediction_version in it)")
    if data["prediction_version"] != PREDICTION_VERSION:
        raise UsageError(
            f"{path} has prediction_version {data['prediction_version']!r}; this hptransfer reads {PREDICTION_VERSION}"
        )
    return read_json(Prediction, Path(path), "python -m hptransfer.transfer")
