"""The arms that a command is about."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence

from hptransfer.base.errors import UsageError, unknown
from hptransfer.base.values import MOST
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.cells import SCALES
from hptransfer.experiment.experiment import Experiment, load_experiment
from hptransfer.experiment.settings import PARAMETRIZATIONS, Parametrization
from hptransfer.optimizers import RECIPES


def chosen_arms(args: argparse.Namespace, more: Sequence[str] = ()) -> tuple[Experiment, tuple[Arm, ...]]:
    """The experiment that ``--experiment``, ``--set`` and ``more`` assignments give, and the arms that the two options name, in
    their order: all of the experiment where there is none.

    A name is that of an arm. A recipe's stands, where no arm has it or parametrizations are named, for the recipe under these,
    by default the experiment's first. Arms that the experiment has not are added to it, and to ``args.set`` for the commands
    that follow. Raises UsageError for a name of neither, and for an arm that is named twice.
    """
    experiment = load_experiment(args.experiment, [*args.set, *more])
    kinds = _parametrizations(args.parametrization or ())
    if args.optimizer is None:
        recipes = [_of(experiment, name, kind) for kind in kinds or experiment.parametrizations for name in experiment.optimizers]
        own = [experiment.arm(name) for name in experiment.arms]
        found = [*recipes, *(arm for arm in own if not kinds or arm.parametrization in kinds)]
    else:
        found = [arm for name in args.optimizer for arm in _named(experiment, name, kinds)]
        if twice := [arm.name for arm in found if found.count(arm) > 1]:
            raise UsageError(f"--optimizer {','.join(args.optimizer)} names {twice[0]} twice")
        if kinds and not any(arm.parametrization in kinds for arm in found):
            raise UsageError(f"--parametrization {','.join(kinds)} is heeded by none of --optimizer {','.join(args.optimizer)}")
    arms = {arm.name: arm for arm in found}
    if not arms:
        raise UsageError("--optimizer and --parametrization name no arm")
    known = {arm.name for arm in experiment.compared}
    new = {
        name: {"optimizer": arm.optimizer, "parametrization": arm.parametrization}
        for name, arm in arms.items()
        if name not in known
    }
    if new:
        args.set.append(f"arms={json.dumps(new)}")
    return experiment.model_copy(update={"arms": {**experiment.arms, **new}}), tuple(arms.values())


def asked_scales(args: argparse.Namespace) -> dict[str, int]:
    """The scales of the run that is asked for, as ``--at``, and the options of single ones, name them. Raises UsageError for one
    that is none, or no whole number, and for one that two say."""
    found: dict[str, int] = {}
    for name, value in args.at.items():
        if name not in SCALES:
            raise unknown("scale", name, SCALES)
        if not (float(value).is_integer() and value <= MOST):
            raise UsageError(f"--at {name}={value:g}: {name} is no whole number up to {MOST}")
        found[name] = int(value)
    for name in SCALES:
        if (own := getattr(args, name, None)) is not None:
            if name in found:
                raise UsageError(f"--at {name}={found[name]} says {name}, and so does --{name.replace('_', '-')} {own}")
            found[name] = own
    return found


def arm_options(names: Iterable[str]) -> tuple[str, str]:
    """The options by which a command is about the arms of these names."""
    chosen = list(names)
    return f"--{'optimizer' if set(chosen) <= set(RECIPES.names()) else 'arm'}", ",".join(chosen)


def _named(experiment: Experiment, name: str, kinds: tuple[Parametrization, ...]) -> list[Arm]:
    known = {arm.name: arm for arm in experiment.compared}
    if name in RECIPES.names() and name not in experiment.arms and (kinds or name not in known):
        return [_of(experiment, name, kind) for kind in kinds or experiment.parametrizations[:1]]
    plain = {arm.name: arm for recipe in RECIPES.names() for kind in PARAMETRIZATIONS if (arm := Arm.of(recipe, kind))}
    if name not in known and name not in plain:
        raise unknown("arm or recipe", name, {*known, *RECIPES.names()})
    return [known.get(name) or plain[name]]


def _of(experiment: Experiment, recipe: str, kind: Parametrization) -> Arm:
    """The recipe's arm under a parametrization; one of the experiment that has its name goes before it."""
    plain = Arm.of(recipe, kind)
    return next((arm for arm in experiment.compared if arm.name == plain.name), plain)


def _parametrizations(names: Sequence[str]) -> tuple[Parametrization, ...]:
    if wrong := [name for name in names if name not in PARAMETRIZATIONS]:
        raise unknown("parametrization", wrong[0], PARAMETRIZATIONS)
    return tuple(names)  # type: ignore[arg-type]
