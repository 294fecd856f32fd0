"""The canonical record: everything that a trainer needs to repeat the predicted run, in final numbers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hptransfer import __version__
from hptransfer.transfer.prediction import Prediction

EXPORT_VERSION = 1

MEANING = {
    "lr": "peak, and final: nothing is left to scale by width or depth; at step t it is multiplied by s(t), the schedule",
    "weight_decay": "independent: W -= s(t) * (lr * U + q(t) * weight_decay * W), q the weight-decay schedule",
    "weight_decay_coupled": "a trainer that decays by lr * wd * W needs wd = weight_decay / lr, weight by weight",
    "epsilons": "final: nothing is left to scale; the options hold no other one",
    "sides": "preconditioned axes: left the outputs, right the inputs",
}


def export_json(prediction: Prediction) -> str:
    """The canonical record as JSON text."""
    return json.dumps(canonical(prediction), indent=1) + "\n"


def canonical(prediction: Prediction) -> dict[str, Any]:
    """The canonical record of a prediction."""
    spec, optimizer = prediction.spec, prediction.spec.optimizer
    return {
        "export_version": EXPORT_VERSION,
        "hptransfer": __version__,
        "prediction": prediction.digest,
        "optimizer": {
            "recipe": optimizer.recipe,
            "options": spec.unscaled_options(),
            "roles": {role: numbers.model_dump() for role, numbers in prediction.roles.items()},
            "weights": [asdict(group) | {"sides": group.sides._asdict()} for group in spec.groups()],
            "meaning": MEANING,
        },
        "interval_80": {
            "lr": prediction.hyperparameters.lr.model_dump() | {"coordinates": "base"},
            "weight_decay": prediction.hyperparameters.weight_decay.model_dump(),
            "expected_regret": prediction.expected_regret,
        },
        "parametrization": {
            "name": spec.parametrization,
            "base": spec.base.model_dump(),
            "base_lr": optimizer.lr,
            "base_weight_decay": optimizer.weight_decay,
            "embedding_lr_ratio": optimizer.embedding_lr_ratio,
            "weight_decay_rule": spec.weight_decay_rule,
            "residual_multiplier": spec.residual_multiplier,
        },
        "model": spec.model.model_dump() | {"parameters": spec.model.parameters()} | spec.model.of.describe(spec.model.shape),
        "training": _training(spec),
        "data": spec.data.model_dump(),
    }


def _training(spec: RunSpec) -> dict[str, Any]:
    return {
        "tokens": spec.tokens,
        "steps": spec.steps,
        "batch_tokens": spec.batch_tokens,
        "batch_sequences": spec.batch_sequences,
        "context": spec.model.context,
        "schedule": spec.schedule.model_dump() | {"warmup_steps": round(spec.schedule.warmup_tokens / spec.batch_tokens)},
        "precision": spec.precision,
        "init_seed": spec.init_seed,
        "data_seed": spec.data_seed,
    }
