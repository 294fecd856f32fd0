"""DeepSpeed: its configuration, and a module with parameter groups and the schedule, which a configuration cannot hold by role.

DeepSpeed splits parameters between Muon and Adam itself, by name and dimensions, and scales a tall matrix's update.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hptransfer.export.canonical import Canonical, Optimizer
from hptransfer.export.host import comments, refusal
from hptransfer.export.hosts.torch import pretty, schedule, weights
from hptransfer.export.inline import standalone
from hptransfer.optimizers.orthogonalized import iterations

CONFIG = "ds_config.json"
FILE = "hptransfer_deepspeed.py"

NOTES = f"""\
# DeepSpeed reads this file as hjson, which has comments.
# The learning rates are in {FILE}, by role. Here they are 0: without these groups nothing moves, which is seen at once.
# gradient_clipping is 1 unless it is said; 0 is none.
# you must set this: train_micro_batch_size_per_gpu, zero_optimization and bf16 as your machines need
"""

DOCUMENT = f'''"""The parameter groups and the schedule of a predicted run, for DeepSpeed 0.19.8 and later.

    import deepspeed
    from hptransfer_deepspeed import build_scheduler, parameter_groups, split

    print(split(model))
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=parameter_groups(model), config="{CONFIG}", lr_scheduler=build_scheduler
    )

Nothing may scale the learning rates again: the configuration has no scheduler of DeepSpeed's, which would write its own over
them. engine.step() steps the one that is given here.
"""

'''

IMPORTS = ("import math", "from types import SimpleNamespace", "import torch")

ENTRIES = '''

def parameter_groups(model: nn.Module, roles: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """A group for each role, shape and its numbers: ``model_parameters`` of deepspeed.initialize, with the same model. ``roles``
    goes before the rules: {"regular expression": "embedding, hidden, readout or vector"}. Raises ValueError for a parameter
    without a role, and for one that DeepSpeed steps by Muon where the prediction has Adam, or the other way round."""
    shown = ("role", "param_names")
    return [{key: value for key, value in group.items() if key not in shown} for group in _groups(model, roles)]


def split(model: nn.Module, roles: Mapping[str, str] | None = None) -> str:
    """Which parameter DeepSpeed steps by what, with the numbers that it is given."""
    return role_table(SimpleNamespace(param_groups=_groups(model, roles)))


def build_scheduler(optimizer: torch.optim.Optimizer) -> Schedule:
    """The run's schedule: ``lr_scheduler`` of deepspeed.initialize."""
    return Schedule(optimizer, SCHEDULE)


def _groups(model: nn.Module, roles: Mapping[str, str] | None) -> list[dict[str, Any]]:
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for one, numbers in with_numbers(assign_roles(model, roles), WEIGHTS):
        step, scale = "Adam", 1.0
        if MUON:
            step = _stepped_by(one)
            if step == "Muon":  # its update is times the square root of rows over columns, where there are more rows
                rows, columns = one.parameter.shape
                scale = math.sqrt(max(1.0, rows / columns))
        lr = numbers.lr / scale
        adam = {} if step == "Muon" else {"betas": BETAS, "eps": numbers.epsilons["eps"]}
        group = groups.setdefault(
            (one.role, lr, numbers.weight_decay, *numbers.epsilons.values()),
            {
                "params": [],
                "name": f"{one.role}-{len(groups)}",
                "lr": lr,
                "weight_decay": numbers.weight_decay / lr,
                **adam,
                "role": f"{one.role}, by {step}",
                "param_names": [],
            },
        )
        group["params"].append(one.parameter)
        group["param_names"].append(one.names[0])
    return list(groups.values())


def _stepped_by(one: Assigned) -> str:
    """Muon or Adam, as `deepspeed.set_optimizer_flags` splits, whatever a parameter's own flag says."""
    name = one.names[0].lower()
    found = "Muon" if one.parameter.dim() >= 2 and "embed" not in name and "lm_head" not in name else "Adam"
    if found != ("Muon" if one.role == "hidden" else "Adam"):
        raise ValueError(
            f"{one.names[0]} ({one.role}): DeepSpeed steps it by {found}, for its name, and the predicted run does not; rename "
            "the module: embed or lm_head in its name makes it Adam's"
        )
    return found
'''


@dataclass(frozen=True)
class DeepSpeed:
    """AdamW and Muon, role by role."""

    name: str = "deepspeed"
    version: str = "0.19.8 and later"

    def refuse(self, record: Canonical) -> str | None:
        why = refusal(record, "DeepSpeed", ("adamw", "muon"), role_wise=False, wd_schedule=True)
        return why if why is not None or record.known.optimizer.recipe == "adamw" else _refuse_muon(record.known.optimizer)

    def render(self, record: Canonical) -> dict[str, str]:
        optimizer, _, _, training = record.known
        muon = optimizer.recipe == "muon"
        betas = (optimizer.adam["beta1"], optimizer.adam["beta2"])
        params = {"momentum": optimizer.options["momentum"], "ns_method": "gram"} if muon else {"betas": betas}
        config = {
            "train_batch_size": training.batch_sequences,
            "gradient_clipping": optimizer.options["clip_norm"] or 0.0,
            "optimizer": {"type": "Muon" if muon else "AdamW", "params": {"lr": 0.0, "weight_decay": 0.0, **params}},
        }
        head = comments(record, "DeepSpeed", self.version)
        constants = (
            f"SCHEDULE = {pretty(schedule(training))}\nBETAS = {betas!r}\nMUON = {muon}\nWEIGHTS = (\n{weights(optimizer)})\n"
        )
        return {
            CONFIG: f"{head}{NOTES}{_muon_notes() if muon else ''}{json.dumps(config, indent=1)}\n",
            FILE: f"{head}{DOCUMENT}{standalone('roles', 'schedule', 'table', imports=IMPORTS)}\n\n{constants}{ENTRIES}",
        }


def _muon_notes() -> str:
    return "# Muon iterates in float16 or bfloat16 where the device has them, and its epsilon is 1e-7\n"


def _refuse_muon(optimizer: Optimizer) -> str | None:
    options: dict[str, Any] = optimizer.options
    if iterations(options["orthogonal_map"], options["ns_steps"]) != iterations("jordan", 5) or not options["nesterov"]:
        return "DeepSpeed's Muon has Nesterov momentum and five iterations of jordan's polynomial, and nothing else"
    if options["momentum_warmup_tokens"]:
        return "DeepSpeed's Muon has no warm-up of the momentum"
    if options["clip_norm"] is not None:
        return "under ZeRO DeepSpeed clips Muon's update, which is orthogonal already, rather than the gradient"
    return None


DEEPSPEED = DeepSpeed()
