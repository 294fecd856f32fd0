"""The canonical record: everything that a trainer needs to repeat the predicted run, in final numbers."""

from __future__ import annotations

import json
from typing import Any

from hptransfer import __version__
from hptransfer.base.intervals import Interval
from hptransfer.models import FAMILIES
from hptransfer.models.family import Shape
from hptransfer.optimizers import get_recipe
from hptransfer.runs import Job, Kind, Point
from hptransfer.transfer.prediction import Prediction

EXPORT_VERSION = 1

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


def export_json(prediction: Prediction) -> str:
    """The canonical record as JSON text."""
    return json.dumps(canonical(prediction), indent=1) + "\n"


def canonical(prediction: Prediction) -> dict[str, Any]:
    """The canonical record of a prediction that has a job."""
    job, point, settings, decay = prediction.run, prediction.point, prediction.point.settings, prediction.weight_decay
    common: dict[str, Any] = {
        "export_version": EXPORT_VERSION,
        "hptransfer": __version__,
        "prediction": prediction.digest,
        "interval_80": {
            "lr": _interval(prediction.lr) | {"coordinates": "base"},
            **({"weight_decay": _interval(decay) | {"status": decay.words}} if decay else {}),
            "expected_regret": prediction.expected_regret,
        },
        "parametrization": {
            "name": settings["parametrization"],
            "base": settings["base"],
            "base_lr": point["lr"],
            "base_weight_decay": point.hyperparameters.get("weight_decay"),
            "embedding_lr_ratio": point.hyperparameters.get("embedding_lr_ratio"),
            "weight_decay_rule": settings["weight_decay_rule"],
        },
    }
    if "command" in job.details:  # a program's configuration is the command that starts it
        return common | {"command": job.details["command"], "scales": point.scales, "depends": settings["depends"]}
    return common | {
        "optimizer": {
            "recipe": settings["optimizer"],
            "options": job.details["options"],
            "roles": {role: numbers.model_dump() for role, numbers in prediction.roles.items()},
            "weights": [_weight(kind) for kind in job.kinds],
            "meaning": MEANING | ({"norms": NORMS} if get_recipe(settings["optimizer"]).keeps_norms else {}),
        },
        "parametrization": common["parametrization"] | {"residual_multiplier": job.details["residual_multiplier"]},
        "model": {
            "width": point["width"],
            "depth": point["depth"],
            **settings["model"],
            "vocab": settings["data"]["vocab"],
            "parameters": job.parameters,
            **model_words(point),
        },
        "training": _training(job),
        "data": settings["data"],
    }


def model_words(point: Point) -> dict[str, Any]:
    """The model in its family's own words: its architecture, and how each kind of weight starts."""
    keys = point.settings["model"]
    family = FAMILIES.get(keys.get("family", "gpt"))
    config = family.config.model_validate({name: value for name, value in keys.items() if name != "family"})
    words = family.describe(Shape(int(point["width"]), int(point["depth"]), point.settings["data"]["vocab"], config))
    if get_recipe(point.settings["optimizer"]).keeps_norms:
        words["init"] |= {DRAWN: "normal, std 1/sqrt(d_in): they have a norm to keep"}
    return words


def _weight(kind: Kind) -> dict[str, Any]:
    left, right = kind.sides
    numbers = kind.model_dump(include={"role", "lr", "weight_decay", "epsilons"})
    return {"kind": kind.name, **numbers, "sides": {"left": left, "right": right}}


def _interval(interval: Interval) -> dict[str, Any]:
    return interval.model_dump(include={"value", "low", "high"})


def _training(job: Job) -> dict[str, Any]:
    point, settings = job.point, job.point.settings
    context, schedule = settings["model"]["context"], settings["schedule"]
    return {
        "tokens": point["tokens"],
        "steps": job.steps,
        "batch_tokens": point["batch_tokens"],
        "batch_sequences": point["batch_tokens"] // context,
        "context": context,
        "schedule": schedule | {"warmup_steps": round(schedule["warmup_tokens"] / point["batch_tokens"])},
        "precision": settings["precision"],
        "init_seed": point.init_seed,
        "data_seed": point.data_seed,
    }
