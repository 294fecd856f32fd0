"""What every model family must do, on models of width 16 to 64."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from hptransfer.experiment.model import ModelChoice
from hptransfer.models import FAMILIES
from hptransfer.models.family import AnyFamily, Shape
from hptransfer.models.model import Model
from hptransfer.models.shapes import mup_ratios
from hptransfer.optimizers.recipe import ROLES
from hptransfer.testing.small import VOCAB, flat_weights, require
from hptransfer.trainers.ours.spec import ModelSpec

WIDTH, DEPTH = 16, 2
AnyShape = Shape[Any]


def check_family(family: AnyFamily, config: Mapping[str, Any] | None = None) -> None:
    """Run every check on a registered family. ``config``: its keys with which a model of width 16 and its doubles can be."""
    shape = Shape(WIDTH, DEPTH, VOCAB, family.config.model_validate(dict(config or {})))
    for check in FAMILY_CHECKS:
        check(family, shape)


def keys_are_its_own(family: AnyFamily, shape: AnyShape) -> None:
    """Registered; its keys are none of those that every model has; a spec and the presets validate; words about it."""
    require(FAMILIES.get(family.name) is family, f"{family.name} is not registered: FAMILIES.add(family)")
    taken = {"width", "preset", *ModelSpec.model_fields} & set(family.config.model_fields)
    require(not taken, f"{family.name}: config has keys that every model has: {', '.join(sorted(taken))}")
    for preset in family.presets:
        ModelChoice.model_validate({"family": family.name, "preset": preset})
    spec = _spec(family, shape)
    require(ModelSpec.model_validate_json(spec.model_dump_json()) == spec, f"{family.name}: a spec changes in JSON")
    summary, words = family.summary(shape.config), family.describe(shape)
    require(bool(summary) and "\n" not in summary, f"{family.name}: summary is {summary!r}, not one line")
    require(bool(words.get("architecture")) and bool(words.get("init")), f"{family.name}: describe says no architecture or init")


def kinds_cover_every_parameter(family: AnyFamily, shape: AnyShape) -> None:
    """Once, with the dimensions that `Family.weights` says, at every width; and their sizes add up to the model's."""
    names = [[weight.kind for weight in family.weights(_wider(shape, factor))] for factor in (1, 2, 4)]
    require(names[0] == names[1] == names[2], f"{family.name}: the kinds of weight depend on the width: {names}")
    require(len(set(names[0])) == len(names[0]), f"{family.name}: a kind of weight is named twice: {names[0]}")
    for wide in (_wider(shape, factor) for factor in (1, 2)):
        kinds, counts = {weight.kind: weight for weight in family.weights(wide)}, Counter[str]()
        model = _meta(family, wide)
        for name, parameter in model.named_parameters():
            kind = family.kind(name)
            require(kind in kinds, f"{family.name}: {name} is of kind {kind!r}, which `weights` does not have")
            weight = kinds[kind]
            require(weight.role in ROLES, f"{family.name}: {kind} has role {weight.role!r}, none of {', '.join(ROLES)}")
            dims = {"embedding": (weight.d_in, weight.d_out), "vector": (weight.d_out,)}
            wanted = dims.get(weight.role, (weight.d_out, weight.d_in))
            require(tuple(parameter.shape) == wanted, f"{family.name}: {name} is {tuple(parameter.shape)}, not {wanted}")
            counts[kind] += 1
        for kind, weight in kinds.items():
            require(counts[kind] == weight.count, f"{family.name}: {counts[kind]} of {kind}, where `weights` says {weight.count}")
        total = sum(parameter.numel() for parameter in model.parameters())
        told = _spec(family, wide).parameters()
        require(total == told, f"{family.name}: {total} parameters, where `weights` says {told}")


def flops_grow(family: AnyFamily, shape: AnyShape) -> None:
    """Positive, and more with width, depth and vocabulary."""
    flops = family.flops_per_token(shape)
    require(0 < flops < math.inf, f"{family.name}: {flops} FLOPs per token")
    for name in ("width", "depth", "vocab"):
        more = family.flops_per_token(replace(shape, **{name: 2 * getattr(shape, name)}))
        require(more > flops, f"{family.name}: twice the {name} costs {more} FLOPs per token, not more than {flops}")


def mup_agrees_with_the_ratios(family: AnyFamily, shape: AnyShape) -> None:
    """The infinite-width shapes that ``mup`` reads off the built model are the ratios of the dimensions in `Family.weights`."""
    base = {weight.kind: weight for weight in family.weights(shape)}
    for wide in (_wider(shape, factor) for factor in (1, 2, 4)):
        grown = {weight.kind: weight for weight in family.weights(wide)}
        for name, found in mup_ratios(family, wide, shape).items():
            kind = family.kind(name)
            wanted = (grown[kind].d_in / base[kind].d_in, grown[kind].d_out / base[kind].d_out)
            require(found == wanted, f"{family.name}: {name} grew by {found} where `weights` says {wanted}")


def initialisation_is_of_its_seed_alone(family: AnyFamily, shape: AnyShape) -> None:
    """And its readout is zero, so that the loss starts at ln vocab."""
    torch.manual_seed(0)
    first = flat_weights(_model(family, shape))
    torch.manual_seed(1)
    require(torch.equal(first, flat_weights(_model(family, shape))), f"{family.name}: init depends on torch's own generator")
    require(
        not torch.equal(first, flat_weights(_model(family, shape, seed=1))), f"{family.name}: init does not depend on its seed"
    )
    inputs, targets = _tokens(shape)
    loss = _model(family, shape)(inputs, targets).item()
    require(abs(loss - math.log(shape.vocab)) < 1e-5, f"{family.name}: the loss starts at {loss}, not ln {shape.vocab}")


def tokens_to_logits_and_losses(family: AnyFamily, shape: AnyShape) -> None:
    """Logits of every position from the tokens up to it; with targets their cross-entropy in nats, by each reduction."""
    model, (inputs, targets) = _drawn(family, shape), _tokens(shape)
    with torch.no_grad():
        logits = model(inputs)
        wanted = (*inputs.shape, shape.vocab)
        require(tuple(logits.shape) == wanted, f"{family.name}: logits are {tuple(logits.shape)}, not {wanted}")
        targets[0, : inputs.size(1) // 2] = -100
        each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        count = (targets != -100).sum()
        plain = {"mean": each.sum() / count, "sum": each.sum(), "none": each}
        for reduction, value in plain.items():
            found = model(inputs, targets, reduction)
            close = found.shape == value.shape and torch.allclose(found, value, rtol=1e-9, atol=1e-9)
            require(close, f"{family.name}: reduction {reduction!r} is not the cross-entropy of the logits")
        last = inputs.size(1) // 2
        other = inputs.clone()
        other[:, last] = (other[:, last] + 1) % shape.vocab
        same = torch.allclose(model(other)[:, :last], logits[:, :last], rtol=1e-9, atol=1e-9)
        require(same, f"{family.name}: a later token changes earlier logits")
        require(not torch.allclose(model(other), logits), f"{family.name}: the logits do not depend on the tokens")
    model(inputs, targets).backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    require(not silent, f"{family.name}: no gradient reaches {', '.join(silent)}")


def parts_are_found(family: AnyFamily, shape: AnyShape) -> None:
    """Units to shard, which are modules of the model, and what the coordinate check listens to."""
    model, (inputs, _) = _drawn(family, shape), _tokens(shape)
    units = model.units()
    require(len(units) > 0 and set(units) <= set(model.modules()), f"{family.name}: units() gives no modules of the model")
    seen = model.activations(inputs)
    require(set(seen) == {"embedding", "hidden", "readout"}, f"{family.name}: activations are {sorted(seen)}")
    for name, value in seen.items():
        wanted = (*inputs.shape, shape.vocab if name == "readout" else shape.width)
        require(tuple(value.shape) == wanted, f"{family.name}: activation {name} is {tuple(value.shape)}, not {wanted}")
    hooks = [module for module in model.modules() if module._forward_hooks]
    require(not hooks, f"{family.name}: activations() leaves hooks behind")


FAMILY_CHECKS = (
    keys_are_its_own,
    kinds_cover_every_parameter,
    flops_grow,
    mup_agrees_with_the_ratios,
    initialisation_is_of_its_seed_alone,
    tokens_to_logits_and_losses,
    parts_are_found,
)


def _wider(shape: AnyShape, factor: int) -> AnyShape:
    return replace(shape, width=factor * shape.width)


def _spec(family: AnyFamily, shape: AnyShape) -> ModelSpec:
    size = {"family": family.name, "width": shape.width, "depth": shape.depth, "vocab": shape.vocab}
    return ModelSpec.model_validate(size | shape.config.model_dump())


def _meta(family: AnyFamily, shape: AnyShape) -> Model:
    with torch.device("meta"):
        return family.build(shape)


def _model(family: AnyFamily, shape: AnyShape, seed: int = 0) -> Model:
    model = family.build(shape)
    model.initialize(torch.Generator().manual_seed(seed))
    return model


def _drawn(family: AnyFamily, shape: AnyShape) -> Model:
    """In float64, with no weight zero, so that every path carries something."""
    model, generator = family.build(shape).double(), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def _tokens(shape: AnyShape) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of three sequences."""
    drawn = torch.randint(0, shape.vocab, (3, shape.config.context + 1), generator=torch.Generator().manual_seed(0))
    return drawn[:, :-1], drawn[:, 1:].clone()
