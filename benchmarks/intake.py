"""How long a large table takes to be read: ``python -m benchmarks.intake [ROWS]``.

Made-up runs of 12 columns, written in each form that people have into a temporary folder, read as a command reads them and
taken in: half of them crashed, which is to be noted. Seconds of the processor, which say more than the clock where other jobs run
beside it.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from hptransfer.cli import console
from hptransfer.runs.sources.intake import intake
from hptransfer.runs.sources.meanings import Asked
from hptransfer.runs.sources.reading import read_rows
from hptransfer.runs.sources.source import SOURCES


def runs(rows: int) -> pl.DataFrame:
    """Finished runs of a sweep over width, LR and weight decay, with the columns that a tracker adds."""
    rng = np.random.default_rng(0)
    width = 2 ** rng.integers(7, 12, rows)
    lr = 10 ** rng.uniform(-4, -1, rows)
    return pl.DataFrame(
        {
            "name": [f"run-{number}" for number in range(rows)],
            "state": rng.choice(["finished", "crashed"], rows),
            "optimizer": rng.choice(["adamw", "muon"], rows),
            "width": width,
            "params": [f"{12 * int(size) ** 2 / 1e6:.1f}M" for size in width],
            "tokens": 20 * 12 * width**2,
            "lr": lr,
            "weight_decay": 10 ** rng.uniform(-3, 0, rows),
            "seed": rng.integers(0, 3, rows),
            "step": rng.integers(1, 10_000, rows),
            "runtime": rng.uniform(0, 1e4, rows),
            "loss": 2 + 0.1 * np.log(lr / 0.01) ** 2 + 0.01 * rng.standard_normal(rows),
        }
    )


def write_jsonl(frame: pl.DataFrame, path: Path) -> None:
    with path.open("w") as file:
        for row in frame.iter_rows(named=True):
            lr = row.pop("lr")
            file.write(json.dumps({**row, "config": {"optimizer": {"lr": lr}}}) + "\n")


def write_semicolons(frame: pl.DataFrame, path: Path) -> None:
    """As a spreadsheet in German writes it: quoted, semicolons, decimal commas and points between thousands."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, delimiter=";", quoting=csv.QUOTE_ALL)
        rows.writerow(frame.columns)
        for row in frame.iter_rows():
            rows.writerow([str(cell).replace(".", ",") for cell in row])


# By the name of the file: the source that reads it, and how it is written.
FORMS: dict[str, tuple[str, Callable[[pl.DataFrame, Path], object]]] = {
    "plain.csv": ("csv", lambda frame, path: frame.write_csv(path)),
    "semicolons.csv": ("csv", write_semicolons),
    "tabs.tsv": ("csv", lambda frame, path: frame.write_csv(path, separator="\t", quote_style="always")),
    "packed.csv.gz": ("csv", lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode(), 1))),
    "nested.jsonl": ("json", write_jsonl),
    "runs.parquet": ("parquet", lambda frame, path: frame.write_parquet(path)),
}


def main() -> None:
    frame = runs(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
    with tempfile.TemporaryDirectory() as folder:
        for name, (source, write) in FORMS.items():
            path = Path(folder) / name
            write(frame, path)
            SOURCES.get(source)  # imports it
            start = time.process_time()
            rows = read_rows(path, source)
            read = time.process_time() - start
            found = intake(rows, Asked(("optimizer",), ("width",), ("lr",), "loss"))
            seconds = time.process_time() - start
            assert len(found.frame) == (frame["state"] == "finished").sum() and len(found.notes) == 1
            console.print(f"{name:16}{len(rows.frame):,} rows x {frame.width}: read {read:.2f} s, and normalised {seconds:.2f} s")


if __name__ == "__main__":
    main()
