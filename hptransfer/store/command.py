"""``hptransfer store``: what is in a store; import runs from a table; gather its files into few."""

from __future__ import annotations

import argparse

import polars as pl

from hptransfer import cli
from hptransfer.runs.store import Store

GROUP = ("optimizer", "parametrization", "width", "state")


def main(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised, and nothing is written then."""
    if not args.table:
        cli.refuse_unheeded(args, "without --import", "experiment", "set", "columns")
    store = Store(args.store)
    result: dict[str, object] = {"store": store.location}
    written = []
    if args.upgrade:
        from hptransfer.trainers.ours.schema1 import upgrade

        result["upgraded"] = upgrade(store)
        written.append(f"{store.location}: {result['upgraded']} records brought up to date")
    if args.table:  # what reads tables takes longer to load than a look into a store does
        from hptransfer.cli.tables import renamed
        from hptransfer.store.importer import import_runs

        found = import_runs(args.table, args.experiment, args.set, store, renamed(args))
        result |= {"imported": found.new, "already_there": found.known, "notes": list(found.notes)}
        written.append(found.words)
        for note in found.notes:
            cli.console.print(f"note: {note}")
    if args.compact:
        result["compacted"] = store.compact()
        written.append(f"{store.location}: {result['compacted']} runs gathered")
    frame = store.frame()
    groups = frame.group_by(GROUP).agg(pl.len().alias("runs"), pl.col("loss").min()).sort(GROUP)
    cli.table(f"store {store.location}: {len(frame)} runs", [*GROUP, "runs", "lowest loss"], groups.fill_null("-").rows())
    cli.finish(args, result | {"groups": groups.to_dicts()}, written=written)
    return 0
