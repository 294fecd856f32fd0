"""A folder of run records on any file system that pyarrow reads.

``runs/<run_id>.json`` is one run: the name is the identity, so a double cannot exist. ``compact`` gathers the files into
Parquet; readers take both. A damaged file is named, set aside under ``damaged/``, and the rest is read.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from hptransfer.base.errors import UsageError
from hptransfer.base.files import Files, patiently
from hptransfer.runs.record import ROW_SCHEMA, SCHEMA_VERSION, RunRecord


class Store:
    """Records of finished runs at a folder or URI (``runs/``, ``s3://bucket/runs``). Created on the first write."""

    def __init__(self, location: str | Path) -> None:
        self.files = Files(location)
        self.location, self.uri, self.is_local = self.files.location, self.files.uri, self.files.is_local
        self._parts: dict[str, pl.DataFrame] = {}  # gathered files by name: they never change

    # -- writing -------------------------------------------------------------------------------------------------

    def add(self, record: RunRecord) -> None:
        """Write one record, whole or not at all. A record of the same run is replaced. A store that is full or away is
        given a minute before that is an error."""
        content = record.model_dump_json().encode()
        patiently(lambda: self.files.write(f"runs/{record.run_id}.json", content))

    def register_prediction(self, digest: str, content: dict[str, Any]) -> None:
        """Write down a prediction before the runs that test it; one that is there already keeps its time."""
        if self.registered_at(digest) is None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            registered = {"registered_at": now, "prediction": content}
            self.files.write(f"predictions/{digest}.json", json.dumps(registered, indent=1).encode())

    def registered_at(self, digest: str) -> str | None:
        """When a prediction was registered (UTC, ISO 8601), or None."""
        found = self._registered(digest)
        return str(found["registered_at"]) if found else None

    def prediction(self, digest: str) -> dict[str, Any] | None:
        """The content of a registered prediction, or None."""
        found = self._registered(digest)
        return dict(found["prediction"]) if found else None

    def _registered(self, digest: str) -> dict[str, Any] | None:
        name = f"predictions/{digest}.json"
        return dict(json.loads(self.files.read(name))) if self.files.exists(name) else None

    def write_checkpoint(self, run_id: str, content: bytes) -> None:
        """Keep the state of an unfinished run, replacing an older one."""
        self.files.write(f"checkpoints/{run_id}.pt", content)

    def read_checkpoint(self, run_id: str) -> bytes | None:
        """The state of an unfinished run, or None."""
        try:
            return self.files.read(f"checkpoints/{run_id}.pt")
        except FileNotFoundError:
            return None

    def remove_checkpoint(self, run_id: str) -> None:
        """Forget the state of a run that has finished."""
        if self.files.exists(name := f"checkpoints/{run_id}.pt"):
            self.files.delete(name)

    def compact(self) -> int:
        """Gather all records into one Parquet file; returns how many it holds. Safe beside a running search and beside
        another ``compact``: a file is removed only after what was read of it is in a new one, and doubles are read once."""
        names = self.files.list("runs", ".json")  # before reading: a run that comes in between stays a file
        parts = self._part_names()
        records = list(self.records().values())
        frame = _to_frame(records).with_columns(pl.Series("record", [r.model_dump_json() for r in records], dtype=pl.String))
        sink = pa.BufferOutputStream()
        parquet.write_table(frame.to_arrow(), sink)
        self.files.write(f"compact-{uuid.uuid4().hex[:12]}.parquet", sink.getvalue().to_pybytes())
        for name in [*names, *parts]:
            self.files.delete(name)
        return len(records)

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> RunRecord | None:
        """The record of one run, or None."""
        if (record := self._single(f"runs/{run_id}.json")) is not None:
            return record
        gathered = self._compacted(["run_id", "record"]).filter(pl.col("run_id") == run_id)
        return _Records(gathered, self._parse).get(run_id)

    def records(self) -> MutableMapping[str, RunRecord]:
        """Every readable record by run_id; those that ``compact`` has gathered are parsed when they are asked for."""
        # Single files first: what `compact` moves meanwhile is then found in both places rather than in none.
        singles = self._singles()
        return _Records(self._compacted(["run_id", "record"]), self._parse, singles)

    def frame(self) -> pl.DataFrame:
        """One row per run; the columns are those of `RunRecord.row`."""
        singles = _to_frame(self._singles())
        compacted = self._compacted(list(ROW_SCHEMA))
        return pl.concat([compacted.filter(~pl.col("run_id").is_in(singles["run_id"].to_list())), singles])

    def require_records(self) -> MutableMapping[str, RunRecord]:
        """`records`, or a UsageError when there are none."""
        if not (found := self.records()):
            raise UsageError(
                f"store {self.location} is empty; run `python -m hptransfer.search` first, or name another with --store"
            )
        return found

    def _singles(self) -> list[RunRecord]:
        return [record for name in self.files.list("runs", ".json") if (record := self._single(name)) is not None]

    def _single(self, name: str) -> RunRecord | None:
        """The record in a file of its own, or None where there is none: no such file, gathered by another process
        meanwhile, or damaged and set aside."""
        try:
            return self._parse(name, self.files.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            self._set_aside(name, error)
            return None

    def _part_names(self) -> list[str]:
        return [name for name in self.files.list("", ".parquet") if name.startswith("compact")]

    def _compacted(self, columns: list[str]) -> pl.DataFrame:
        """These columns of the gathered records, one row per run."""
        while True:
            names = self._part_names()
            try:
                parts = [part for name in names if (part := self._part(name)) is not None]
                break
            except FileNotFoundError:  # merged into a new one by another process, which is there by now
                continue
        empty = pl.DataFrame(schema={name: ROW_SCHEMA.get(name, pl.String) for name in columns})
        return pl.concat([empty, *(part.select(columns) for part in parts)]).unique("run_id", keep="last", maintain_order=True)

    def _part(self, name: str) -> pl.DataFrame | None:
        if name not in self._parts:
            try:
                self._parts[name] = pl.read_parquet(self.files.read(name))
            except pl.exceptions.PolarsError as error:
                self._set_aside(name, error)
                return None
        return self._parts[name]

    def _parse(self, name: str, content: bytes) -> RunRecord:
        """The record in ``content``. Raises UsageError for a newer schema and ValueError for anything that is no record."""
        try:
            record = RunRecord.model_validate_json(content)
            version: Any = record.schema_version
        except ValueError:
            data = json.loads(content)
            version = data.get("schema_version") if isinstance(data, dict) else None
            if not isinstance(version, int) or version <= SCHEMA_VERSION:
                raise
        if version > SCHEMA_VERSION:
            raise UsageError(
                f"store {self.location}: {name} has schema {version}, newer than this hptransfer's {SCHEMA_VERSION}; upgrade it"
            )
        return record

    def _set_aside(self, name: str, error: Exception) -> None:
        why = " ".join(str(error).split())[:120]
        kept = f"damaged/{name.rsplit('/', 1)[-1]}"
        moved = self.files.move(name, kept)
        fate = f"moved to {kept}" if moved else "left where it is (the store cannot be written)"
        print(f"store {self.location}: {name} is damaged ({why}); {fate}, the rest is read", file=sys.stderr)


class _Records(MutableMapping[str, RunRecord]):
    """Records by run_id; those of a frame's column ``record`` are parsed when they are asked for."""

    def __init__(
        self, gathered: pl.DataFrame, parse: Callable[[str, bytes], RunRecord], singles: Iterable[RunRecord] = ()
    ) -> None:
        self._parse = parse
        found: dict[str, RunRecord | str] = dict(zip(gathered["run_id"], gathered["record"], strict=True))
        self._found = found | {record.run_id: record for record in singles}

    def __getitem__(self, run_id: str) -> RunRecord:
        found = self._found[run_id]
        if isinstance(found, str):
            found = self._found[run_id] = self._parse("a gathered record", found.encode())
        return found

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._found

    def __setitem__(self, run_id: str, record: RunRecord) -> None:
        self._found[run_id] = record

    def __delitem__(self, run_id: str) -> None:
        del self._found[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _to_frame(records: Iterable[RunRecord]) -> pl.DataFrame:
    return pl.DataFrame([record.row() for record in records], schema=ROW_SCHEMA, orient="row")
