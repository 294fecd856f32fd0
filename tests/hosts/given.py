"""What the tests of hosts share: exported modules as a user would import them, and updates of known gradients."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from export.samples import prediction, samples
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import hptransfer
from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.hosts import HOSTS
from hptransfer.modules.schedule import decay_factor, schedule_factor
from hptransfer.trainers.ours.points import resolve

RECORDS = {name: canonical(one) for name, one in samples().items()}
# `OneOfEach` has one hidden matrix: what of Muon differs by shape is tested on parameters, with the torch module.
ALIKE = {name: record for name, record in RECORDS.items() if record.optimizer is None or "hidden" in record.optimizer.roles}
ROLES = ("embedding", "hidden", "readout", "vector")


def in_units(convention: str) -> Canonical:
    """Of Muon searched in another's units: hidden weights differ by shape, and have no numbers of their role."""
    point = samples()["muon"].point
    job = resolve(point.at(options=point.settings["options"] | {"lr_convention": convention}))
    return canonical(samples()["muon"].model_copy(update={"job": job}))


def at_once(recipe: str, **changes: Any) -> Canonical:
    """Of a run without warm-up: what a host does at its first step is its whole update."""
    return canonical(prediction(recipe, schedule={"shape": "linear", "warmup_tokens": 0}, **changes))


@contextmanager
def loaded(files: Mapping[str, str], folder: Path) -> Iterator[ModuleType]:
    """A host's ``files`` in ``folder``, and their module, imported from there by name."""
    for name, text in files.items():
        (folder / name).write_text(text)
    names = sorted((name.removesuffix(".py") for name in files if name.endswith(".py")), key="hptransfer_optimizer".__eq__)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(names[0])
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)


def exported(host: str, record: Canonical, folder: Path) -> AbstractContextManager[ModuleType]:
    """What the host writes of ``record``, in ``folder``, and its module."""
    return loaded(HOSTS.get(host).render(record), folder)


class OneOfEach(nn.Module):
    """A weight of each role, as wide as the samples."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(width, width)
        self.hidden = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(width)
        self.readout = nn.Linear(width, width, bias=False)


def numbers(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, float]]:
    """``lr``, ``weight_decay`` and ``epsilons`` of an optimizer's groups by role: arguments of `Heard`. Weight decay of torch's
    optimizers is coupled, that of hptransfer's (whose groups know their peak) independent."""
    groups = {group["role"]: group for group in optimizer.param_groups}
    return {
        "lr": {role: group["lr"] for role, group in groups.items()},
        "weight_decay": {
            role: group["weight_decay"] * (1 if "peak_lr" in group else group["lr"]) for role, group in groups.items()
        },
        "epsilons": {role: group["eps"] for role, group in groups.items() if "eps" in group},
    }


def teach(model: nn.Module) -> dict[str, Tensor]:
    """Draw every parameter, and let each have the same known gradient at every step, whatever the loss; these, by name."""
    random, gradients = torch.Generator().manual_seed(0), {}
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.normal_(generator=random)
        gradients[name] = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
        parameter.register_hook(lambda _, known=gradients[name]: known)
    return gradients


def stepped(model: nn.Module, gradients: Mapping[str, Tensor], record: Canonical, folder: Path, steps: int) -> dict[str, Tensor]:
    """Parameters by name after ``steps`` of the predicted run, by hptransfer's own engine on a copy of the model."""
    path = folder / "record.json"
    path.write_text(record.model_dump_json())
    model, schedule = copy.deepcopy(model), record.known.training.schedule
    total = record.known.training.steps
    shape = {"warmup_steps": schedule.warmup_steps, **schedule.model_dump(include={"shape", "cooldown_fraction"})}
    optimizer = hptransfer.build_optimizer(model, path)
    for step in range(steps):
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizer.set_schedule(
            schedule_factor(step, steps=total, **shape), decay_factor(step, steps=total, shape=schedule.weight_decay)
        )
        optimizer.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def assert_moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Every parameter's update is the wanted one to 1e-6, entry by entry of its largest."""
    assert before.keys() == after.keys() == wanted.keys()
    for name, start in before.items():
        update, predicted = after[name] - start, wanted[name] - start
        assert predicted.abs().max() > 0, name
        assert (update - predicted).abs().max() < 1e-6 * predicted.abs().max(), name


def first_adamw_step(
    before: Mapping[str, Tensor], gradients: Mapping[str, Tensor], record: Canonical, role: Callable[[str], str]
) -> dict[str, Tensor]:
    """Parameters after AdamW's first step by its formula, U = g / (|g| + eps). ``role``: of a parameter's name."""
    found = {}
    for name, start in before.items():
        one, grad = record.known.optimizer.roles[role(name)], gradients[name]
        update = grad / (grad.abs() + one.epsilons["eps"])
        found[name] = start - one.lr * update - one.weight_decay * start
    return found


@contextmanager
def watched(model: nn.Module) -> Iterator[list[dict[str, Tensor]]]:
    """The gradients that the model's optimizer sees, by name, step by step."""
    seen: list[dict[str, Tensor]] = []
    by_name = {parameter: name for name, parameter in model.named_parameters()}

    def see(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append({by_name[p]: p.grad.clone() for group in optimizer.param_groups for p in group["params"]})

    watch = register_optimizer_step_post_hook(see)
    try:
        yield seen
    finally:
        watch.remove()


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
