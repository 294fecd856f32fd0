"""``hptransfer store``: what is in a store; import runs from a table; gather its files into one."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import polars as pl

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.runs.store import Store
from hptransfer.store.importer import read_runs, records_from
from hptransfer.trainers import inputs_of_arms
from hptransfer.trainers.ours.schema1 import upgrade

GROUP = ("optimizer", "parametrization", "width", "state")


def main(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised, and nothing is written then."""
    store = Store(args.store)
    result: dict[str, object] = {"store": store.location}
    written = []
    if args.upgrade:
        result["upgraded"] = upgrade(store)
        written.append(f"{store.location}: {result['upgraded']} records brought up to date")
    if args.table:
        result["imported"], result["already_there"] = counts = _import(args, store)
        written.append(f"{store.location} ({counts[0]} new runs; {counts[1]} of the table were there)")
    if args.compact:
        result["compacted"] = store.compact()
        written.append(f"{store.location}: {result['compacted']} runs gathered")
    frame = store.frame()
    groups = frame.group_by(GROUP).agg(pl.len().alias("runs"), pl.col("loss").min()).sort(GROUP)
    cli.table(f"store {store.location}: {len(frame)} runs", [*GROUP, "runs", "lowest loss"], groups.fill_null("-").rows())
    cli.finish(args, result | {"groups": groups.to_dicts()}, written=written)
    return 0


def _import(args: argparse.Namespace, store: Store) -> tuple[int, int]:
    """How many runs were new, and how many were there."""
    experiment = load_experiment(args.experiment, args.set)
    pairs = [part.split("=", 1) for part in cli.names(args.columns)]
    if any(len(pair) != 2 for pair in pairs):
        raise UsageError(f"--columns {args.columns!r} is not a list such as lr=learning_rate,loss=val/loss")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    read: dict[str, Inputs] = {}

    def inputs_of(arm: Arm) -> Inputs:
        if arm.name not in read:
            read.update(inputs_of_arms(experiment, [arm]))
        return read[arm.name]

    records = records_from(read_runs(args.table, dict(pairs)), args.table, experiment, inputs_of, now)
    known = store.records()
    new = [record for record in records if record.run_id not in known]
    for record in new:
        store.add(record)
    return len(new), len(records) - len(new)
