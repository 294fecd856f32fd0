"""``python -m hptransfer.transfer --table``: the optimum at a target from sweeps that somebody already has, no retraining."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from hptransfer import cli
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.transfer import table
from hptransfer.transfer.checks import MAX_EXTRAPOLATION
from hptransfer.transfer.forecast import DRAWS, Fit, fit_sweep
from hptransfer.transfer.law import UNKNOWN, Law, Line, Measured, Theory, fit_law, fit_line
from hptransfer.transfer.sweep import Array
from hptransfer.transfer.table import Columns


def predict_table(args: argparse.Namespace) -> int:
    """Print each group's optima, exponents and, with a target, its prediction. Exit code 1 where a group is refused."""
    columns = Columns(cli.names(args.group), cli.names(args.scale), cli.names(args.hp), args.loss)
    if not columns.scale or not columns.hp:
        raise UsageError("--scale and --hp name one column of the table each, or more")
    target = _target(args, columns)
    frame = table.read_table(args.table, args.where)
    answers, refused, rows = [], {}, []
    for name, group in table.split_groups(frame, columns).items():
        try:
            answer = _answer(name, group, columns, target, force=args.force)
        except CheckFailed as error:
            refused[name] = str(error)
            continue
        answers.append(answer)
        rows += _rows(answer, columns)
    if not answers:
        raise CheckFailed(next(iter(refused.values())))
    where = "" if target is None else " at " + ", ".join(f"{k} {v:.6g}" for k, v in zip(columns.scale, target, strict=True))
    cli.table(f"{args.table}: prediction{where}", ("group", "what", "value", "80 % interval", "note"), rows)
    for reason in refused.values():
        cli.console.print(f"refused: {reason}")
    cli.finish(args, {"groups": answers, "refused": refused})
    return 1 if refused else 0


def _target(args: argparse.Namespace, columns: Columns) -> tuple[float, ...] | None:
    """The target's scales, in the columns' order and own terms."""
    text = args.at or (f"width={args.width}" if args.width else "")
    if not text:
        return None
    pairs = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    try:
        named = {name.strip(): float(value) for name, value in pairs.items()}
    except ValueError:
        named = {}
    if set(named) != set(columns.scale) or any(value <= 0 for value in named.values()):
        wanted = ",".join(f"{name}=VALUE" for name in columns.scale)
        raise UsageError(f"target {text!r} does not give a positive value to each of --scale; write --at {wanted}")
    return tuple(named[name] for name in columns.scale)


def _answer(name: str, frame: pl.DataFrame, columns: Columns, target: tuple[float, ...] | None, *, force: bool) -> dict[str, Any]:
    if (mixed := table.mixtures(frame, columns)) and not force:
        raise CheckFailed(f"{name}: runs that do not belong together: {mixed[0]} (--force goes on all the same)")
    fit, x, measured, note = _measure(name, frame, columns)
    if np.all(np.ptp(x, axis=0) == 0):
        raise CheckFailed(f"{name}: one value of {', '.join(columns.scale)} shows no drift; add runs at a second one")
    if fit:
        _inside(name, fit, columns, x)
    answer: dict[str, Any] = {"group": name, "note": note, "optima": _optima(x, measured, columns, fit)}
    line = fit.line() if fit else fit_line(x, measured, draws=DRAWS, rng=np.random.default_rng(0))
    answer["exponents"] = _exponents(line, columns)
    if target is not None:
        frame = pl.DataFrame({"row": [0], **dict(zip(columns.scale, target, strict=True))})
        x_target = table.logarithms(frame, columns.scale)[0]
        beyond = float(np.exp(np.max(x_target - x.max(axis=0))))
        if beyond > MAX_EXTRAPOLATION and not force:
            raise CheckFailed(
                f"{name}: the target is {beyond:.3g}x beyond the largest scale and {MAX_EXTRAPOLATION:g}x is the most that was "
                f"ever tested; add runs at a larger scale (--force goes on all the same)"
            )
        law = fit.law(x_target) if fit else _law(x, measured, x_target)
        regret = float(np.mean(fit.middle.regret(law.value - law.draws))) if fit else None
        answer |= {"prediction": _prediction(law, columns), "expected_regret": regret}
    return answer


def _measure(name: str, frame: pl.DataFrame, columns: Columns) -> tuple[Fit | None, Array, Measured, str | None]:
    """The group's optima at x (cells, scales): fitted to its runs, or, where there is no loss, the rows themselves."""
    if columns.loss:
        sweep, note = table.sweep_from(frame, columns)
        if len(sweep.x) == 0:
            raise CheckFailed(f"{name}: nothing to fit; {note}")
        fit = fit_sweep(sweep)
        return fit, sweep.x, fit.measured, note
    x, h = table.logarithms(frame, columns.scale), table.logarithms(frame, columns.hp)
    known = np.isfinite(x).all(axis=1) & np.isfinite(h).all(axis=1)
    x, h = x[known], h[known]
    dof = len(x) - 1 - int(np.sum(np.ptp(x, axis=0) > 0)) if len(x) else 0
    if dof < 1:
        raise CheckFailed(f"{name}: {len(x)} optima are too few to say how far they scatter; three is the least")
    design = np.column_stack([np.ones(len(x)), x])
    left = h - design @ np.linalg.lstsq(design, h, rcond=None)[0]
    # The rows bring no errors of their own; their scatter about a line gives them.
    covariance = np.kron(np.eye(len(x)), left.T @ left / dof)
    return None, x, Measured(h, covariance, dof), None if known.all() else f"left out: {int(np.sum(~known))} rows without a value"


def _law(x: Array, measured: Measured, x_target: Array) -> Law:
    cells, k = measured.optimum.shape
    unknown = [Theory("unknown coordinates", np.zeros((cells + 1, k)))]
    rng = np.random.default_rng(0)
    return fit_law(x, measured, x_target, unknown, np.full(len(x_target), UNKNOWN), draws=DRAWS, rng=rng)


def _inside(name: str, fit: Fit, columns: Columns, x: Array) -> None:
    """Raise where a cell's optimum is not inside its runs: what lies beyond the edge is a guess."""
    for cell, k in np.ndindex(fit.optimum.shape):
        low, high = fit.sweep.low[cell, k], fit.sweep.high[cell, k]
        if not low < fit.optimum[cell, k] < high:
            side, end = ("lower", low) if fit.optimum[cell, k] <= low else ("upper", high)
            where = ", ".join(f"{s} {table.plain(s, v):.6g}" for s, v in zip(columns.scale, x[cell].tolist(), strict=True))
            raise CheckFailed(
                f"{name}, {where}: the best {columns.hp[k]} is at the {side} edge of its runs "
                f"({table.plain(columns.hp[k], float(end)):.4g}) or beyond; add runs further out, or leave that scale out "
                f"by --where"
            )


def _optima(x: Array, measured: Measured, columns: Columns, fit: Fit | None) -> list[dict[str, Any]]:
    spread = np.sqrt(np.diag(measured.covariance)).reshape(measured.optimum.shape)
    return [
        {
            "scale": _named(columns.scale, x[cell]),
            "runs": fit.sweep.runs(cell) if fit else 1,
            "diverged": fit.sweep.diverged[cell] if fit else 0,
            "value": _named(columns.hp, measured.optimum[cell]),
            "low": _named(columns.hp, measured.optimum[cell] - 1.2816 * spread[cell]),
            "high": _named(columns.hp, measured.optimum[cell] + 1.2816 * spread[cell]),
        }
        for cell in range(len(x))
    ]


def _exponents(line: Line, columns: Columns) -> list[dict[str, Any]]:
    """d ln hp / d ln scale of the straight line through the optima alone."""
    return [
        {"hp": hp, "scale": scale, "value": line.exponent[s, k], "low": line.low[s, k], "high": line.high[s, k]}
        for s, scale in enumerate(columns.scale)
        for k, hp in enumerate(columns.hp)
        if not math.isnan(line.exponent[s, k])
    ]


def _prediction(law: Law, columns: Columns) -> dict[str, dict[str, float]]:
    ends = {"value": law.value, "low": law.low, "high": law.high}
    return {hp: {end: table.plain(hp, float(values[k])) for end, values in ends.items()} for k, hp in enumerate(columns.hp)}


def _named(names: Sequence[str], values: Array) -> dict[str, float]:
    return {name: table.plain(name, float(value)) for name, value in zip(names, values, strict=True)}


def _rows(answer: dict[str, Any], columns: Columns) -> list[tuple[str, ...]]:
    rows = []
    for optimum in answer["optima"]:
        where = ", ".join(f"{name} {value:.6g}" for name, value in optimum["scale"].items())
        note = f"{optimum['runs']} runs, {optimum['diverged']} diverged" if columns.loss else "given"
        for hp in columns.hp:
            ends = f"{cli.number(optimum['low'][hp])} .. {cli.number(optimum['high'][hp])}"
            rows.append((f"best {hp} at {where}", cli.number(optimum["value"][hp]), ends, note))
    for e in answer["exponents"]:
        ends = f"{e['low']:.3f} .. {e['high']:.3f}"
        rows.append((f"{e['hp']} ~ {e['scale']}^", f"{e['value']:.3f}", ends, "line through the optima alone"))
    for hp, found in answer.get("prediction", {}).items():
        regret = answer["expected_regret"]
        note = "" if regret is None else f"expected regret {regret:.3%}"
        ends = f"{cli.number(found['low'])} .. {cli.number(found['high'])}"
        rows.append((f"predicted {hp}", cli.number(found["value"]), ends, note))
    if answer["note"]:
        rows.append((answer["note"], "", "", ""))
    return [(answer["group"] if i == 0 else "", *row) for i, row in enumerate(rows)]
