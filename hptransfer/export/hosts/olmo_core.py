"""OLMo-core: a module that makes the optimizer's, the scheduler's and the train module's configuration for a model's own.

Names of parameters come from that model, built on torch's meta device: an override that matches two groups would be an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from hptransfer.export.canonical import Canonical, Training
from hptransfer.export.host import comments, refusal
from hptransfer.export.hosts.torch import weights
from hptransfer.export.inline import standalone

FILE = "hptransfer_olmo_core.py"

DOCUMENT = '''"""The optimizer, schedule, batch and horizon of a predicted run, for OLMo-core {version}.

    from hptransfer_olmo_core import DURATION, GLOBAL_BATCH_SIZE, train_module

    model_config = TransformerConfig...                                        # yours
    train_module_config = train_module(model_config, rank_microbatch_size=...)
    data_loader_config = NumpyDataLoaderConfig(global_batch_size=GLOBAL_BATCH_SIZE, ...)
    trainer_config = TrainerConfig(max_duration=DURATION, ...)

Nothing may scale the learning rates again. OLMo-core counts steps from 1: its warm-up is a step longer than the searched one,
so that the decay is the same at every step.
"""

'''

IMPORTS = (
    "from fnmatch import fnmatch",
    "from typing import Any",
    "from olmo_core.nn.transformer import TransformerConfig",
    "from olmo_core.optim import AdamWConfig, OptimGroupOverride",
    "from olmo_core.train import Duration",
    "from olmo_core.train.train_module import TransformerTrainModuleConfig",
)

ENTRIES = '''

def train_module(
    model: TransformerConfig, rank_microbatch_size: int, roles: Mapping[str, str] | None = None, **others: Any
) -> TransformerTrainModuleConfig:
    """``others``: fields that were not predicted. ``roles`` goes before the rules: {"regular expression": "embedding, hidden,
    readout or vector"}. Raises ValueError for a parameter without a role."""
    return TransformerTrainModuleConfig(
        rank_microbatch_size=rank_microbatch_size,
        max_sequence_length=MAX_SEQUENCE_LENGTH,
        optim=optim(model, roles),
        scheduler=SCHEDULER,
        max_grad_norm=MAX_GRAD_NORM,
        **others,
    )


def optim(model: TransformerConfig, roles: Mapping[str, str] | None = None) -> AdamWConfig:
    """Hidden matrices have the optimizer's own options, every other role an override."""
    names: dict[str, list[str]] = {}
    options: dict[str, dict[str, float]] = {}
    for one, numbers in with_numbers(assign_roles(model.build(init_device="meta"), roles), WEIGHTS):
        names.setdefault(one.role, []).append(one.names[0])
        options[one.role] = _options(numbers)
    overrides = [OptimGroupOverride(_globs(role, names), options[role]) for role in names if role != "hidden"]
    return AdamWConfig(**options["hidden"], betas=BETAS, group_overrides=overrides)


def _options(numbers: Numbers) -> dict[str, float]:
    (eps,) = numbers.epsilons.values()
    return {"lr": numbers.lr, "weight_decay": numbers.weight_decay / numbers.lr, "eps": eps}


def _globs(role: str, names: Mapping[str, list[str]]) -> list[str]:
    """Patterns for the parameters of a role, the blocks' numbers open; what checkpointing of activations puts there matches."""
    found = list(dict.fromkeys(map(without_numbers, names[role])))
    for other, some in names.items():
        for name in some:
            if sum(fnmatch(name, glob) for glob in found) != (other == role):
                raise ValueError(f"{name} ({other}): patterns of {role} parameters do not tell it apart: {', '.join(found)}")
    return found
'''


@dataclass(frozen=True)
class OlmoCore:
    """AdamW, role by role."""

    name: str = "olmo-core"
    version: str = "3.0.0"

    def refuse(self, record: Canonical) -> str | None:
        if record.run is not None and record.run.optimizer.recipe == "muon":
            return (
                "OLMo-core's Muon has one learning rate for all roles and takes no group_overrides; it decays vectors and spares "
                "the embedding"
            )
        return refusal(record, "OLMo-core", ("adamw",))

    def render(self, record: Canonical) -> dict[str, str]:
        optimizer, _, _, training = record.known
        scheduler, imported = _scheduler(training)
        constants = {
            "GLOBAL_BATCH_SIZE": f"{training.batch_tokens}  # tokens",
            "MAX_SEQUENCE_LENGTH": repr(training.context),
            "DURATION": f"Duration.steps({training.steps})",
            "MAX_GRAD_NORM": repr(optimizer.options["clip_norm"]),
            "SCHEDULER": scheduler,
            "BETAS": repr((optimizer.options["beta1"], optimizer.options["beta2"])),
            "WEIGHTS": f"(\n{weights(optimizer)})",
        }
        text = "".join(f"{name} = {value}\n" for name, value in constants.items())
        head = comments(record, "OLMo-core", self.version) + DOCUMENT.format(version=self.version)
        code = standalone("roles", "table", imports=(*IMPORTS, f"from olmo_core.optim import {imported}"))
        return {FILE: f"{head}{code}\n\n{text}{ENTRIES}"}


def _scheduler(training: Training) -> tuple[str, str]:
    """The scheduler as Python, and the names that it takes from olmo_core.optim.

    At our step t OLMo-core asks for its factor at t + 1, of max_steps = steps. A warm-up and an end that are one later make
    its decay ours, step by step; without a warm-up, it is ours altogether. A cool-down is of whole steps.
    """
    schedule, steps = training.schedule, training.steps
    warmup = schedule.warmup_steps + 1
    if schedule.shape == "constant":
        return f"ConstantWithWarmup(warmup={warmup})", "ConstantWithWarmup"
    if schedule.shape == "trapezoid":
        cooldown = round(schedule.cooldown_fraction * (steps - schedule.warmup_steps))
        parts = f"ConstantWithWarmup(warmup={warmup}), LinearWithWarmup(alpha_f=0.0, warmup=1, t_max={cooldown + 1})"
        return (
            f"SequentialScheduler(schedulers=[{parts}], schedulers_max=[{steps - cooldown}])",
            "ConstantWithWarmup, LinearWithWarmup, SequentialScheduler",
        )
    kind = {"linear": "LinearWithWarmup", "cosine": "CosWithWarmup"}[schedule.shape]
    return f"{kind}(alpha_f=0.0, warmup={warmup}, t_max={steps + 1})", kind


OLMO_CORE = OlmoCore()
