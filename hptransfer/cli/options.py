"""The options that several commands have, each declared once, and how their values are read and written.

What an option means may differ between commands, and its default with it: then it is an argument here.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from hptransfer.base import values
from hptransfer.base.errors import UsageError

DEFAULT_EXPERIMENT = "quickstart"
DEFAULT_STORE = "runs"
UNSAID: tuple[Any, ...] = (None, False, [], (), {}, DEFAULT_EXPERIMENT, DEFAULT_STORE)

T = TypeVar("T")


def _typed(read: Callable[[str], T]) -> Callable[[str], T]:
    """A kind of value as argparse takes it."""

    @functools.wraps(read)
    def typed(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


# Of every option a kind; what names none is a line of text (`hptransfer.cli.start.Parser`).
text = _typed(values.text)
program = _typed(values.program)
path = _typed(values.path)
count = _typed(values.count)
count_from_0 = _typed(values.count_from_0)
positive = _typed(values.positive)
positives = _typed(values.positives)
not_negative = _typed(values.not_negative)
share = _typed(values.share)
names = _typed(values.names)
scales = _typed(values.scales)


def refuse_unheeded(args: argparse.Namespace, where: str, *options: str) -> None:
    """Raises UsageError for the first of these options that was given: a command that goes the way that ``where`` says, as "with
    --table", would not heed it."""
    for name in options:
        value = getattr(args, name)
        if value not in UNSAID:
            raise UsageError(f"--{name.replace('_', '-')}{_shown(value)} is not heeded {where}; leave it out")


def _shown(value: Any) -> str:
    """An option's value as it is typed."""
    if value is True:
        return ""
    return f" {value[0] if isinstance(value, list) else ','.join(map(str, value)) if isinstance(value, tuple) else value}"


def selection(args: argparse.Namespace, *, store: bool = True) -> tuple[str, ...]:
    """The options that make another command speak about the same experiment, and ``store``."""
    words = "--experiment", args.experiment, *(word for assignment in args.set for word in ("--set", assignment))
    return words if args.store == DEFAULT_STORE or not store else (*words, "--store", args.store)


# -- what all have -----------------------------------------------------------------------------------------------------


def common(parser: argparse.ArgumentParser) -> None:
    """Experiment, store and the form of the answer: what every command about an experiment has."""
    parser.add_argument(
        "--experiment",
        type=path,
        default=DEFAULT_EXPERIMENT,
        metavar="NAME|FILE",
        help=f"experiments/NAME.yaml or a file ({DEFAULT_EXPERIMENT})",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", help="override a value of the experiment; repeatable"
    )
    store(parser, f"where the records are ({DEFAULT_STORE})", default=DEFAULT_STORE)
    as_json(parser)


def store(parser: argparse.ArgumentParser, help: str, *, default: str | None = None) -> None:
    parser.add_argument("--store", type=path, default=default, metavar="DIR|URI", help=help)


def page(parser: argparse._ActionsContainer) -> None:
    """The page of a table, which has no store."""
    parser.add_argument(
        "--report", type=path, metavar="FOLDER", help="write a page: curves, optimum against scale, rules, intervals"
    )


def as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")


def output(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    parser.add_argument("--output", type=path, metavar=metavar, help=help)


# -- which arms, widths and runs ---------------------------------------------------------------------------------------


def arms(parser: argparse.ArgumentParser, help: str = "arms, or recipes (those of the experiment)") -> None:
    """The options that `hptransfer.experiment.choice.chosen_arms` reads; ``help``: what names stand for here."""
    parser.add_argument("--optimizer", "--arm", type=names, metavar="NAME[,NAME]", help=help)
    recipes = "of recipes; arms keep theirs (the experiment's)"
    parser.add_argument("--parametrization", type=names, metavar="mup,sp,spectral", help=recipes)


def search(parser: argparse.ArgumentParser) -> None:
    """The options that `hptransfer.search.choice.chosen_search` reads."""
    arms(parser)
    widths(parser, "widths searched (the experiment's)")
    own = "a program of your own: 'python train.py --w {width} --lr {lr}'"
    parser.add_argument("--command", type=program, metavar="TEXT", help=own)
    parser.add_argument("--loss", metavar="REGEX", help="where --command's output has its loss (loss, and a number)")
    parser.add_argument("--trials", type=count, metavar="N", help="finished runs per arm and width, or cell")


def widths(parser: argparse.ArgumentParser, help: str, *, default: list[int] | None = None) -> None:
    parser.add_argument("--widths", type=count, nargs="+", default=default, metavar="W", help=help)


def width(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--width", type=count, metavar="W", help=help)


def at(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--at", type=scales, default={}, metavar="width=W,depth=L,tokens=D", help=help)


def retry_failed(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--retry-failed", action="store_true", help=help)


def survival(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--survival", action="store_true", help=help)


def workers(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--workers", type=count, default=1, metavar="N", help=help)


# -- which predictions -------------------------------------------------------------------------------------------------


def prediction(parser: argparse.ArgumentParser, *, width_help: str = "target width (the experiment's)") -> None:
    """The options that `hptransfer.transfer.choice.chosen` reads; ``width_help``: what that one means."""
    file = "prediction file (predictions/<experiment>/<arm>-<width>.json)"
    parser.add_argument("--prediction", type=path, metavar="FILE", help=file)
    arms(parser, "arm, where no file is given (the experiment's only one)")
    width(parser, width_help)


def predictions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--predictions",
        type=path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="instead of those that the runs in the store give",
    )


# -- the columns of a table --------------------------------------------------------------------------------------------


def source(parser: argparse._ActionsContainer) -> None:
    """How a table is read."""
    kinds = "csv, excel, parquet, json, wandb, wandb-run, optuna, ray, mlflow, tensorboard, store"
    parser.add_argument("--source", metavar="KIND", help=f"what it is, where that is not told by itself: {kinds}")
    parser.add_argument("--where", metavar="SQL", help="keep the rows for which this holds")


def columns(parser: argparse._ActionsContainer, *, group_help: str = "") -> None:
    """Which columns of a table are what; what is not said is found by its usual names."""
    parser.add_argument("--group", metavar="A,B", help=f"columns that tell groups apart{group_help}")
    parser.add_argument("--scale", metavar="N[,D]", help="columns of scale (that of a usual name: width, d_model, ...)")
    parser.add_argument(
        "--hp", metavar="A[,B]", help="columns to predict (lr, learning_rate, ...); log2_... is a logarithm already"
    )
    parser.add_argument(
        "--loss",
        metavar="COLUMN",
        help="final loss; empty or nan: diverged (loss, val/loss, ...; without one every row is an optimum)",
    )
    parser.add_argument("--maximize", action="store_true", help="of --loss the highest is the best, as of an accuracy")
    source(parser)
