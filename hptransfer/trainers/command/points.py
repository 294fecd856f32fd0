"""From a point to the command of one run, and to the job that everybody else reads."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hptransfer.base.config import checked
from hptransfer.experiment.program import Program
from hptransfer.experiment.template import OF_THE_ATTEMPT
from hptransfer.optimizers import get_recipe
from hptransfer.optimizers.recipe import ROLES, Role, Sides
from hptransfer.optimizers.rules.width import Ratios
from hptransfer.runs.point import Job, Kind, Number, Point

# How a role's input and output grow where the width grows by r.
GROWTH: dict[Role, tuple[int, int]] = {"embedding": (0, 1), "hidden": (1, 1), "readout": (1, 0), "vector": (0, 1)}


def resolve(point: Point) -> Job:
    """The job of a point. Raises UsageError, in one line, where a formula has no value."""
    program = program_of(point)
    scales, sizes = _scales(point, program)
    at_base = _scales(point.model_copy(update={"scales": point.scales | point.settings["base"]}), program)[0]
    base = {name: value for name, value in at_base.items() if name != "parameters"} | point.settings["base"]
    point = point.model_copy(update={"scales": scales, "settings": point.settings | {"base": base}})
    kinds = _kinds(point, program)
    values = _values(point, sizes, kinds)
    seen = {
        "command": program.template.render(values, keep=OF_THE_ATTEMPT),
        "loss": program.model_dump(mode="json", include={"loss", "maximize"}),
        "depends": point.settings["depends"],
        "seeds": [point.init_seed, point.data_seed],
    }
    files = (f"{name} {sha256[:8]}" for name, sha256 in point.settings["depends"].items())
    return Job(
        run_id=hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16],
        point=point,
        parameters=None if "parameters" not in sizes else int(sizes["parameters"]),
        flops=None if "flops" not in sizes else float(sizes["flops"]),
        kinds=kinds,
        exponents=_exponents(point),
        constants={"program": ", ".join(files) or program.command, "loss": str(seen["loss"]["loss"])},
        details={"command": seen["command"]},
    )


def program_of(point: Point) -> Program:
    """The program of a run."""
    return checked(Program, point.settings["program"], "the run's program")


def command(job: Job, attempt: Mapping[str, Any]) -> str:
    """The command of an attempt, by `OF_THE_ATTEMPT`."""
    point, program = job.point, program_of(job.point)
    return program.template.render(_values(point, program.sizes(point.scales), job.kinds) | dict(attempt))


def _scales(point: Point, program: Program) -> tuple[dict[str, Number], dict[str, Number]]:
    """The complete scales, and all sizes. What a formula says goes before a scale that another width had, unless it was set."""
    horizon = point.settings.get("horizon") or {}
    given: dict[str, Number] = {name: point.scales[name] for name in ("width", "depth") if name in point.scales}
    for name in ("tokens", "batch_tokens"):
        formula = name in program.formulas and name not in program.fixed
        follows = horizon.get("policy") == "formula" if name == "tokens" else formula
        if name in point.scales and not follows:
            given[name] = point.scales[name]
    sizes = program.sizes(given)
    return given | {name: sizes[name] for name in ("tokens", "batch_tokens") if name in sizes}, sizes


def _ratios(point: Point) -> dict[Role, Ratios]:
    base = point.settings["base"]
    grown, deeper = point["width"] / base["width"], point.scales.get("depth", 1) / base.get("depth", 1)
    return {
        role: Ratios(d_in=grown**d_in, d_out=grown**d_out, depth=deeper if role == "hidden" else 1.0)
        for role, (d_in, d_out) in GROWTH.items()
    }


def _kinds(point: Point, program: Program) -> tuple[Kind, ...]:
    """The final numbers of the roles that the command takes, each as one weight of the width's size; none where it takes a base
    learning rate."""
    if not program.template.roles:
        return ()
    settings, tuned, width = point.settings, point.hyperparameters, round(point["width"])
    recipe, ratios, found = get_recipe(settings["optimizer"]), _ratios(point), []
    options = checked(recipe.options, settings["options"], f"options of {recipe.name}")
    for role in ROLES:
        d_in, d_out = (width if grows else 1 for grows in GROWTH[role])
        sides = options.sides(role, d_out, d_in) if recipe.serves(role) else Sides()
        lr = tuned["lr"] * (tuned.get("embedding_lr_ratio", 1.0) if role in ("embedding", "readout") else 1.0)
        lr *= recipe.rule(role, options, sides).lr(ratios[role]) if settings["parametrization"] == "mup" else 1.0
        decay = Job(run_id="", point=point).weight_decay if recipe.decays(role) else 0.0
        found.append(
            Kind(
                name=role, role=role, d_out=d_out, d_in=d_in, count=1, lr=lr, weight_decay=decay, sides=(sides.left, sides.right)
            )
        )
    return tuple(found)


def _values(point: Point, sizes: Mapping[str, Number], kinds: Sequence[Kind]) -> dict[str, Any]:
    """What the placeholders stand for. ``{weight_decay}`` is final and independent; coupled, it is that over the LR of the role,
    as torch's AdamW takes it."""
    lr, decay = point["lr"], Job(run_id="", point=point).weight_decay
    values: dict[str, Any] = {
        **point.scales,
        **sizes,
        **point.hyperparameters,
        "seed": point.init_seed,
        "data_seed": point.data_seed,
    }
    if {"tokens", "batch_tokens"} <= values.keys():
        values["steps"] = max(1, round(values["tokens"] / values["batch_tokens"]))
    values |= {"weight_decay": decay, "weight_decay_coupled": decay / lr}
    for kind in kinds:
        values |= {
            f"lr.{kind.role}": kind.lr,
            f"weight_decay.{kind.role}": kind.weight_decay,
            f"weight_decay_coupled.{kind.role}": kind.weight_decay / kind.lr,
        }
    return values


def _exponents(point: Point) -> dict[str, float]:
    """Exponents of lr* with width in the point's coordinates: 0 under mup, the hidden and the readout rule's under sp, none of
    unknown coordinates."""
    settings = point.settings
    if settings["parametrization"] == "unknown":
        return {}
    if settings["parametrization"] == "mup":
        return {"hidden": 0.0, "readout": 0.0}
    recipe = get_recipe(settings["optimizer"])
    options = checked(recipe.options, settings["options"], f"options of {recipe.name}")
    doubled: dict[Role, Ratios] = {"hidden": Ratios(d_in=2.0, d_out=2.0), "readout": Ratios(d_in=2.0)}
    return {role: math.log2(recipe.rule(role, options, Sides()).lr(ratios)) for role, ratios in doubled.items()}
