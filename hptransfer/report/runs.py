"""The table of all runs, which page.js draws from columns of data, and what went wrong in those that have no loss."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from hptransfer.report import html, text

# Name on the page, column of `frames.run_table`, and how page.js writes it.
COLUMNS = (
    ("arm", "arm", "text"),
    ("width", "width", "text"),
    ("LR", "lr", "plain"),
    ("WD", "weight_decay", "plain"),
    ("LR ratio", "embedding_lr_ratio", "plain"),
    ("seed", "init_seed", "text"),
    ("state", "state", "text"),
    ("loss", "loss", "loss"),
    ("tokens", "tokens", "count"),
    ("FLOPs", "all_flops", "power"),
    ("seconds", "training_wall_seconds", "plain"),
    ("run", "run_id", "text"),
    ("reason", "reason", "text"),
)


def section(runs: pl.DataFrame) -> str:
    """The run table's place on the page, with its data; empty where no run has finished."""
    if not len(runs):
        return ""
    body = f"""<div class="controls" hidden><label for="run-filter">Filter</label>
<input id="run-filter" type="search" placeholder="muon 64 diverged" autocomplete="off" spellcheck="false">
<span id="run-count" role="status"></span><button type="button" id="run-all">Show all</button></div>
<div class="scroll" id="run-scroll" tabindex="0" role="region" aria-label="Runs" hidden><table id="run-table"></table></div>
<p class="print-note">Only the first rows are printed; all {len(runs):,} runs are in runs.csv.</p>
<p class="absent">The table needs JavaScript; all runs are in runs.csv beside this page.</p>
{html.data("run-data", run_data(runs))}"""
    intro = "Every run of the experiment. A filter is words that a row must have; a whole number must be a whole cell. "
    return html.part("runs", "Runs", intro + "Click a column to sort by it. The same rows are in runs.csv.", body)


def run_data(runs: pl.DataFrame) -> list[dict[str, Any]]:
    """The columns: ``values`` in the order of the rows, or their places in ``names`` where few different ones repeat."""
    frame = runs.with_columns((pl.col("flops") + pl.col("flops_optimizer")).alias("all_flops"))
    data = []
    for name, column, kind in COLUMNS:
        values = [float(f"{value:.6g}") if isinstance(value, float) else value for value in frame[column].to_list()]
        entry: dict[str, Any] = {"name": name, "kind": kind, "values": values}
        if column in ("arm", "state", "reason"):
            names = list(dict.fromkeys(values))
            places = {value: place for place, value in enumerate(names)}
            entry |= {"values": [places[value] for value in values], "names": names}
        data.append(entry)
    return data


def failures(runs: pl.DataFrame) -> str:
    """Diverged, failed and pruned runs by reason; reasons that differ only in a number are one."""
    rows = failure_rows(runs)
    if not rows:
        return ""
    columns = ("state", "runs", "reason of the first", "arms", "first run")
    body = html.framed(html.table(columns, rows, wrap=(2, 3)))
    lost = sum(int(row[1].replace(",", "")) for row in rows)
    intro = f"{lost:,} of {len(runs):,} runs have no loss. A diverged run bounds the learning rates that are stable."
    return html.part("failures", "Diverged and failed runs", intro, body)


def failure_rows(runs: pl.DataFrame) -> list[tuple[str, str, str, str, str]]:
    """State, count, the first reason, arms and the first run of each kind of failure, the most frequent first."""
    lost = runs.filter(pl.col("state") != "complete")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in lost.sort("finished_at", "run_id").iter_rows(named=True):
        reason = run["reason"] or "no reason was recorded"
        groups.setdefault((run["state"], re.sub(r"\d+(\.\d+)?", "#", reason)), []).append(run | {"reason": reason})
    return [
        (
            state,
            f"{len(group):,}",
            group[0]["reason"],
            ", ".join(dict.fromkeys(run["arm"] for run in group)),
            _first(group[0]),
        )
        for (state, _), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _first(run: dict[str, Any]) -> str:
    return f"{run['run_id']} (width {run['width']}, LR {text.plain(run['lr'])})"
