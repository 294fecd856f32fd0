"""The options that several commands have, each declared once, and how their values are read and written.

What an option means may differ between commands, and its default with it: then it is an argument here.
"""

from __future__ import annotations

import argparse
import shlex

DEFAULT_EXPERIMENT = "quickstart"
DEFAULT_STORE = "runs"


def names(text: str) -> tuple[str, ...]:
    """A comma-separated option."""
    return tuple(stripped for name in text.split(",") if (stripped := name.strip()))


def selection(args: argparse.Namespace) -> str:
    """The options that make another command speak about the same experiment and store."""
    words = ["--experiment", args.experiment, *(word for assignment in args.set for word in ("--set", assignment))]
    return shlex.join(words + ([] if args.store == DEFAULT_STORE else ["--store", args.store]))


# -- what all have -----------------------------------------------------------------------------------------------------


def common(parser: argparse.ArgumentParser) -> None:
    """Experiment, store and the form of the answer: what every command about an experiment has."""
    parser.add_argument(
        "--experiment",
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
    parser.add_argument("--store", default=default, metavar="DIR|URI", help=help)


def page(parser: argparse._ActionsContainer) -> None:
    """The page of a table, which has no store."""
    parser.add_argument("--report", metavar="FOLDER", help="write a page: curves, optimum against scale, rules, intervals")


def as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")


def output(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    parser.add_argument("--output", metavar=metavar, help=help)


# -- which arms, widths and runs ---------------------------------------------------------------------------------------


def arms(parser: argparse.ArgumentParser, help: str = "arms, or recipes (those of the experiment)") -> None:
    """The options that `hptransfer.experiment.choice.chosen_arms` reads; ``help``: what names stand for here."""
    parser.add_argument("--optimizer", "--arm", metavar="NAME[,NAME]", help=help)
    parser.add_argument("--parametrization", metavar="mup,sp,spectral", help="of recipes; arms keep theirs (the experiment's)")


def search(parser: argparse.ArgumentParser) -> None:
    """The options that `hptransfer.search.choice.chosen_search` reads."""
    arms(parser)
    widths(parser, "widths searched (the experiment's)")
    parser.add_argument("--command", metavar="TEXT", help="a program of your own: 'python train.py --w {width} --lr {lr}'")
    parser.add_argument("--loss", metavar="REGEX", help="where --command's output has its loss (loss, and a number)")
    parser.add_argument("--trials", type=int, metavar="N", help="finished runs per arm and width, or cell")


def widths(parser: argparse.ArgumentParser, help: str, *, default: list[int] | None = None) -> None:
    parser.add_argument("--widths", type=int, nargs="+", default=default, metavar="W", help=help)


def width(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--width", type=int, metavar="W", help=help)


def retry_failed(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--retry-failed", action="store_true", help=help)


def survival(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--survival", action="store_true", help=help)


def workers(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--workers", type=int, default=1, metavar="N", help=help)


# -- which predictions -------------------------------------------------------------------------------------------------


def prediction(parser: argparse.ArgumentParser, *, width_help: str = "target width (the experiment's)") -> None:
    """The options that `hptransfer.transfer.choice.chosen` reads; ``width_help``: what that one means."""
    parser.add_argument("--prediction", metavar="FILE", help="prediction file (predictions/<experiment>/<arm>-<width>.json)")
    arms(parser, "arm, where no file is given (the experiment's only one)")
    width(parser, width_help)


def predictions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--predictions", nargs="+", default=[], metavar="FILE", help="instead of those that the runs in the store give"
    )


# -- the columns of a table --------------------------------------------------------------------------------------------


def source(parser: argparse._ActionsContainer) -> None:
    """How a table is read."""
    kinds = "csv, excel, parquet, json, wandb, wandb-run, optuna, ray, mlflow, tensorboard, store"
    parser.add_argument("--source", metavar="KIND", help=f"what it is, where that is not told by itself: {kinds}")
    parser.add_argument("--where", metavar="SQL", help="keep the rows for which this holds")


def columns(parser: argparse._ActionsContainer, *, group_help: str = "") -> None:
    """Which columns of a table are what; what is not said is found by its usual names."""
    parser.add_argument("--group", default="", metavar="A,B", help=f"columns that tell groups apart{group_help}")
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
