"""All kinds of faults, and how often each strikes one search."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from benchmarks.faults import damage, mounts, processes, stores, writers
from benchmarks.faults.bench import Inject


@dataclass(frozen=True)
class Kind:
    """``own_ray``: on the Ray that a command starts for itself. ``needs_root``: to mount a file system."""

    inject: Inject
    faults: int
    own_ray: bool = False
    needs_root: bool = False


KINDS = {
    "worker killed": Kind(processes.signal_workers(signal.SIGKILL), 10),
    "worker stopped": Kind(processes.signal_workers(signal.SIGSTOP, "resources.hang_seconds=10"), 6),
    "worker stopped and continued": Kind(processes.signal_workers(signal.SIGSTOP, goes_on=True), 10),
    "command stopped and continued": Kind(processes.pause_driver, 8),
    "node removed": Kind(processes.remove_node, 4),
    "head restarted": Kind(processes.restart_head, 3),
    "another command on the store": Kind(processes.start_others, 4),
    "date changed": Kind(processes.jump_in_time, 8),
    "store full": Kind(stores.store_refuses(mounts.filled), 6, needs_root=True),
    "store read-only": Kind(stores.store_refuses(mounts.read_only), 6, needs_root=True),
    "store unmounted": Kind(stores.store_refuses(mounts.unmounted), 6, needs_root=True),
    "store renamed": Kind(stores.store_refuses(mounts.renamed, mount=False), 6),
    "record deleted under the search": Kind(stores.delete_records, 8),
    "bit of a claim flipped": Kind(stores.flip_claims, 8),
    "checkpoint damaged": Kind(stores.damage_checkpoints, 6),
    "command killed": Kind(processes.signal_driver(signal.SIGKILL), 5, own_ray=True),
    "command terminated": Kind(processes.interrupt(signal.SIGTERM), 8, own_ray=True),
    "Ctrl-C": Kind(processes.interrupt(signal.SIGINT), 12, own_ray=True),
    "terminal closed": Kind(processes.close_terminal, 6, own_ray=True),
    "memory limited": Kind(processes.limit_memory, 6, own_ray=True),
    "temporary folder full": Kind(processes.fill_temporary_folder, 6, own_ray=True, needs_root=True),
    "record cut": Kind(stores.cut_records, 8, own_ray=True),
    "bit of a record flipped": Kind(damage.flip_bits("runs/*.json"), 20, own_ray=True),
    "bit of a seal flipped": Kind(damage.flip_bits("runs/*.json", last=80), 8, own_ray=True),
    "bit of a gathered file flipped": Kind(damage.flip_bits("*.parquet"), 20, own_ray=True),
    "bit of a decision flipped": Kind(damage.flip_decisions, 8, own_ray=True),
    "bit of a prediction flipped": Kind(damage.flip_predictions, 12),
    "writer killed": Kind(writers.kill_writers, 12),
    "compaction killed": Kind(writers.kill_compactions, 12),
    "compactions at once": Kind(writers.compact_at_once, 6),
}
