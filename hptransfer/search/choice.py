"""Which arms, widths and trials the command line asks for."""

from __future__ import annotations

import argparse

from hptransfer.experiment import Experiment
from hptransfer.experiment.choice import add_arm_options, chosen_arms
from hptransfer.experiment.experiment import Arm


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """The options that `chosen_search` reads."""
    add_arm_options(parser)
    parser.add_argument("--widths", type=int, nargs="+", metavar="W", help="widths searched (the experiment's)")
    parser.add_argument("--trials", type=int, metavar="N", help="finished runs per arm and width")


def chosen_search(args: argparse.Namespace) -> tuple[Experiment, tuple[Arm, ...]]:
    """The experiment with the command line's choices over it, and its arms that are searched; what the next stages must share
    goes into ``args.set``."""
    if args.widths:
        args.set.append(f"widths={args.widths}".replace(" ", ""))
    trials = [] if args.trials is None else [f"search.trials={args.trials}"]
    return chosen_arms(args, trials)
