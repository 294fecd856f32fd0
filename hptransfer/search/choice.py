"""Which arms, widths and trials the command line asks for."""

from __future__ import annotations

import argparse
import json

from hptransfer.base.errors import UsageError
from hptransfer.cli import DEFAULT_EXPERIMENT
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.choice import chosen_arms

TARGET = 4


def chosen_search(args: argparse.Namespace) -> tuple[Experiment, tuple[Arm, ...]]:
    """The experiment with the command line's choices over it, and its arms that are searched; what the next stages must share
    goes into ``args.set``."""
    if args.command is not None:
        _use_program(args)
    elif args.loss is not None:
        raise UsageError("--loss says where the loss of --command is; there is none")
    if args.widths:
        args.set.append(f"widths={args.widths}".replace(" ", ""))
    trials = [] if args.trials is None else [f"search.trials={args.trials}"]
    return chosen_arms(args, trials)


def _use_program(args: argparse.Namespace) -> None:
    """``--command`` as the experiment ``program`` with the values that make it, in ``args``; its target is `TARGET` times the
    widest width unless that is set."""
    if args.experiment != DEFAULT_EXPERIMENT:
        raise UsageError(f"--command makes an experiment of its own; {args.experiment} says its trainer.command in its file")
    if not args.widths:
        raise UsageError("--command needs --widths, the widths to search")
    args.experiment = "program"
    first = [f"trainer.command={json.dumps(args.command)}", f"target_width={TARGET * max(args.widths)}"]
    first += [f"trainer.loss={json.dumps(args.loss)}"] if args.loss is not None else []
    args.set[:] = [*first, *args.set]
