"""Hugging Face Transformers: the arguments of its Trainer, and a factory that gives it the optimizer.

Trainer keeps its own scheduler, whose factors are the run's from the end of the warm-up on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from hptransfer.export.canonical import Canonical, Training
from hptransfer.export.host import comments, unknown_run, unread_average
from hptransfer.export.hosts.torch import optimizer_files

ARGUMENTS = "training_arguments.yaml"
FILE = "hptransfer_transformers.py"
# "constant" of Transformers has no warm-up.
SCHEDULERS = {
    "constant": "constant_with_warmup",
    "linear": "linear",
    "cosine": "cosine",
    "trapezoid": "warmup_stable_decay",
}

USAGE = f"{FILE.removesuffix('.py')}.Factory gives the optimizer to Trainer, which schedules and clips by {ARGUMENTS}.\n"

MODULE = f'''"""The optimizer of a predicted run, for Trainer.

    from transformers import HfArgumentParser, Trainer, TrainingArguments
    from hptransfer_transformers import Factory

    (arguments,) = HfArgumentParser(TrainingArguments).parse_yaml_file("{ARGUMENTS}")
    Trainer(model=model, args=arguments, train_dataset=data, optimizer_cls_and_kwargs=(Factory, {{}})).train()

Weight decay goes by role: Trainer's rule that spares biases and norms by name is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.optim import Optimizer

from hptransfer_optimizer import build_optimizer


class Factory:
    """Trainer calls ``Factory()(model, **kwargs)``. ``roles`` goes before the rules: {{"regular expression": "role"}}."""

    def __call__(self, model: nn.Module, roles: Mapping[str, str] | None = None) -> Optimizer:
        return build_optimizer(model, roles)
'''


@dataclass(frozen=True)
class Transformers:
    """Every recipe but the schedule-free ones, by the factory."""

    name: str = "transformers"
    version: str = "5.24"

    def refuse(self, record: Canonical) -> str | None:
        if (why := unknown_run(record) or unread_average(record, "Trainer")) is not None:
            return why
        if record.known.training.schedule.weight_decay != "constant":
            return "Trainer's schedulers move learning rates alone, and weight decay has a schedule besides"
        return None

    def render(self, record: Canonical) -> dict[str, str]:
        head = comments(record, "transformers", self.version)
        return {
            ARGUMENTS: f"{head}{_notes(record.known.training)}{yaml.safe_dump(_arguments(record), sort_keys=False)}",
            FILE: head + MODULE,
        } | optimizer_files(record, "transformers", self.version, USAGE)


def _arguments(record: Canonical) -> dict[str, Any]:
    """Arguments by name: all that would else be a default, and changes the run."""
    optimizer, _, _, training = record.known
    schedule = training.schedule
    options = {}
    if schedule.shape == "trapezoid":  # a float is taken as it is, and keeps the decay exact
        steps = schedule.cooldown_fraction * (training.steps - schedule.warmup_steps)
        options = {"num_decay_steps": steps, "decay_type": "linear", "min_lr_ratio": 0.0}
    return {
        "max_steps": training.steps,
        "per_device_train_batch_size": training.batch_sequences,
        "gradient_accumulation_steps": 1,
        "dataloader_drop_last": True,
        "learning_rate": 0.0,
        "lr_scheduler_type": SCHEDULERS[schedule.shape],
        "lr_scheduler_kwargs": options,
        "warmup_steps": schedule.warmup_steps,
        "max_grad_norm": optimizer.options.get("clip_norm") or 0.0,
        "label_smoothing_factor": 0.0,
        "bf16": training.precision == "bfloat16",
        "fp16": False,
        "seed": training.init_seed,
        "data_seed": training.data_seed,
    }


def _notes(training: Training) -> str:
    """What the arguments mean, beside them."""
    warmup = training.schedule.warmup_steps
    lines = [
        f"you must set this: per_device_train_batch_size x gradient_accumulation_steps x devices = {training.batch_sequences}",
        f"you must set this: the data gives sequences with {training.context} targets each",
        "learning_rate: the factory has those of every role; with 0 a Trainer without it trains nothing, which is seen at once",
        "max_grad_norm: 0 is no clipping",
    ]
    if warmup:
        lines.append(f"warm-up: Trainer's step t (from 0) has the factor t/{warmup}, the searched runs had (t+1)/{warmup}")
    if training.precision == "float64":
        lines.append("you must set this: the model in float64")
    return "".join(f"# {line}\n" for line in lines)


TRANSFORMERS = Transformers()
