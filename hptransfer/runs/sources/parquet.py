"""Parquet files."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources.columns import raw_of
from hptransfer.runs.sources.contents import head
from hptransfer.runs.sources.source import Raw


@dataclass(frozen=True)
class Parquet:
    """The source ``parquet``."""

    name: str = "parquet"

    def sniff(self, place: str) -> str | None:
        try:
            return "it begins as Parquet does" if head(place).startswith(b"PAR1") else None
        except UsageError:
            return None

    def read(self, place: str) -> Raw:
        try:
            frame = pl.read_parquet(place, glob=False, hive_partitioning=False)  # a name may hold [ and =
        except FileNotFoundError:
            raise UsageError(f"{place}: no such file") from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UsageError(f"{place} cannot be read as Parquet: {first_line(error)}") from None
        return raw_of(place, frame.get_columns(), range(1, len(frame) + 1), "Parquet")


SOURCE = Parquet()
