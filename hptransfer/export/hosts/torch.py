"""torch: a module with ``build_optimizer(model)`` and the schedule.

AdamW and Muon stand in the file itself, which then imports torch alone. Any other recipe comes from hptransfer, with the record
beside the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hptransfer.export.canonical import Canonical, Optimizer, Training
from hptransfer.export.host import comments, unknown_run
from hptransfer.export.hosts.json import FILE as RECORD
from hptransfer.export.hosts.json import JSON
from hptransfer.export.inline import standalone
from hptransfer.optimizers import get_recipe
from hptransfer.optimizers.orthogonalized import iterations
from hptransfer.optimizers.recipe import ROLES

FILE = "hptransfer_optimizer.py"
PLAIN = ("adamw", "muon", "muon-all")  # by torch alone

USAGE = """\
    optimizer = build_optimizer(model)
    scheduler = build_scheduler(optimizer)
    ...
    clip_gradients(model)  # does nothing where the run was not clipped
    optimizer.step()
    scheduler.step()
"""
DOCUMENT = '''"""The optimizer and the schedule of a predicted run.

{usage}
Nothing may scale the learning rates again. Every trainable parameter gets a role by its module and name; where the rules do not
know yours, ``roles`` says it: {{"regular expression": "embedding, hidden, readout or vector"}}. print(role_table(optimizer))
shows which parameter got what.
"""
'''

# Of what the entries need besides.
IMPORTS = (
    "from collections.abc import Mapping",
    "from pathlib import Path",
    "import torch",
    "from torch import nn",
    "import hptransfer",
)

ENTRIES = '''

def build_optimizer(model: nn.Module, roles: Mapping[str, str] | None = None) -> torch.optim.Optimizer:
    """The optimizer over every trainable parameter of ``model``, each with the final numbers of its role. Build it after DDP,
    FSDP2 (``fully_shard``) or torch.compile. Raises ValueError for a parameter without a role, and for a
    model of another width."""
    {build}


def build_scheduler(optimizer: torch.optim.Optimizer) -> Schedule:
    """The run's schedule, to be stepped after each step of ``optimizer``."""
    return Schedule(optimizer, SCHEDULE)


def clip_gradients(model: nn.Module) -> None:
    """Clip the global gradient norm as the searched runs were clipped."""
    if CLIP_NORM is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
'''


@dataclass(frozen=True)
class Torch:
    """Plain PyTorch: every recipe, every role."""

    name: str = "torch"
    version: str = "2.9 and later"

    def refuse(self, record: Canonical) -> str | None:
        return unknown_run(record)

    def render(self, record: Canonical) -> dict[str, str]:
        return optimizer_files(record, "torch", self.version)


def optimizer_files(record: Canonical, host: str, version: str, usage: str = USAGE) -> dict[str, str]:
    """The module, and the record where the module reads it: what every host takes that steps a torch optimizer of the user's.
    ``usage``: how the host comes to it, as its docstring says."""
    optimizer, parametrization, _, training = record.known
    head = comments(record, host, version) + DOCUMENT.format(usage=usage)
    constants = f"SCHEDULE = {pretty(schedule(training))}\nCLIP_NORM = {optimizer.options.get('clip_norm')!r}\n"
    if optimizer.recipe in PLAIN and parametrization.name != "spectral" and not optimizer.options["cautious_weight_decay"]:
        code = standalone("roles", "schedule", "plain", "table")
        constants += f"OPTIMIZER = {pretty(_plain(optimizer, training))}\nWEIGHTS = (\n{weights(optimizer)})\n"
        build = "return plain_optimizer(with_numbers(assign_roles(model, roles), WEIGHTS), **OPTIMIZER)"
        return {FILE: f"{head}\n{code}\n\n{constants}{ENTRIES.format(build=build)}"}
    code = standalone("schedule", "table", imports=IMPORTS)
    build = f'return hptransfer.build_optimizer(model, Path(__file__).with_name("{RECORD}"), roles=roles)'
    return {FILE: f"{head}\n{code}\n\n{constants}{ENTRIES.format(build=build)}"} | JSON.render(record)


def schedule(training: Training) -> dict[str, Any]:
    """The arguments of `hptransfer.modules.plain.Schedule`."""
    kept = training.schedule.model_dump(include={"warmup_steps", "shape", "cooldown_fraction", "weight_decay"})
    return {"steps": training.steps, **kept}


def _plain(optimizer: Optimizer, training: Training) -> dict[str, Any]:
    """The arguments of `hptransfer.modules.plain.plain_optimizer` beside the parameters."""
    options, betas = optimizer.options, (optimizer.adam["beta1"], optimizer.adam["beta2"])
    if optimizer.recipe == "adamw":
        return {"betas": betas}
    muon = {
        "maps": iterations(options["orthogonal_map"], options["ns_steps"]),
        "momentum": options["momentum"],
        "nesterov": options["nesterov"],
        "momentum_start": options["momentum_start"],
        "momentum_warmup_steps": math.ceil(options["momentum_warmup_tokens"] / training.batch_tokens),
        "bfloat16": options["bfloat16"],
    }
    served = [role for role in ROLES if get_recipe(optimizer.recipe).serves(role)]
    return {"betas": betas, "muon": muon, "orthogonalize": served}


def weights(optimizer: Optimizer) -> str:
    """The numbers of each kind of weight, a line each."""
    return "".join(
        f"    Numbers({weight.role!r}, {weight.d_out}, {weight.d_in}, lr={weight.lr!r}, weight_decay={weight.weight_decay!r}, "
        f"epsilons={weight.epsilons!r}),  # {weight.kind}\n"
        for weight in optimizer.weights
    )


def pretty(values: Mapping[str, Any]) -> str:
    """A dictionary as Python writes it, an entry a line."""
    return "{\n" + "".join(f"    {name!r}: {value!r},\n" for name, value in values.items()) + "}"


TORCH = Torch()
