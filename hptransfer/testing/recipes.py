"""What every recipe must do, on a model of width 16."""

from __future__ import annotations

import math
import re
from itertools import product

import torch
from pydantic import ValidationError

from hptransfer.experiment.settings import PARAMETRIZATIONS, Parametrization
from hptransfer.experiment.space import load_space
from hptransfer.models.model import Model
from hptransfer.optimizers import RECIPES, Recipe
from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.optimizers.recipe import ROLES, Sides
from hptransfer.optimizers.rules.width import Ratios
from hptransfer.testing.small import (
    VOCAB,
    flat_weights,
    gradients,
    hidden_optimizer,
    model_and_optimizer,
    require,
    small_corpus,
    small_spec,
    take_steps,
    through_a_file,
)
from hptransfer.trainers.ours.build import chain, optimizer_flops, optimizer_state_bytes
from hptransfer.trainers.ours.spec import RunSpec

# A learning rate at which 30 steps learn something, by parametrization.
Rates = dict[Parametrization, float]


def check_recipe(recipe: Recipe, *, lr: float = 0.02, spectral_lr: float = 0.2) -> None:
    """Run every check on a registered recipe with its default options. ``lr``: one at which 30 steps learn something."""
    for check in RECIPE_CHECKS:
        check(recipe, {"mup": lr, "spectral": spectral_lr})


def options_are_sound(recipe: Recipe, rates: Rates) -> None:
    """Registered; options that have defaults, refuse unknown keys and go through JSON; a colour; a search space."""
    require(RECIPES.get(recipe.name) is recipe, f"{recipe.name} is not registered: RECIPES.add(recipe)")
    options = recipe.options()
    require(recipe.options.model_validate_json(options.model_dump_json()) == options, f"{recipe.name}: options change in JSON")
    try:
        recipe.options.model_validate({"no such option": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError(f"{recipe.name}: an unknown option is not refused")
    require(re.fullmatch("#[0-9A-Fa-f]{6}", recipe.colour) is not None, f"{recipe.name}: colour {recipe.colour!r} is not #RRGGBB")
    require(recipe.averages == (options.averaging() is not None), f"{recipe.name}: `averages` and `averaging` disagree")
    for parametrization in PARAMETRIZATIONS:
        load_space(recipe.name, parametrization, {})


def rules_are_one_at_the_base_shape(recipe: Recipe, rates: Rates) -> None:
    """A positive LR multiplier and epsilons for every role, which are the base values at the base shape."""
    options, base, grown = recipe.options(), Ratios(), Ratios(d_in=4.0, d_out=4.0, depth=2.0)
    for role, sides in product(ROLES, (Sides(left, right) for left in (False, True) for right in (False, True))):
        rule = recipe.rule(role, options, sides)
        require(rule.lr(base) == 1, f"{recipe.name}: the LR multiplier of {role} is {rule.lr(base)} at the base shape")
        require(0 < rule.lr(grown) < math.inf, f"{recipe.name}: the LR multiplier of {role} is {rule.lr(grown)}")
        for name, (value, scaled) in recipe.epsilons(role, options, sides).items():
            require(value > 0, f"{recipe.name}: {name} of {role} is {value}")
            require(scaled.eps(base) == 1, f"{recipe.name}: the multiplier of {name} is not 1 at the base shape")
    spec = small_spec(recipe.name, lr=rates["mup"])
    for group in spec.at(**{"optimizer.embedding_lr_ratio": 3.0}).groups():
        wanted = rates["mup"] * (3.0 if group.role in ("embedding", "readout") else 1.0)
        require(math.isclose(group.lr, wanted), f"{recipe.name}: the LR of {group.kind} is {group.lr} at the base shape")


def the_loss_falls_and_the_same_run_gives_the_same_bits(recipe: Recipe, rates: Rates) -> None:
    """From ln 32 = 3.47 towards the chain's entropy of ln 4 = 1.39."""
    for spec in _specs(recipe, rates):
        losses = _steps(spec, *model_and_optimizer(spec), 0, 30)
        where = f"{recipe.name} under {spec.parametrization} at LR {spec.optimizer.lr:g}"
        require(abs(losses[0] - math.log(VOCAB)) < 1e-5, f"{where}: the loss starts at {losses[0]}, not ln {VOCAB}")
        end = sum(losses[-5:]) / 5
        require(end < losses[0] - 1.0, f"{where}: 30 steps bring the loss from {losses[0]:.3f} to {end:.3f} only")
        require(_steps(spec, *model_and_optimizer(spec), 0, 12) == losses[:12], f"{where}: the same run twice gives other losses")


def a_state_dict_goes_through_a_file_and_continues_bitwise(recipe: Recipe, rates: Rates) -> None:
    """Over a refresh of preconditioners at step 10, and with the counters of refreshes and averages; in bfloat16 too."""
    for spec, precision in product(_specs(recipe, rates), ("float32", "bfloat16")):
        spec = spec.at(precision=precision)
        model, optimizer = model_and_optimizer(spec)
        optimizer.set_schedule(0.5)
        _steps(spec, model, optimizer, 0, 8)
        saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
        other_model, other = model_and_optimizer(spec.at(init_seed=9))
        other_model.load_state_dict(saved["model"])
        other.load_state_dict(saved["optimizer"])
        for one in (optimizer, other):
            one.set_schedule(0.25)
        where = f"{recipe.name} under {spec.parametrization} in {precision}"
        straight, resumed = _steps(spec, model, optimizer, 8, 12), _steps(spec, other_model, other, 8, 12)
        require(straight == resumed, f"{where}: a resumed run has other losses")
        require(torch.equal(flat_weights(model), flat_weights(other_model)), f"{where}: a resumed run has other weights")
        with optimizer.averaged(), other.averaged():
            require(torch.equal(flat_weights(model), flat_weights(other_model)), f"{where}: a resumed run has other averages")
        require(other.state_bytes() == optimizer.state_bytes(), f"{where}: a resumed run has a state of another size")


def stacked_equals_one_by_one(recipe: Recipe, rates: Rates) -> None:
    """Same-shape matrices are stepped as one stack; each alone ends the same."""
    shapes = [(16, 16)] * 3 + [(48, 16)] * 2 + [(16, 48)]
    grads = [gradients(shape, 12, torch.float64, seed) for seed, shape in enumerate(shapes)]
    for spec in _specs(recipe, rates):
        together, alone = ([torch.eye(*shape, dtype=torch.float64) for shape in shapes] for _ in range(2))
        optimizers = [hidden_optimizer(spec, weights, lr=0.1) for weights in (together, *([weight] for weight in alone))]
        for step in range(12):
            for weight, grad in zip(together + alone, grads + grads, strict=True):
                weight.grad = grad[step].clone()
            for optimizer in optimizers:
                optimizer.step()
        for ours, theirs in zip(together, alone, strict=True):
            off = ((ours - theirs).norm() / theirs.norm()).item()
            require(off < 1e-6, f"{recipe.name} under {spec.parametrization}: a stack of matrices steps {off:.1g} off each alone")


def every_parameter_is_in_one_group_with_the_final_numbers(recipe: Recipe, rates: Rates) -> None:
    """The LR and weight decay that `RunSpec.groups` resolves, and a chain that has no name twice."""
    changes = {"model.width": 64, "model.depth": 2, "model.positions": "learned", "optimizer.embedding_lr_ratio": 3.0}
    for spec in (spec.at(**changes) for spec in _specs(recipe, rates)):
        model, optimizer = model_and_optimizer(spec)
        resolved = {group.kind: group for group in spec.groups()}
        kinds = {parameter: spec.model.of.kind(name) for name, parameter in model.named_parameters()}
        seen = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        require(len(seen) == len(set(seen)) == len(kinds), f"{recipe.name}: a parameter is in no group, or in two")
        for group in optimizer.param_groups:
            wanted = resolved[group["kind"]]
            require(
                {kinds[parameter] for parameter in group["params"]} == {wanted.kind}, f"{recipe.name}: {wanted.kind} is mixed"
            )
            final = (group["lr"], group["weight_decay"], group["role"])
            require(final == (wanted.lr, wanted.weight_decay, wanted.role), f"{recipe.name}: {wanted.kind} has {final}")
            names = [transform.name for transform in chain(spec, wanted)]
            require(len(names) == len(set(names)), f"{recipe.name}: the chain of {wanted.kind} has a name twice: {names}")


def the_costs_are_known_before_the_run(recipe: Recipe, rates: Rates) -> None:
    """Bytes of state as they are held, and FLOPs that are not 0."""
    for spec in _specs(recipe, rates):
        _, optimizer = model_and_optimizer(spec)
        optimizer.allocate()
        told, held = optimizer_state_bytes(spec), optimizer.state_bytes()
        require(told == held, f"{recipe.name}: {told} bytes of state are told, {held} are held")
        require(optimizer_flops(spec) > 0, f"{recipe.name}: its FLOPs are {optimizer_flops(spec)}")


RECIPE_CHECKS = (
    options_are_sound,
    rules_are_one_at_the_base_shape,
    the_loss_falls_and_the_same_run_gives_the_same_bits,
    a_state_dict_goes_through_a_file_and_continues_bitwise,
    stacked_equals_one_by_one,
    every_parameter_is_in_one_group_with_the_final_numbers,
    the_costs_are_known_before_the_run,
)


def _specs(recipe: Recipe, rates: Rates) -> list[RunSpec]:
    """A run under each parametrization that there is a rate for and that the options allow."""
    allowed = {name: lr for name, lr in rates.items() if recipe.options().refusal(name) is None}
    return [small_spec(recipe.name, lr=lr, parametrization=name) for name, lr in allowed.items()]


def _steps(spec: RunSpec, model: Model, optimizer: ChainOptimizer, first: int, last: int) -> list[float]:
    return take_steps(CORPUS, spec, model, optimizer, first, last)


CORPUS = small_corpus()
