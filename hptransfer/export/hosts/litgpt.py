"""litgpt: the file of ``litgpt pretrain --config``, and an optimizer that schedules itself.

litgpt writes one learning rate into every group at each micro-batch, from ``defaults["lr"]``, by warm-up and cosine. Here it
is told to write 1 throughout: the optimizer puts the role's rate and the run's own schedule in its place, and refuses any other
number, which would scale the rates again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import yaml

from hptransfer.export.canonical import Canonical
from hptransfer.export.host import comments, unknown_run, unread_average
from hptransfer.export.hosts.torch import optimizer_files

CONFIG = "pretrain.yaml"
FILE = "hptransfer_litgpt.py"
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}

USAGE = f"{FILE.removesuffix('.py')}.predicted_optimizer gives both to litgpt, which clips by {CONFIG}.\n"

MODULE = f'''"""The optimizer of a predicted run, for litgpt, with its schedule inside.

    PYTHONPATH=. litgpt pretrain MODEL --config {CONFIG}
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from typing import Any

from litgpt.model import GPT
from torch import nn
from torch.optim import Optimizer

from hptransfer_optimizer import SCHEDULE, build_optimizer, factors


def predicted_optimizer(parameters: Generator[nn.Parameter, None, None], roles: Mapping[str, str] | None = None) -> Optimizer:
    """litgpt calls it with ``model.parameters()``. ``roles`` goes before the rules: {{"regular expression": "role"}}. Raises
    ValueError where the parameters are not those of a litgpt model, or where litgpt scales the learning rate itself."""
    optimizer = build_optimizer(_model_of(parameters), roles)
    optimizer.defaults["lr"] = 1.0
    peaks = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["taken"] = 0  # steps; kept in litgpt's checkpoints with the group

    def pace(optimizer: Optimizer, *_: Any) -> None:
        for group, (lr, weight_decay) in zip(optimizer.param_groups, peaks, strict=True):
            if group["lr"] != 1.0:
                raise ValueError(
                    f"litgpt would scale the learning rates by {{group['lr']:g}} once more: keep train.lr_warmup_steps 0, "
                    "train.lr_warmup_fraction unset and train.min_lr 1"
                )
            s, q = factors(group["taken"], SCHEDULE)
            group["lr"], group["weight_decay"] = s * lr, q * weight_decay
            group["taken"] += 1

    optimizer.register_step_pre_hook(pace)
    return optimizer


def _model_of(parameters: Generator[nn.Parameter, None, None]) -> GPT:
    """The model whose ``parameters()`` these are: roles go by name, and parameters have none."""
    module = inspect.getgeneratorlocals(parameters).get("self") if inspect.isgenerator(parameters) else None
    found = [one for one in module.modules() if isinstance(one, GPT)] if isinstance(module, nn.Module) else []
    if len(found) != 1:
        raise ValueError("parameters without a model have no roles: give model.parameters() of one litgpt GPT, as pretrain does")
    return found[0]
'''


@dataclass(frozen=True)
class LitGPT:
    """Every recipe but the schedule-free ones, with any schedule, on one device."""

    name: str = "litgpt"
    version: str = "0.5.13"

    def refuse(self, record: Canonical) -> str | None:
        if (why := unknown_run(record) or unread_average(record, "litgpt")) is not None:
            return why
        precision = record.known.training.precision
        return None if precision in PRECISIONS else f"litgpt does not train in {precision}"

    def render(self, record: Canonical) -> dict[str, str]:
        head = comments(record, "litgpt", self.version)
        optimizer, _, _, training = record.known
        settings = {
            "precision": PRECISIONS[training.precision],
            "devices": 1,
            "num_nodes": 1,
            "seed": training.init_seed,
            "train": {
                "global_batch_size": training.batch_sequences,
                "micro_batch_size": training.batch_sequences,
                "max_tokens": training.tokens,
                "max_seq_length": training.context,
                "max_norm": optimizer.options.get("clip_norm") or math.inf,
                "lr_warmup_steps": 0,
                "min_lr": 1.0,
                "tie_embeddings": False,
            },
            "optimizer": {"class_path": f"{FILE.removesuffix('.py')}.predicted_optimizer", "init_args": {}},
        }
        notes = "".join(f"# {line}\n" for line in NOTES)
        return {
            CONFIG: f"{head}{notes}{yaml.safe_dump(settings, sort_keys=False)}",
            FILE: head + MODULE,
        } | optimizer_files(record, "litgpt", self.version, USAGE)


NOTES = (
    "micro_batch_size may be any divisor of global_batch_size",
    "max_norm: .inf is no clipping",
    "lr_warmup_steps 0, min_lr 1: litgpt holds its learning rate at 1, which its log shows; the optimizer has the rates and the",
    "  schedule, and refuses any other value",
    "devices: litgpt shards by FSDP1 over several, which leaves no matrices: the optimizer refuses",
    "litgpt keeps query, key and value in one matrix; a recipe that works on whole matrices was searched on three",
)


LITGPT = LitGPT()
