"""From a point to a run of this trainer, and to the job that everybody else reads. No torch."""

from __future__ import annotations

import math
from typing import Literal

from hptransfer.base.config import checked
from hptransfer.base.errors import UsageError
from hptransfer.optimizers.recipe import Sides
from hptransfer.optimizers.rules.width import Ratios, block_count
from hptransfer.runs.point import Job, Kind, Number, Point
from hptransfer.trainers.ours.spec import NUMERICS_VERSION, RunSpec

KEPT = (
    "parametrization",
    "weight_decay_rule",
    "data",
    "schedule",
    "evaluation",
    "precision",
)  # settings that a run has as they are


def resolve(point: Point) -> Job:
    """The job of a point. Raises UsageError, in one line, where there is no such run."""
    return job_of(spec_of(point))


def spec_of(point: Point) -> RunSpec:
    """The run of a point; scales and settings that it leaves out (the base's other scales) follow from the rest."""
    scales, settings, tuned = point.scales, point.settings, point.hyperparameters
    model, base, horizon = settings["model"], settings["base"], settings["horizon"]
    where = f"{settings['optimizer']} at width {scales['width']:g}"
    batch_sequences, rest = divmod(scales["batch_tokens"], model["context"])
    if rest or batch_sequences < 1:
        raise UsageError(
            f"{where}: batch_tokens {scales['batch_tokens']} is no positive multiple of the context, {model['context']}"
        )
    shape = {"depth": scales["depth"], "vocab": settings["data"]["vocab"]}
    fields = {name: settings[name] for name in KEPT} | {
        "model": model | shape | {"width": scales["width"]},
        "base": {"depth": scales["depth"], "tokens": 1, "batch_tokens": scales["batch_tokens"]} | base,
        "optimizer": {"recipe": settings["optimizer"], "options": settings["options"], **tuned},
        "horizon": horizon | ({"tokens": scales["tokens"]} if horizon["policy"] == "tokens" else {}),
        "batch_sequences": batch_sequences,
        "init_seed": point.init_seed,
        "data_seed": point.data_seed,
    }
    spec = checked(RunSpec, fields, where)
    if "tokens" not in base:  # of the base run: that of the same horizon at the base shape
        shape = {"width": spec.base.width, "depth": spec.base.depth}
        at_base = checked(RunSpec, fields | {"model": fields["model"] | shape}, where)
        spec = spec.model_copy(update={"base": spec.base.model_copy(update={"tokens": at_base.tokens})})
    return spec


def job_of(spec: RunSpec) -> Job:
    """A run as everybody else sees it."""
    groups = {group.kind: group for group in spec.groups()}
    kinds = [
        Kind(
            name=group.kind,
            role=group.role,
            d_out=weight.d_out,
            d_in=weight.d_in,
            count=weight.count,
            lr=group.lr,
            weight_decay=group.weight_decay,
            epsilons=group.epsilons,
            sides=(group.sides.left, group.sides.right),
        )
        for weight in spec.model.weights()
        for group in [groups[weight.kind]]
    ]
    options = spec.optimizer.resolved_options
    return Job(
        run_id=spec.run_id,
        point=point_of(spec),
        parameters=spec.model.parameters(),
        flops=spec.flops,
        kinds=tuple(kinds),
        exponents={role: _exponent(spec, role) for role in ("hidden", "readout")},
        constants={
            "block size": str(spec.block_size),
            "optimizer options": str(options),
            "schedule": str(spec.schedule),
            "corpus": f"{spec.data.corpus} {spec.data.sha256[:8]}",
        },
        uncovered=options.uncovered() if spec.parametrization == "mup" else (),
        details={
            "options": spec.unscaled_options(tuple(groups.values())),
            "residual_multiplier": spec.residual_multiplier,
        },
    )


def point_of(spec: RunSpec) -> Point:
    """The complete point of a run."""
    optimizer, horizon, model = spec.optimizer, spec.horizon, spec.model.model_dump(mode="json")
    scales: dict[str, Number] = {
        "width": spec.model.width,
        "depth": spec.model.depth,
        "tokens": spec.tokens,
        "batch_tokens": spec.batch_tokens,
    }
    kept = dict(spec.model_dump(mode="json", include=set(KEPT)).items())
    return Point(
        scales=scales,
        hyperparameters=optimizer.model_dump(include={"lr", "weight_decay", "embedding_lr_ratio"}),
        settings=kept
        | {
            "trainer": "ours",
            "numerics": NUMERICS_VERSION,
            "optimizer": optimizer.recipe,
            "options": optimizer.resolved_options.model_dump(mode="json"),
            "base": spec.base.model_dump(),
            "model": {name: value for name, value in model.items() if name not in ("width", "depth", "vocab")},
            "horizon": horizon.model_dump(exclude={"tokens"}, exclude_none=True)
            if horizon.policy == "tpp"
            else {"policy": "tokens"},
        },
        init_seed=spec.init_seed,
        data_seed=spec.data_seed,
    )


def _exponent(spec: RunSpec, role: Literal["hidden", "readout"]) -> float:
    """Exponent gamma of the role's lr* ~ width^gamma in the run's base coordinates: 0 unless under sp."""
    if spec.parametrization != "sp":
        return 0.0
    options, recipe, width = spec.optimizer.resolved_options, spec.optimizer.rules, spec.base.width
    grows = role == "hidden"
    sides = options.sides(role, width if grows else spec.model.vocab, width) if recipe.serves(role) else Sides()
    blocks = block_count(2 * width, spec.block_size) / block_count(width, spec.block_size)
    n_in, n_out = blocks if sides.right else 1.0, blocks if sides.left and grows else 1.0
    ratios = Ratios(d_in=2.0, d_out=2.0 if grows else 1.0, n_in=n_in, n_out=n_out)
    return math.log2(recipe.rule(role, options, sides).lr(ratios))
