"""Numbers in the names of runs, studies and folders: ``width128``, ``w128-lr0.01``, ``d_model=512,depth=4``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from hptransfer.runs.sources.names import meaning, plain
from hptransfer.runs.sources.rows import columns_of

# First parts of names that have two: ``adamw_lr0.01`` is about lr, ``weight_decay0.1`` is not about decay.
_FIRST = (
    r"(?:(?:d|n|num|hidden|embed|embedding|model|ff|mlp|head|weight|learning|batch|global|warmup|max|min|peak|base|init|data|log"
    r"|ln)_)*"
)
_NUMBER = r"(?>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"
_ASSIGNED = re.compile(rf"(?<![A-Za-z0-9])({_FIRST}[A-Za-z][A-Za-z0-9]*)\s*[=:]\s*([-+]?{_NUMBER})([kKMBGT]?)(?![A-Za-z0-9])")
_JOINED = re.compile(rf"(?<![A-Za-z])({_FIRST}[A-Za-z]+)[_-]?({_NUMBER})([kKMBGT]?)(?=[^A-Za-z0-9]|$|[A-Za-z]+[_-]?[.\d])")
# What numbers a run without saying anything of it.
_COUNTERS = {
    *("run", "runs", "trial", "trials", "version", "v", "ver", "exp", "experiment", "job", "try", "attempt", "test", "rev", "id"),
    *("study", "sweep", "group", "fold", "epoch", "step", "iter", "ckpt", "checkpoint", "node", "rank", "gpu", "worker", "index"),
    *("train", "part", "no", "nr", "task", "process", "pid", "events"),
}


def numbers_in(name: str) -> dict[str, float | int | str]:
    """The numbers that a name gives, by their own words; with its unit (``125M``) one is text. What only counts runs (``run3``,
    ``version_0``) and numbers with leading zeros say nothing.

    >>> numbers_in("d_model=512,depth=4/adamw_lr1e-3_v2")
    {'d_model': 512, 'depth': 4, 'lr': 0.001}
    """
    found: dict[str, float | int | str] = {}
    for key, number, unit in (*_ASSIGNED.findall(name), *_JOINED.findall(_ASSIGNED.sub("|", name))):
        if key.lower() not in _COUNTERS and not re.match(r"[-+]?0\d", number):
            found.setdefault(key, number + unit if unit else _value(number))
    return found


def _value(number: str) -> float | int:
    return int(number) if number.lstrip("+-").isdigit() else float(number)


def add_named(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Give each row the numbers in its name: those that at least half of the names give (others are chance, as in ``gpt2`` or
    ``x7ab3``), and that no column of the row says already, by its last word (``params_lr``, ``config.model.width``)."""
    given = {name: numbers_in(name) for name in set(names)}
    count = Counter(key for found in given.values() for key in found)
    usual = {key for key, times in count.items() if 2 * times >= len(given)}
    for row, name in zip(rows, names, strict=True):
        said = {_last(column) for column, value in row.items() if value is not None}
        row |= {key: value for key, value in given[name].items() if key in usual and key.lower() not in said}


def with_named(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """A table whose learning rates only the names of its runs say, with the numbers in these as columns, and the column of names;
    else the table as it is, and ""."""
    names = [name for name in frame.columns if not name.startswith("\0") and frame[name].dtype == pl.String]
    has_lr = any("lr" in plain(name).split("_") or meaning(name) == "lr" for name in frame.columns)
    column = next((name for name in names if meaning(name) == "run" or plain(name) == "name"), None)
    if has_lr or column is None:
        return frame, ""
    rows: list[dict[str, Any]] = [{} for _ in range(len(frame))]
    add_named(rows, frame[column].fill_null("").to_list())
    found = [one for one in columns_of(rows) if one.name not in frame.columns]
    return (frame.with_columns(found), column) if any(meaning(one.name) == "lr" for one in found) else (frame, "")


def _last(column: str) -> str:
    return re.split(r"[./]", re.sub(r"^(?:params|(?:study_)?user_attrs)_", "", column))[-1].lower()
