"""How good predictions are, on worlds whose truth is known and on public sweeps whose large cells are held out.

    python -m benchmarks.prediction worlds [--worlds 300] [--kinds cliff,axes] --output FILE.json
    python -m benchmarks.prediction splits [--splits mup66] [--data FOLDER] --output FILE.json
    python -m benchmarks.prediction compare OLD.json NEW.json

Regrets are robust: that of each cell or world counts up to 5 %, a diverged run as 5 %. What crashes is named, and the rest goes
on.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

import hptransfer
from benchmarks.tables import markdown_table
from hptransfer.backtest.splits import Backtest
from hptransfer.base.errors import first_line
from hptransfer.base.intervals import TAIL, Interval
from hptransfer.base.refusals import Refused
from hptransfer.cli import console
from hptransfer.runs.sources.intake import intake
from hptransfer.runs.sources.meanings import Asked
from hptransfer.runs.sources.reading import Rows, read_rows
from hptransfer.testing.worlds import KINDS, World, draw
from hptransfer.transfer.cost import LOST
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import heard_by
from hptransfer.transfer.table import groups_of
from hptransfer.transfer.target import bare_job, table_target

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
RULES = ("hptransfer", "base", "last", "powerlaw")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")

Row = dict[str, Any]  # by column; regrets and coverage in %


# -- worlds ------------------------------------------------------------------------------------------------------------


def predicted(rows: Rows, world: World) -> Interval:
    """The best LR that is predicted of a world's group, from all of its table. Raises Refused."""
    found = intake(rows, Asked(("group",), world.scales, ("lr",), "loss"))
    groups, target = groups_of(found), table_target(found.columns, world.at)
    others = heard_by(list(groups.values()), target).get(world.group)
    return predict_group(groups[world.group], target, bare_job, others=others).hyperparameters["lr"]


def judged(job: tuple[str, int]) -> Row:
    """What became of the prediction of one world: its kind and seed."""
    kind, seed = job
    world, row = draw(kind, seed), Row(kind=kind, seed=seed)
    rows, start = read_rows(world.table), time.perf_counter()
    try:
        lr = predicted(rows, world)
    except Refused as refused:
        return row | {"refused": str(refused), "seconds": time.perf_counter() - start}
    except Exception as error:
        return row | {"crash": _crash(error), "seconds": time.perf_counter() - start}
    seconds = time.perf_counter() - start
    assert lr.low is not None and lr.high is not None
    value, low, high = math.log(lr.value), math.log(lr.low), math.log(lr.high)
    miss = max(low - world.best, world.best - high, 0.0)
    return row | {
        "error": value - world.best,
        "low": low - world.best,
        "high": high - world.best,
        "regret": world.regret(value),
        "score": high - low + miss / TAIL,
        "seconds": seconds,
    }


def of_kinds(worlds: Sequence[Row]) -> list[Row]:
    """A row for each kind; refused and crashed worlds count as such alone. Half widths and interval scores in ln."""
    rows = []
    for kind in dict.fromkeys(world["kind"] for world in worlds):
        every = [world for world in worlds if world["kind"] == kind]
        known = [world for world in every if "error" in world]
        rows.append(
            {
                "kind": kind,
                "worlds": len(every),
                "refused": sum("refused" in world for world in every),
                "crashed": sum("crash" in world for world in every),
                "coverage, %": _mean(100.0 * (world["low"] <= 0 <= world["high"]) for world in known),
                "robust mean regret, %": _mean(100 * world["regret"] for world in known),
                "half width": _mean((world["high"] - world["low"]) / 2 for world in known),
                "interval score": _mean(world["score"] for world in known),
                "seconds": _mean(world["seconds"] for world in every),
            }
        )
    return rows


# -- splits ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """A file of sweeps and the options of `hptransfer.backtest`; ``keep``: which of its rows count."""

    file: str
    options: Mapping[str, Any]
    keep: pl.Expr | None = None


PAPER = {"group": ("optimizer", "parametrization"), "scale": "width", "hp": "log2_lr_multiplier"}
STEPLAW = {"loss": "smooth_loss", "hp": ("lr", "bs")}
GUNDLACH = {"group": "group", "hp": "log10_lr", "loss": "val_loss", "nested": True}
WIDE = pl.col("dim").n_unique().over("group") >= 3
SPLITS = {
    "paper, width > 512": Split("paper_lr_sweeps.csv", {**PAPER, "hold_out": "width > 512"}),
    "paper, nested": Split("paper_lr_sweeps.csv", {**PAPER, "nested": True}),
    "steplaw N,D, N > 1e9": Split("steplaw_dense.csv", {**STEPLAW, "scale": ("N", "D"), "hold_out": "N > 1e9"}),
    "steplaw N,D, each N": Split("steplaw_dense.csv", {**STEPLAW, "scale": ("N", "D"), "leave_one_out": "N"}),
    "steplaw D,N, nested": Split("steplaw_dense.csv", {**STEPLAW, "scale": ("D", "N"), "nested": True}),
    "steplaw bs, nested": Split("steplaw_dense.csv", {**STEPLAW, "group": ("N", "D"), "scale": "bs", "hp": "lr", "nested": True}),
    "gundlach dim, nested": Split("gundlach_lr_sweeps.csv", {**GUNDLACH, "scale": "dim"}, WIDE),
    "gundlach dim,tokens, nested": Split(
        "gundlach_lr_sweeps.csv",
        {**GUNDLACH, "scale": ("dim", "tokens")},
        WIDE & (pl.col("tokens").n_unique().over("group") >= 2),
    ),
    "gshard experts, nested": Split("gshard_lr_sweeps.csv", {"group": "steps", "scale": "experts", "hp": "lr", "nested": True}),
    "mup66 width, nested": Split("mup66.csv", {"scale": "width", "hp": "log2_lr", "nested": True}),
}


def backtested(name: str, data: Path) -> Row:
    """A split's row, with all of its backtest as ``found``; ``crashed`` names what did not work."""
    split, start = SPLITS[name], time.perf_counter()
    row = Row(split=name)
    try:
        frame = read_rows(data / split.file).frame
        found = hptransfer.backtest(frame if split.keep is None else frame.filter(split.keep), **split.options)
        row |= scored(found)
        row |= {"seconds": time.perf_counter() - start, "found": found.as_dict()}
    except Exception as error:
        row |= {"seconds": time.perf_counter() - start, "crashed": _crash(error)}
    return row


def scored(found: Backtest) -> Row:
    """The numbers of a backtest; ``above 5 %`` and ``diverged`` count predictions of ours."""
    row: Row = {"cells": len(found.cells)}
    for rule in RULES:
        regrets = np.array([cell.regrets[rule].value for cell in found.cells])
        given, capped = found.regret[rule], np.minimum(regrets, LOST)
        row[f"{rule}, %"] = 100 * float(given.get("robust_mean_regret", capped.mean()))
        row[f"{rule} max, %"] = 100 * float(given.get("robust_max_regret", capped.max()))
    held = found.calibration
    return row | {
        "coverage, %": None if held["coverage_80"] is None else 100 * held["coverage_80"],
        "p of 80 %": coverage_p(found),
        "optima": held["optima"],
        "interval score, log2": held["interval_score_log2"],
        "above 5 %": sum(cell.regrets["hptransfer"].value > LOST for cell in found.cells),
        "diverged": found.regret["hptransfer"].get("diverged"),
    }


def coverage_p(found: Backtest) -> float | None:
    """If intervals held 80 %, how likely a coverage at least as far from it is: two-sided, by a t test in which the predictions
    of one held-out cell, which are judged by the same runs, count as one."""
    by_cell: dict[tuple[Any, ...], float] = {}
    for split in found.splits:
        for cell in split.cells:
            key = (split.group, *cell.x.round(6).tolist())
            by_cell[key] = by_cell.get(key, 0.0) + float(np.nansum(cell.covered - (1 - 2 * TAIL)))
    off = np.array(list(by_cell.values()))
    spread = math.sqrt(float(off @ off))
    return 2 * float(stats.t.sf(abs(off.sum()) / spread, len(off))) if spread else None


# -- all ---------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Print a Markdown table, and write it with what it sums up to the output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    worlds, splits, compare = (parts.add_parser(name) for name in ("worlds", "splits", "compare"))
    worlds.add_argument("--worlds", type=int, default=300, metavar="N", help="of each kind")
    worlds.add_argument("--kinds", default=",".join(KINDS), metavar="NAME[,NAME]")
    splits.add_argument("--splits", default="", metavar="WORD[,WORD]", help="those whose names have one of the words (all)")
    splits.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="of the public sweeps")
    for part in (worlds, splits):
        part.add_argument("--processes", type=int, default=1, metavar="N")
        part.add_argument("--output", type=Path, required=True, metavar="FILE")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    args = parser.parse_args()
    if args.part == "compare":
        _print(compared(*(json.loads(path.read_text())["rows"] for path in (args.old, args.new))))
        return
    if args.part == "worlds":
        every = list(_mapped(judged, [(kind, seed) for kind in args.kinds.split(",") for seed in range(args.worlds)], args))
        rows, details = of_kinds(every), every
    else:
        names = [name for name in SPLITS if any(word in name for word in args.splits.split(","))]
        details = []
        for row in _mapped(partial(backtested, data=args.data), names, args):
            details.append(row)
            console.print(f"{row['split']}: {row['seconds']:.0f} s {row.get('crashed', '')}", soft_wrap=True, markup=False)
        rows = [{name: value for name, value in row.items() if name != "found"} for row in details]
    args.output.write_text(json.dumps({"rows": rows, "details": details}, indent=1))
    _print([{name: _word(value) for name, value in row.items()} for row in rows])


def compared(old: Sequence[Row], new: Sequence[Row]) -> list[dict[str, str]]:
    """Rows of the same name side by side: one value where both have it, else before → after."""
    (name,) = {next(iter(row)) for row in (*old, *new)}
    before, after = ({row[name]: row for row in rows} for rows in (old, new))
    found = []
    for key in dict.fromkeys((*before, *after)):
        pair = before.get(key, {}), after.get(key, {})
        words = {column: [_word(row.get(column)) for row in pair] for column in dict.fromkeys((*pair[0], *pair[1]))}
        sides = {column: first if first == second else f"{first} → {second}" for column, (first, second) in words.items()}
        found.append({**sides, name: str(key)})
    return found


def _mapped(work: Callable[[Any], Row], jobs: Sequence[Any], args: argparse.Namespace) -> Iterator[Row]:
    """Rows in the order of the jobs, from processes of one thread each."""
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read when a process first imports numpy and polars: they are started anew
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        yield from pool.imap(work, jobs)


def _mean(values: Iterator[float]) -> float | None:
    found = list(values)
    return float(np.mean(found)) if found else None


def _crash(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "-" if value is None else str(value)


def _print(rows: Sequence[Mapping[str, str]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for line in markdown_table(columns, [[row.get(column, "-") for column in columns] for row in rows]):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    main()
