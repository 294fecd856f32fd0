"""Predictions of every kind, as exports meet them."""

from __future__ import annotations

from functools import cache
from typing import Any

from records import DATA
from synthetic import Truth, make_experiment, make_records

import hptransfer
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.runs import Point
from hptransfer.trainers.command.points import resolve as resolve_command
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Prediction


def prediction(
    recipe: str,
    *,
    width: int = 256,
    ratio: float = 4.0,
    parametrization: Any = "mup",
    warmup_tokens: int = 8192,
    **changes: Any,
) -> Prediction:
    """Of a recipe at width 256, from widths 64 and 128; ``changes`` are of the experiment."""
    schedule = {"shape": "constant" if get_recipe(recipe).averages else "linear", "warmup_tokens": warmup_tokens}
    experiment = make_experiment(
        **{"name": "sample", "optimizers": [recipe], "parametrizations": [parametrization], "schedule": schedule, **changes}
    )
    arm = experiment.arm(recipe) if parametrization == "mup" else experiment.arm(f"{recipe}-{parametrization}")
    runs = make_records(Truth(), experiment, recipe=recipe, parametrization=parametrization, ratio=ratio)
    point = experiment.point(arm, DATA, width=width, lr=1.0, weight_decay=0.0, embedding_lr_ratio=ratio)
    source = {"experiment": "sample", "store": "runs", "run_ids": ["0123456789abcdef", "fedcba9876543210"]}
    return predict_group(Group(recipe, tuple(runs)), resolve(point), resolve, draws=30, provenance=source)


def of_a_table() -> Prediction:
    """Widths alone are known."""
    rows = [
        {"width": width, "lr": 0.01 * 2**octave, "loss": 3 + 0.02 * (octave + width / 128) ** 2}
        for width in (64, 128, 256)
        for octave in range(-4, 4)
    ]
    return hptransfer.predict(rows, {"width": 1024})


def of_a_command(like: Prediction, roles: bool) -> Prediction:
    """The run of a program, which takes final learning rates by role, or one."""
    command = "python train.py --lr {lr.hidden} --wd {weight_decay}" if roles else "python train.py --lr {lr} --wd {weight_decay}"
    settings = {
        "program": {"command": command, "loss": "loss (.*)"},
        "depends": {"train.py": "0" * 64},
        "optimizer": "adamw",
        "options": {},
        "parametrization": "mup" if roles else "unknown",
        "base": {"width": 64},
        "weight_decay_rule": "inverse_width" if roles else "constant",
    }
    point = Point(scales={"width": 256}, hyperparameters={"lr": 0.01, "weight_decay": 0.001}, settings=settings)
    return like.model_copy(update={"name": "mine", "job": resolve_command(point)})


def changed(like: Prediction, options: dict[str, Any], **changes: Any) -> Prediction:
    """The same values for a run with other ``options`` of its recipe, and other settings or scales."""
    point = like.point.at(options=like.point.settings["options"] | options, **changes)
    return like.model_copy(update={"job": resolve(point)})


def unbounded(like: Prediction) -> Prediction:
    """Neither end of an interval is known, nor a regret."""
    open_ended = {name: one.model_copy(update={"low": None, "high": None}) for name, one in like.hyperparameters.items()}
    return like.model_copy(update={"hyperparameters": open_ended, "expected_regret": None, "noise": None})


def clipped(like: Prediction) -> Prediction:
    """Of runs whose gradients were clipped."""
    details = like.run.details | {"options": like.run.details["options"] | {"clip_norm": 0.5}}
    return like.model_copy(update={"job": like.run.model_copy(update={"details": details})})


@cache
def samples() -> dict[str, Prediction]:
    """Every recipe, and what else there is."""
    found = {recipe: prediction(recipe) for recipe in RECIPES.names()}
    adamw = found["adamw"]
    return found | {
        "adamw under sp": prediction("adamw", parametrization="sp"),
        "muon under spectral": prediction("muon", parametrization="spectral"),
        "adamw, cosine": prediction("adamw", schedule={"shape": "cosine", "weight_decay": "cosine"}),
        "adamw, constant": prediction("adamw", schedule={"shape": "constant", "warmup_tokens": 8192}),
        "adamw, cosine alone": prediction("adamw", schedule={"shape": "cosine", "warmup_tokens": 8192}),
        "muon, clipped": clipped(found["muon"]),
        "muon, units": changed(found["muon"], {"lr_convention": "original"}),
        "muon, trapezoid": prediction("muon", schedule={"shape": "trapezoid", "warmup_tokens": 4096, "cooldown_fraction": 0.4}),
        "unbounded": unbounded(adamw),
        "table": of_a_table(),
        "table, optima": of_a_table().model_copy(update={"expected_regret": None}),
        "command": of_a_command(adamw, roles=False),
        "command, roles": of_a_command(adamw, roles=True),
    }


def small(recipe: str, options: dict[str, Any] | None = None, **changes: Any) -> Prediction:
    """Of a model of width 32 from bases of 16, which trains in a moment; weight decay and vectors are there. ``options`` are the
    recipe's."""
    model = {"depth": 2, "head_dim": 8, "context": 16, "mlp_ratio": 4.0, "norm_gains": True}
    shape = {"base_width": 16, "widths": [16, 24], "target_width": 32, "horizon": {"policy": "tokens", "tokens": 60 * 128}}
    found = prediction(recipe, width=32, **{"model": model, "warmup_tokens": 3 * 128, **shape, **changes})
    own = found.point.settings["options"] | (options or {})
    return found.model_copy(update={"job": resolve(found.point.at(weight_decay=0.05, options=own))})
