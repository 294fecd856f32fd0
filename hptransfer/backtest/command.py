"""``hptransfer backtest``: predict the held-out part of a table of sweeps, and say how well that went."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from hptransfer import cli
from hptransfer.backtest.evaluate import HeldOut, calibration, pooled
from hptransfer.backtest.splits import STORE_GROUP, Backtest, Hold, backtest_intake
from hptransfer.base.errors import UsageError
from hptransfer.cli.tables import columns_words, read_table
from hptransfer.report.build import write_page
from hptransfer.report.sweeps import Swept, backtested
from hptransfer.runs import Store
from hptransfer.runs.sources.intake import Intake
from hptransfer.runs.sources.meanings import Columns, listed
from hptransfer.transfer.cost import LOST
from hptransfer.transfer.frame import intake_of_records
from hptransfer.transfer.table import groups_of


def main(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised."""
    if bool(args.table) == bool(args.store):
        raise UsageError("give a table or --store, one of them")
    if args.store:
        cli.refuse_unheeded(args, "with --store, whose columns are known", "source", "maximize")
    found = read_table(args, args.table) if args.table else _of_store(args)
    cli.console.print(f"backtest of {found.place}: {len(found.frame)} runs, {columns_words(found.columns)}")
    hold = Hold(rows=args.hold_out, each=args.leave_one_out, nested=args.nested)
    judged = backtest_intake(found, hold, _published(args.rule))
    for note in (*judged.notes, *judged.failed):
        cli.console.print(note)
    _print(judged)
    written: list[str] = []
    if args.report:
        outcomes = [Swept.of(group) for group in groups_of(found).values()]
        written = write_page(Path(args.report), "sweeps.md", *backtested(found.place, outcomes, judged))
    cli.finish(args, judged.as_dict(), written=written)
    return 0


def _of_store(args: argparse.Namespace) -> Intake:
    store = Store(args.store)
    group, scale, hp = (listed(pl.DataFrame(), text) for text in (args.group, args.scale, args.hp))
    columns = Columns(group or STORE_GROUP, scale or ("width",), hp or ("lr",), args.loss or "loss")
    return intake_of_records(store.require_records().values(), f"store {store.location}", columns, args.where)


def _published(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Rules from the command line: by name, an SQL formula for each hyperparameter."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        name, _, rest = (word.strip() for word in text.partition(":"))
        parts = [[word.strip() for word in part.partition("=")] for part in rest.split(";")]
        if not name or not all(hp and formula for hp, _, formula in parts):
            raise UsageError(f"--rule {text!r} is not NAME:HP=SQL[;HP=SQL]")
        if name in found or len({hp for hp, *_ in parts}) < len(parts):
            raise UsageError(f"--rule {text!r} says again what is said already: a rule and its hyperparameters have one formula")
        found[name] = {hp: formula for hp, _, formula in parts}
    return found


def _print(found: Backtest) -> None:
    names = list(found.regret)
    rows = [[split.group, split.hold_out, *_row(split.cells, names)] for split in found.splits]
    columns = ["group", "held out", "cells", *names, "80 % interval", "error, log2"]
    rows.append(["pooled", "", *_row(found.cells, names)])
    cli.table(
        f"regret in % of loss: robust mean (no cell above {LOST:.0%}, diverged ones as that), mean / max; share of optima inside",
        columns,
        rows,
    )


def _row(cells: Sequence[HeldOut], names: list[str]) -> list[Any]:
    by_rule, held = pooled(cells), calibration(cells)
    regrets = [_regret(by_rule[name]) for name in names]
    inside = "-" if held["coverage_80"] is None else f"{held['coverage_80']:.0%} of {held['optima']}"
    return [len(cells), *regrets, inside, "-" if held["error_log2"] is None else f"{held['error_log2']:.2f}"]


def _regret(rule: Mapping[str, float]) -> str:
    lost = f"; {rule['diverged']} diverged" if rule["diverged"] else ""
    return f"{100 * rule['robust_mean_regret']:.3f}, {100 * rule['mean_regret']:.3f} / {100 * rule['max_regret']:.2f}{lost}"
