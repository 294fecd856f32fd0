"""The arms that a command is about."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from hptransfer.base.errors import UsageError, unknown
from hptransfer.cli import names
from hptransfer.experiment.experiment import Arm, Experiment
from hptransfer.experiment.settings import PARAMETRIZATIONS, Parametrization
from hptransfer.optimizers import RECIPES


def add_arm_options(parser: argparse.ArgumentParser, *, help: str = "arms, or recipes (those of the experiment)") -> None:
    """The options that `chosen_arms` reads; ``help``: what names stand for here."""
    parser.add_argument("--optimizer", "--arm", metavar="NAME[,NAME]", help=help)
    parser.add_argument("--parametrization", metavar=",".join(PARAMETRIZATIONS), help="of recipes and arms (the experiment's)")


def chosen_arms(experiment: Experiment, optimizer: str | None, parametrization: str | None) -> tuple[Experiment, tuple[Arm, ...]]:
    """The arms that the two options name, in their order; all of the experiment where there is none. The experiment comes back
    with those that it had not.

    A name is that of an arm. A recipe's stands, where no arm has it or parametrizations are named, for the recipe under these,
    by default the experiment's first. Raises UsageError for a name of neither, and for an arm that is named twice.
    """
    kinds = _parametrizations(parametrization)
    if optimizer is None:
        recipes = [Arm.of(name, kind) for kind in kinds or experiment.parametrizations for name in experiment.optimizers]
        own = [experiment.arm(name) for name in experiment.arms]
        arms = [*recipes, *(arm for arm in own if not kinds or arm.parametrization in kinds)]
    else:
        arms = [arm for name in names(optimizer) for arm in _named(experiment, name, kinds)]
    if not arms:
        raise UsageError("--optimizer and --parametrization name no arm")
    if twice := [arm.name for arm in arms if arms.count(arm) > 1]:
        raise UsageError(f"--optimizer {optimizer} names {twice[0]} twice")
    known = {arm.name for arm in experiment.compared}
    new = {
        arm.name: {"optimizer": arm.optimizer, "parametrization": arm.parametrization} for arm in arms if arm.name not in known
    }
    return experiment.model_copy(update={"arms": {**experiment.arms, **new}}), tuple(arms)


def arm_options(arms: Iterable[Arm]) -> str:
    """The options by which a command is about ``arms`` of its experiment."""
    return f"--optimizer {','.join(arm.name for arm in arms)}"


def _named(experiment: Experiment, name: str, kinds: tuple[Parametrization, ...]) -> list[Arm]:
    known = {arm.name: arm for arm in experiment.compared}
    if name in RECIPES.names() and name not in experiment.arms and (kinds or name not in known):
        return [Arm.of(name, kind) for kind in kinds or experiment.parametrizations[:1]]
    plain = {arm.name: arm for recipe in RECIPES.names() for kind in PARAMETRIZATIONS if (arm := Arm.of(recipe, kind))}
    if name not in known and name not in plain:
        raise unknown("arm or recipe", name, {*known, *RECIPES.names()})
    return [known.get(name) or plain[name]]


def _parametrizations(text: str | None) -> tuple[Parametrization, ...]:
    found = names(text or "")
    if wrong := [name for name in found if name not in PARAMETRIZATIONS]:
        raise unknown("parametrization", wrong[0], PARAMETRIZATIONS)
    return found  # type: ignore[return-value]
