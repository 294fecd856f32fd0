"""``python -m hptransfer.backtest``: predict the held-out part of a table of sweeps, and say how well that went."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from hptransfer import cli
from hptransfer.backtest.evaluate import OURS, Forecaster, HeldOut, calibration, evaluate, pooled
from hptransfer.backtest.rules import RULES
from hptransfer.base.errors import UsageError
from hptransfer.runs import Store
from hptransfer.transfer import table
from hptransfer.transfer.axes import from_ln, logarithm
from hptransfer.transfer.checks import preconditions
from hptransfer.transfer.frame import frame_of
from hptransfer.transfer.group import sweep_of
from hptransfer.transfer.sweep import Array, Sweep
from hptransfer.transfer.table import Columns

Split = tuple[str, pl.Series]  # what is held out in words, and which rows these are


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; errors are raised."""
    args = _parse(arguments)
    if args.table:
        source, frame = args.table, table.read_table(args.table, args.where)
    else:
        store = Store(args.store)
        source, frame = f"store {store.location}", frame_of(store.require_records().values(), args.where)
    columns = Columns(cli.names(args.group), cli.names(args.scale), cli.names(args.hp), args.loss)
    if not columns.scale or not 1 <= len(columns.hp) <= 2:
        raise UsageError("--scale names one column or more, and --hp one or two: regret is interpolated in so many")
    rules: dict[str, Forecaster] = {**RULES, **dict(_published(text, columns) for text in args.rule)}

    cli.console.print(f"backtest of {source}: {len(frame)} runs, loss {columns.loss}")
    results = []
    for name, group in table.split_groups(frame, columns).items():
        for check in preconditions(table.group_of(name, group, columns), None):
            if not check.ok:
                cli.console.print(f"{name}: {check.detail}")
        for words, held in _splits(group, columns, args):
            if cells := _evaluate(f"{name}, {words}", group, held, columns, rules):
                results.append((name, words, cells))
    if not results:
        raise UsageError("nothing to predict: no group has two scales to fit and a held-out one with runs")
    _print(results)
    every = [cell for _, _, cells in results for cell in cells]
    groups = [_object(name, words, cells, columns) for name, words, cells in results]
    cli.finish(args, {"rules": pooled(every), **calibration(every), "groups": groups})
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m hptransfer.backtest", description=__doc__)
    parser.add_argument("table", nargs="?", metavar="TABLE", help="CSV, Parquet or JSONL, one row per run")
    parser.add_argument("--store", metavar="DIR|URI", help="the runs of a store instead")
    parser.add_argument("--group", default="", metavar="A,B", help="columns that tell groups apart (store: optimizer,...)")
    parser.add_argument("--scale", default="width", metavar="N[,D]", help="columns of scale (width)")
    parser.add_argument("--hp", default="lr", metavar="A[,B]", help="columns to predict; log2_... is a logarithm already (lr)")
    parser.add_argument("--loss", default="loss", metavar="COLUMN", help="final loss; empty or nan: diverged (loss)")
    parser.add_argument("--where", metavar="SQL", help="keep the rows for which this holds")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="NAME:HP=SQL[;HP=SQL]", help="a published law to compare with; repeatable"
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--hold-out", metavar="SQL", help="rows to predict, as 'width > 512' (those of the largest scale)")
    split.add_argument("--nested", action="store_true", help="every split of the first scale, small to larger")
    split.add_argument("--leave-one-out", metavar="COLUMN", help="each value of a column in turn")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
    args = parser.parse_args(arguments)
    if bool(args.table) == bool(args.store):
        parser.error("give a table or --store, one of them")
    if args.store and not args.group:
        args.group = "optimizer,parametrization,corpus,schedule,depth,horizon,batch_tokens"
    return args


def _published(text: str, columns: Columns) -> tuple[str, Forecaster]:
    """A rule from the command line: SQL over the scale columns for each hyperparameter, in the column's own terms."""
    name, colon, rest = text.partition(":")
    parts = dict(part.split("=", 1) for part in rest.split(";") if "=" in part)
    formulas = {hp.strip(): formula for hp, formula in parts.items()}
    if not colon or set(formulas) != set(columns.hp) or name in (*RULES, OURS):
        raise UsageError(f"--rule {text!r} is not NAME:{';'.join(f'{hp}=SQL' for hp in columns.hp)} with a name of its own")

    def rule(known: Sweep, x: Array) -> Array:
        scales = zip(columns.scale, x.tolist(), strict=True)
        frame = pl.DataFrame({"row": [0], **{scale: [from_ln(scale, value)] for scale, value in scales}})
        values = {hp: table.sql_column(frame, formula).cast(pl.Float64) for hp, formula in formulas.items()}
        return np.array([logarithm(hp, values[hp][0]) for hp in columns.hp])

    return name, rule


def _splits(group: pl.DataFrame, columns: Columns, args: argparse.Namespace) -> Iterator[Split]:
    scale = columns.scale[0]
    values = sorted(group[scale].drop_nulls().unique().to_list())
    if args.hold_out:
        yield args.hold_out, table.condition(group, args.hold_out)
    elif args.leave_one_out:
        if args.leave_one_out not in group.columns:
            table.split_groups(group, Columns((args.leave_one_out,), (), (), None))
        for value in sorted(group[args.leave_one_out].drop_nulls().unique().to_list()):
            yield f"{args.leave_one_out} = {value}", group[args.leave_one_out] == value
    else:
        for value in values[1 if args.nested else -2 : -1]:
            yield f"{scale} > {value}", group[scale] > value


def _evaluate(words: str, group: pl.DataFrame, held: pl.Series, columns: Columns, rules: dict[str, Forecaster]) -> list[HeldOut]:
    """The held-out cells of a split; none, and a line why, where it cannot be judged."""
    if not held.any() or held.all():
        cli.console.print(f"{words}: skipped, {'all' if held.all() else 'no'} rows are held out")
        return []
    known, judged = (_sweep(words, group.filter(rows), columns) for rows in (~held, held))
    if len(known.x) < 2 or len(judged.x) == 0:
        cli.console.print(f"{words}: skipped, {len(known.x)} scales to fit and {len(judged.x)} to predict")
        return []
    return evaluate(known, judged, rules)


def _sweep(words: str, frame: pl.DataFrame, columns: Columns) -> Sweep:
    """The sweep of some rows; what is left out of it is said."""
    group = table.group_of(words, frame, columns)
    sweep, dropped = sweep_of(group.records, columns.scale, columns.hp)
    for note in (*group.notes, *([dropped] if dropped else [])):
        cli.console.print(f"{words}: {note}")
    return sweep


def _print(results: list[tuple[str, str, list[HeldOut]]]) -> None:
    every = [cell for _, _, cells in results for cell in cells]
    names = list(every[0].regrets)
    rows = [[name, words, *_row(cells, names)] for name, words, cells in results]
    columns = ["group", "held out", "cells", *names, "80 % interval", "error, log2"]
    rows.append(["pooled", "", *_row(every, names)])
    cli.table("regret, mean / max, % of loss; share of optima inside the interval", columns, rows)


def _row(cells: list[HeldOut], names: list[str]) -> list[Any]:
    by_rule, held = pooled(cells), calibration(cells)
    regrets = [f"{100 * by_rule[name]['mean_regret']:.3f} / {100 * by_rule[name]['max_regret']:.2f}" for name in names]
    inside = "-" if held["coverage_80"] is None else f"{held['coverage_80']:.0%} of {held['optima']}"
    return [len(cells), *regrets, inside, "-" if held["error_log2"] is None else f"{held['error_log2']:.2f}"]


def _object(name: str, words: str, cells: list[HeldOut], columns: Columns) -> dict[str, Any]:
    return {
        "group": name,
        "hold_out": words,
        "rules": pooled(cells),
        **calibration(cells),
        "cells": [_cell(cell, columns) for cell in cells],
    }


def _cell(cell: HeldOut, columns: Columns) -> dict[str, Any]:
    def named(values: Array) -> dict[str, float | None]:
        pairs = zip(columns.hp, values.tolist(), strict=True)
        return {hp: None if math.isnan(value) else from_ln(hp, value) for hp, value in pairs}

    covered = [None if math.isnan(value) else bool(value) for value in cell.covered.tolist()]
    return {
        "scale": {scale: from_ln(scale, value) for scale, value in zip(columns.scale, cell.x.tolist(), strict=True)},
        "predicted": {rule: named(value) for rule, value in cell.predicted.items()},
        "regret": {rule: value.value for rule, value in cell.regrets.items()},
        "outside_range": [rule for rule, value in cell.regrets.items() if value.edge],
        "optimum": named(cell.own),
        "low": named(cell.low),
        "high": named(cell.high),
        "covered": dict(zip(columns.hp, covered, strict=True)),
        "error_log2": None if np.isnan(cell.error).all() else float(np.nanmean(cell.error)) / math.log(2),
    }
