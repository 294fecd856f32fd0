"""What holds runs that were trained elsewhere: one protocol for files, trackers and storages, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.plugins import Registry

# Where a row comes from: the line of a file, or its place (from 1) in what has no lines. No column that people have is called so.
ROW = "\0row"

# What a source may know of its columns by itself: which run a row is of, what became of that run, the step that a row was logged
# at, the seed, and the metric that was searched for.
Role = Literal["run", "state", "step", "seed", "loss"]


@dataclass(frozen=True)
class Raw:
    """What a source holds, before anything is left out or judged.

    ``frame``: a row for each run, or for each step that a run logged; columns by the names that people know them by in the tool,
    nested ones joined by dots (``config.model.width``), with `ROW`. Cells are as they were: text may stand for a number, an empty
    cell is null. ``what``: the form in words, as "CSV, semicolons, decimal commas". ``roles``: columns that the tool itself says
    the meaning of. ``maximize``: whether the tool looked for the highest value of the loss column; None where it does not say.
    ``notes``: what could not be read, one line each with counts.
    """

    frame: pl.DataFrame
    what: str
    roles: Mapping[Role, str] = field(default_factory=dict)
    maximize: bool | None = None
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """One kind of place that runs come from.

    ``place`` is a path or a URI as a user gave it. Neither method changes what is there.
    """

    @property
    def name(self) -> str:
        """As ``--source`` has it."""
        ...

    def sniff(self, place: str) -> str | None:
        """Why the place is one of this kind, in a few words ("it has the tables of Optuna"); None where it is not. Cheap: reads
        names and the first bytes. Raises nothing."""
        ...

    def read(self, place: str) -> Raw:
        """All of its rows. Raises UsageError in one line: what is wrong, where, and what to do."""
        ...


# In the order in which they are asked: what is told by its inside first, then what is told by its name, and last CSV, which
# anything may be.
SOURCES: Registry[Source] = Registry(
    "source",
    {
        name: f"hptransfer.runs.sources.{module}:SOURCE"
        for name, module in {
            "store": "own_store",
            "ray": "ray_tune",
            "wandb-run": "wandb_runs",
            "mlflow": "mlflow_store",
            "tensorboard": "tensorboard_events",
            "optuna": "optuna_storage",
            "wandb": "wandb_api",
            "parquet": "parquet",
            "excel": "excel",
            "json": "json_rows",
            "csv": "csv_rows",
        }.items()
    },
)


def read_source(place: str, source: str | None = None) -> tuple[Raw, str]:
    """What a place holds, and which source took it and why. ``source`` forces one. Raises UsageError where none can read it."""
    if source:
        return SOURCES.get(source).read(place), f"source {source}, as asked for"
    for name in SOURCES.names():
        member = SOURCES.get(name)
        if why := member.sniff(place):
            return member.read(place), f"source {name}: {why}"
    if "://" not in place and not Path(place).exists():
        raise UsageError(f"{place}: no such file or folder")
    raise UsageError(f"{place} cannot be read as anything that is known; --source forces one of {', '.join(SOURCES.names())}")
