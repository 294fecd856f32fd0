"""Which arms, widths and trials the command line asks for."""

from __future__ import annotations

import argparse
from typing import Any

from hptransfer.base.config import validate
from hptransfer.cli import names
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import RECIPES, get_recipe


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `chosen_experiment` reads."""
    parser.add_argument("--optimizer", "--arm", metavar="NAME[,NAME]", help="arms, or recipes (those of the experiment)")
    parser.add_argument("--parametrization", metavar=",".join(PARAMETRIZATIONS), help="(the experiment's)")
    parser.add_argument("--widths", type=int, nargs="+", metavar="W", help="widths searched (the experiment's)")
    parser.add_argument("--trials", type=int, metavar="N", help="finished runs per arm and width")


def chosen_experiment(args: argparse.Namespace) -> Experiment:
    """The experiment with the command line's choices over it, and no other arms; what the next stages must share goes into
    ``args.set``."""
    if args.parametrization:
        args.set.append(f"parametrizations=[{args.parametrization}]")
    if args.widths:
        args.set.append(f"widths={args.widths}".replace(" ", ""))
    trials = [] if args.trials is None else [f"search.trials={args.trials}"]
    experiment = load_experiment(args.experiment, [*args.set, *trials])
    if not args.optimizer:
        kinds = experiment.parametrizations if args.parametrization else PARAMETRIZATIONS
        own = {name: arm for name, arm in experiment.arms.items() if experiment.arm(name).parametrization in kinds}
        return experiment.model_copy(update={"arms": own})
    short, known = [], {arm.name: arm for arm in experiment.compared}
    arms: dict[str, Any] = {}
    for name in names(args.optimizer):
        if name in experiment.arms:
            arms[name] = experiment.arms[name]
        elif name in known and name not in RECIPES.names():
            arms[name] = {"optimizer": known[name].optimizer, "parametrization": known[name].parametrization}
        else:
            short.append(get_recipe(name).name)
    fields = experiment.model_dump(mode="json", exclude_unset=True) | {"optimizers": short, "arms": arms}
    return validate(Experiment, fields, f"--optimizer {args.optimizer}")
