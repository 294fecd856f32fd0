"""The commands: of each its name, what it is for, the options that it has, and the function that does it.

A function is named, not imported: ``--help`` must not wait for torch or Ray. So what the options say of names that live beside
the functions is written out here; tests/cli holds the two together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple

from hptransfer.base.errors import unknown
from hptransfer.cli import options


class Stage(NamedTuple):
    """One command. ``main``: "module:function" of its parsed options; ``environment``: what must be set before that is imported,
    unless the user has."""

    name: str
    summary: str
    options: Callable[[argparse.ArgumentParser], None]
    main: str
    environment: Mapping[str, str] = {}


def stage(name: str) -> Stage:
    """The command of that name. Raises UsageError with the nearest known name."""
    if name not in STAGES:
        raise unknown("command", name, STAGES)
    return STAGES[name]


# -- options of one command --------------------------------------------------------------------------------------------


def _plan(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.search(parser)
    options.survival(parser, "with what `validate --survival` runs")
    speed = parser.add_mutually_exclusive_group()
    hardware = "a100, h100, h200, b200, l40s, rtx4090, mi300x, cpu"
    speed.add_argument("--hardware", metavar="NAME", help=f"{hardware} (that of the runs in the store, else cpu)")
    speed.add_argument(
        "--flops-per-second", type=options.positive, metavar="X", help="model FLOP/s that you measured on one device"
    )
    peak = "of --hardware's peak that training reaches (0.4)"
    parser.add_argument("--utilization", type=options.share, metavar="SHARE", help=peak)
    at_once = "devices at once (1; of CPUs the cores of this machine)"
    parser.add_argument("--devices", type=options.count, metavar="N", help=at_once)


def _search(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.search(parser)
    options.retry_failed(parser, "run again what failed; it counts as a trial otherwise")
    parser.add_argument("--profile", action="store_true", help="say where the wall time went")


def _transfer(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.arms(parser)
    options.width(parser, "target width (the experiment's)")
    tokens, batch = "tokens of the target run (the experiment's horizon)", "batch of the target run in tokens (the experiment's)"
    parser.add_argument("--tokens", type=options.count, metavar="N", help=tokens)
    parser.add_argument("--batch-tokens", type=options.count, metavar="N", help=batch)
    options.at(parser, "the target's scales at once (those of the experiment); a table's own")
    options.output(parser, "PATH", "prediction file (predictions/<experiment>/<arm>-<width>.json)")
    parser.add_argument("--rule", choices=("base", "last", "powerlaw"), help="take a simple rule's values in place of the fit's")
    parser.add_argument("--force", action="store_true", help="predict where a precondition is missing; the check still fails")
    table = parser.add_argument_group("from a table instead of the store")
    place = "a table, tracker or storage of runs; `import --look` says what is there"
    table.add_argument("--table", type=options.path, metavar="PLACE", help=place)
    options.columns(table)
    options.page(table)


def _backtest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=options.path, nargs="?", metavar="TABLE", help="a table, tracker or storage of runs")
    options.store(parser, "the runs of a store instead")
    options.columns(parser, group_help=" (store: optimizer,...)")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="NAME:HP=SQL[;HP=SQL]", help="a published law to compare with; repeatable"
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--hold-out", metavar="SQL", help="rows to predict, as 'width > 512' (those of the largest scale)")
    split.add_argument("--nested", action="store_true", help="every split of the first scale, small to larger")
    split.add_argument("--leave-one-out", metavar="COLUMN", help="each value of a column in turn")
    options.page(parser)
    options.as_json(parser)


def _validate(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.arms(parser)
    options.width(parser, "held-out width (the experiment's)")
    options.predictions(parser)
    options.retry_failed(parser, "run again what failed at the held-out width")
    options.survival(parser, "at the searched widths too: whether the multiplier holds")
    options.workers(parser, "data-parallel workers of a predicted run (1)")
    options.output(parser, "FOLDER", "(reports/<experiment>/)")


def _train(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.prediction(parser, width_help="width to train at (the prediction's)")
    options.at(parser, "other scales to train at, with the values transferred (the prediction's)")
    options.workers(parser, "data-parallel workers, each with a GPU if any (1)")
    parser.add_argument("--strategy", choices=("ddp", "fsdp"), default="ddp", help="whole models, or sharded by FSDP2 (ddp)")
    parser.add_argument("--accumulate", type=options.count, default=1, metavar="N", help="parts a worker takes its batch in (1)")
    parser.add_argument("--threads", type=options.count, default=1, metavar="N", help="CPUs of each worker (1)")
    again = "times that dead workers are started again (3)"
    parser.add_argument("--failures", type=options.count_from_0, default=3, metavar="N", help=again)
    after = "say after how many tokens (the experiment's)"
    parser.add_argument("--target-loss", type=options.positive, metavar="NATS", help=after)


def _store(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    parser.add_argument("--import", dest="table", type=options.path, metavar="PLACE", help="what `import` takes in")
    _columns(parser)
    parser.add_argument("--compact", action="store_true", help="gather the run files into few Parquet files")
    parser.add_argument("--upgrade", action="store_true", help="bring records of earlier versions up to date")


def _columns(parser: argparse.ArgumentParser) -> None:
    """The table's own names for ours."""
    settings = "lr, weight_decay, weight_decay_coupled, embedding_lr_ratio, seed, loss, arm, optimizer, parametrization"
    names = f"the table's names for width, depth, tokens, batch_tokens, {settings}"
    parser.add_argument("--columns", metavar="lr=NAME,...", help=names)


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "place",
        type=options.path,
        metavar="PLACE",
        help="a table, tracker or storage, of runs of the experiment; lr in base coordinates",
    )
    parser.add_argument("--look", action="store_true", help="write nothing: say what each column is taken for, and what follows")
    _columns(parser)
    parser.add_argument("--maximize", action="store_true", help="look: the highest loss is the best, as of an accuracy")
    options.source(parser)
    options.common(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.output(parser, "FOLDER", "report folder (reports/<experiment>/)")
    options.predictions(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--live", action="store_true", help="follow a search that runs: a page that keeps itself up to date")
    kind.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="two experiments (names or files) side by side, in reports/compare-A-B/"
    )


def _data(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    parser.add_argument(
        "--write", type=options.path, metavar="DIR", required=True, help="a new folder, or one that this has written before"
    )


def _coordcheck(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.arms(parser, "arm, or recipe (the experiment's only one)")
    options.widths(parser, "(32 to 512)", default=[32, 64, 128, 256, 512])
    quarter = "in base coordinates (a quarter of the tuned one)"
    parser.add_argument("--lr", type=options.positive, metavar="LR", help=quarter)
    judged = "(3 10 50; up to 10 are judged)"
    parser.add_argument("--steps", type=options.count, nargs="+", default=[3, 10, 50], metavar="T", help=judged)
    parser.add_argument("--seeds", type=options.count, default=5, metavar="N", help="the median is taken over them (5)")
    parser.add_argument("--option", action="append", default=[], metavar="a.b=c", help="option of the recipe; repeatable")
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help="of a width: a model of yours in place of the experiment's")
    parser.add_argument("--role", action="append", default=[], metavar="REGEX=ROLE", help="of parameters of --model; repeatable")
    parser.add_argument(
        "--as-built", action="store_true", help="leave --model's initial values and logits as the function makes them"
    )
    folder = "reports/coordcheck"
    options.output(
        parser, "FILE.svg", f"({folder}/<optimizer>-<parametrization>.svg; <arm>.svg of an arm with settings of its own)"
    )


def _export(parser: argparse.ArgumentParser) -> None:
    options.common(parser)
    options.prediction(parser)
    trainers = "torchtitan, torchtitan-main, deepspeed, olmo-core, nanochat, megatron-lm, levanter"
    hosts = f"json, torch, transformers, lightning, litgpt, {trainers}"
    parser.add_argument("--target", type=options.names, default="json", metavar="HOST[,HOST]", help=f"{hosts}, or all (json)")
    parser.add_argument("--list", action="store_true", help="which host can say this prediction, and why another cannot")
    options.output(parser, "FOLDER", "a folder for each host goes in it (exports/..., as the prediction in predictions/...)")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", metavar="NAME", help="the implementation that the LR is of, as torch.original")
    parser.add_argument("--to", dest="target", metavar="NAME", help="the one that is to take it, as dion.spectral_norm")
    parser.add_argument("--shape", nargs="+", metavar="4096x1024", help="of a weight matrix, d_out x d_in; one or several")
    parser.add_argument("--lr", type=options.positive, metavar="LR", help="learning rate of its matrices")
    decay = "weight decay, to be converted with it"
    parser.add_argument("--weight-decay", type=options.not_negative, metavar="WD", help=decay)
    parser.add_argument("--list", action="store_true", help="what implementations there are, each with its formula and source")
    options.as_json(parser)


def _laws(parser: argparse.ArgumentParser) -> None:
    actions = ("fit", "predict", "plot", "compare", "sensitivity", "series")
    parser.add_argument("action", choices=actions, metavar="ACTION", help=", ".join(actions))
    laws = "chinchilla, isoflop, envelope, farseer, skaling, annealing, multi-power, t2, progress"
    parser.add_argument("law", type=options.names, nargs="?", metavar="LAW[,LAW]", help=f"{laws}; several to compare")
    options.common(parser)
    rows = "one row per run, or per step of a law of curves (the experiment's cells in the store)"
    parser.add_argument("--table", type=options.path, metavar="PLACE", help=f"a table, tracker or storage, {rows}")
    parser.add_argument(
        "--scale", metavar="N=COLUMN,D=SQL", help="the law's columns in the table's: 'N=params,D=flops/(6*params)'"
    )
    parser.add_argument("--loss", metavar="COLUMN", help="final loss; empty or nan: diverged (loss)")
    options.source(parser)
    parser.add_argument("--hold-out", metavar="SQL", help="rows that are predicted and not fitted (a check on the largest scale)")
    each = "of a sweep, the row of the lowest loss for each value of these columns"
    parser.add_argument("--lowest", type=options.names, metavar="A,B", help=each)
    conventions = "all, non_embedding, matrices_and_readout, standard, best_fit"
    parser.add_argument("--convention", metavar="NAME", help=f"how parameters are counted: {conventions}")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="option of the law; repeatable")
    parser.add_argument(
        "--flops",
        type=options.positives,
        default=(),
        metavar="C[,C]",
        help="training budgets whose optimum is asked for (decades from the largest run)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--at", action="append", default=[], metavar="N=1e9,D=2e10", help="what to predict; repeatable")
    where.add_argument(
        "--to", type=options.path, metavar="FILE", help="a table of what to predict, such as another schedule's steps"
    )
    options.output(parser, "FOLDER", "of the page that plot writes (reports/law-LAW/), and compare and series where it is given")


# -- all commands ------------------------------------------------------------------------------------------------------

# The fits behind a refused prediction are small. On a machine that trains beside, the threads of a BLAS wait for each other:
# 20 s for 0.7 s of work. It reads this when numpy is imported.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}

# In the order in which they are used.
STAGES = {
    one.name: one
    for one in (
        Stage("plan", "runs, FLOPs, hours and expected regret, before anything is spent", _plan, "hptransfer.plan.command:main"),
        Stage(
            "search",
            "search LR and weight decay at small widths; records go to the store",
            _search,
            "hptransfer.search.command:main",
        ),
        Stage(
            "transfer",
            "predict LR and weight decay at the target width, with an interval, from the store or any table of runs",
            _transfer,
            "hptransfer.transfer.command:main",
        ),
        Stage(
            "backtest",
            "predict the held-out part of any table of sweeps, and say how well that went",
            _backtest,
            "hptransfer.backtest.command:main",
        ),
        Stage(
            "validate",
            "prove the prediction at a held-out width, against an equally tuned AdamW",
            _validate,
            "hptransfer.validate.command:main",
        ),
        Stage(
            "train",
            "train the predicted run, or a wider one with its values, on as many workers as you like",
            _train,
            "hptransfer.train.command:main",
        ),
        Stage(
            "store",
            "what is in the store; import runs from a table; gather its files into few",
            _store,
            "hptransfer.store.command:main",
        ),
        Stage(
            "import",
            "take in runs that were trained elsewhere, from a table, tracker or storage; or only look at them",
            _import,
            "hptransfer.import.command:main",
        ),
        Stage("report", "one page with the answer and the evidence", _report, "hptransfer.report.command:main", ONE_THREAD),
        Stage(
            "data",
            "write the corpus of an experiment, for a trainer of your own to read",
            _data,
            "hptransfer.data.command:main",
        ),
        Stage(
            "coordcheck",
            "whether every role moves by the same amount at every width, as slopes with a verdict",
            _coordcheck,
            "hptransfer.coordcheck.command:main",
        ),
        Stage(
            "laws",
            "scaling laws: fit one to a table of runs, predict from it, compare laws on held-out scales",
            _laws,
            "hptransfer.laws.command:main",
        ),
        Stage("export", "the configuration for another trainer", _export, "hptransfer.export.command:main"),
        Stage(
            "convert",
            "a learning rate of Muon, or AdamW, in the units of another implementation of Muon",
            _convert,
            "hptransfer.convert.command:main",
        ),
    )
}
