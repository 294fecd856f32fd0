"""Faults injected into searches: nothing finished is lost or doubled, nothing sticks, nothing is left behind.

    python -m benchmarks.faults [--kinds 'worker killed,...'] [--repeats 1] [--output FOLDER]

After its faults each search is run to its end by the same command and compared with the uninterrupted one: the same run_ids and
losses, and each record written once. Ten seconds after the end of a command nothing of it may run or, unless it was killed, lie
in its temporary folder and home. Some run on a simulated cluster of two nodes, some on the Ray that a command starts for itself;
damage to files is read by a command and compared record by record. Exit code 1 on any difference. Faults of file systems need
root, to mount some of their own.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.faults.bench import Bench, Place, Violation
from benchmarks.faults.kinds import KINDS
from benchmarks.tables import markdown_table

COUNTED = {
    "injected": "injected",
    "searches": "searches",
    "lost": "finished runs lost",
    "doubled": "doubled",
    "stuck": "stuck",
    "left": "left behind",
    "other": "other differences",
}
WRONG = ("lost", "doubled", "stuck", "left", "other")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="Faults injected into searches.")
    options.add_argument("--kinds", default=",".join(KINDS), metavar="NAME,...")
    options.add_argument("--repeats", type=int, default=1, help="each kind that many times, with other seeds")
    options.add_argument("--output", default="benchmarks/results", metavar="FOLDER")
    args = options.parse_args()
    kinds = [kind for kind in args.kinds.split(",") if os.geteuid() == 0 or not KINDS[kind].needs_root]
    for number in (signal.SIGTERM, signal.SIGINT):  # what is mounted goes, and the cluster; a command gets them as by default
        signal.signal(number, lambda *_: sys.exit("interrupted"))
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))  # a short name: sockets lie below
    bench = Bench(folder)
    counts = {kind: Counter[str]() for kind in kinds}
    try:
        for kind in kinds:
            for repeat in range(args.repeats):
                with bench.afterwards:
                    run(bench, kind, repeat, counts[kind])
    finally:
        bench.end_all()
        bench.end_cluster()
        shutil.rmtree(folder, ignore_errors=True)
    return report(counts, time.monotonic() - began, Path(args.output))


def run(bench: Bench, name: str, repeat: int, counts: Counter[str]) -> None:
    """One search with its faults."""
    kind, seed = KINDS[name], repeat % 3
    place = Place(bench.folder / f"{list(KINDS).index(name)}-{repeat}", seed, kind.own_ray)
    bench.reference(seed)
    began, before = time.monotonic(), bench.hits
    try:
        redone = kind.inject(bench, place, random.Random(f"{name} {repeat}"), kind.faults)
        if redone is not None:
            counts["searches"] += 1
            bench.check(place, redone)
        said = "as uninterrupted"
    except Violation as violation:
        bench.end_all()
        counts[violation.args[0]] += 1
        said = f"VIOLATION ({violation.args[0]}): {violation.args[1]}"
    hits = bench.hits - before
    counts["injected"] += hits
    print(f"{name:<28} x{hits} of {kind.faults}, seed {seed} {time.monotonic() - began:5.0f} s  {said}", flush=True)


def report(counts: dict[str, Counter[str]], seconds: float, output: Path) -> int:
    """The table, on the screen and in a file; the exit code."""
    total = sum(counts.values(), Counter[str]())
    rows = [(kind, *(str(count[name]) for name in COUNTED)) for kind, count in {**counts, "all": total}.items()]
    date = datetime.now(UTC).date().isoformat()
    text = "\n".join(
        [
            "# Injected faults",
            "",
            f"{date}; `python -m benchmarks.faults`; {seconds / 60:.0f} min; four trials at once, on two simulated nodes with "
            "one CPU each or on a Ray of the command's own. After its faults each search is run to its end by the same command "
            "and compared with the uninterrupted one.",
            "",
            *markdown_table(("fault", *COUNTED.values()), rows),
            "",
        ]
    )
    print(text)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"faults-{date}.md").write_text(text)
    return int(any(total[name] for name in WRONG))


if __name__ == "__main__":
    sys.exit(main())
