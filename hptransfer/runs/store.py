"""A folder of run records on any file system that pyarrow reads.

``runs/<run_id>.json`` is one run: the name is the identity, so a double cannot exist. ``compact`` gathers the files into
Parquet; readers take both. A damaged file is named, set aside under ``damaged/``, and the rest is read.
"""

from __future__ import annotations

import json
import logging
import shlex
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping, ValuesView
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError, first_line
from hptransfer.base.files import Files, patiently
from hptransfer.runs.record import ROW_SCHEMA, SCHEMA_VERSION, Record
from hptransfer.runs.sharing import Sharing, without_collector

_LOG = logging.getLogger(__name__)


class Store:
    """The store: records of finished runs, in a folder or at a URI (``runs``, ``s3://bucket/runs``). Created on the first write.

    It is the only state that hptransfer has. ``records()`` are all runs by run_id, each a `Record`; ``frame()`` is a polars
    DataFrame with a row for each run (optimizer, width, lr, weight_decay in base coordinates, loss in nats per token, ...);
    ``get(run_id)`` is one record. Reading needs no trainer and no torch: a copied folder is enough. A damaged file is set aside
    with a warning, and the rest is read; a store of another version is a `UsageError`.

    >>> hptransfer.Store("runs").frame().filter(polars.col("state") == "complete").sort("loss").head(3)
    """

    def __init__(self, location: str | Path) -> None:
        self.files = Files(location)
        self.location, self.uri, self.is_local = self.files.location, self.files.uri, self.files.is_local
        self._parts: dict[str, pl.DataFrame] = {}  # gathered files by name: they never change

    # -- writing -------------------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Write one record, whole or not at all. A record of the same run is replaced. A store that is full or away is
        given a minute before that is an error."""
        content = record.model_dump_json().encode()
        patiently(lambda: self.files.write(f"runs/{record.run_id}.json", content))

    def register_prediction(self, run_id: str, content: dict[str, Any]) -> None:
        """Write down a prediction, by the run that it predicts, before that run; one that is there already keeps its time."""
        registered = {"registered_at": datetime.now(UTC).isoformat(timespec="seconds"), "prediction": content}
        patiently(lambda: self.files.create(f"predictions/{run_id}.json", json.dumps(registered, indent=1).encode()))

    def registered_at(self, run_id: str) -> str | None:
        """When a prediction of that run was registered (UTC, ISO 8601), or None."""
        name = f"predictions/{run_id}.json"
        return str(json.loads(self.files.read(name))["registered_at"]) if self.files.exists(name) else None

    def registered_predictions(self) -> list[dict[str, Any]]:
        """The content of every registered prediction."""
        return [json.loads(self.files.read(name))["prediction"] for name in self.files.list("predictions", ".json")]

    # -- decisions -----------------------------------------------------------------------------------------------

    def decide(self, study: str, decision: dict[str, Any]) -> dict[str, Any]:
        """Write down what a search decided for a study, unless that has been decided already; returns what holds. Raises
        UsageError where the file is damaged."""
        name = f"studies/{study}.json"
        if not self.files.exists(name):
            patiently(lambda: self.files.create(name, json.dumps(decision, indent=1).encode()))
        return self.decision(study) or decision

    def decision(self, study: str) -> dict[str, Any] | None:
        """What has been decided for a study, or None. Raises UsageError where the file is damaged."""
        name = f"studies/{study}.json"
        try:
            return dict(json.loads(self.files.read(name)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            why = first_line(error)
            raise UsageError(f"store {self.location}: {name} is damaged ({why}); without it, it is made again") from None

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

    def retry(self, run_ids: Collection[str]) -> None:
        """Forget the records of these runs, so that they are made again; those that were gathered are written anew. That they
        failed once is kept: what a search proposed after them must not change."""
        gone = set(run_ids)
        for run_id in gone:
            self.files.create(f"retried/{run_id}.json", b"{}")
            self.files.delete(f"runs/{run_id}.json")
        for name in self.part_names():
            part = self._part(name)
            if part is not None and gone.intersection(part["run_id"]):
                self._write_part(part.filter(~pl.col("run_id").is_in(list(gone))))
                self.files.delete(name)

    def retried(self) -> frozenset[str]:
        """The runs that failed once and were to be made again."""
        names = self.files.list("retried", ".json")
        return frozenset(name.removeprefix("retried/").removesuffix(".json") for name in names)

    def compact(self) -> int:
        """Gather all records into one Parquet file; returns how many it holds. Safe beside a running search and beside
        another ``compact``: a file is removed only after what was read of it is in a new one, and doubles are read once."""
        names = self.files.list("runs", ".json")  # before reading: a run that comes in between stays a file
        parts = self.part_names()
        records = list(self.records().values())
        frame = _to_frame(records).with_columns(pl.Series("record", [r.model_dump_json() for r in records], dtype=pl.String))
        self._write_part(frame)
        for name in [*names, *parts]:
            self.files.delete(name)
        return len(records)

    def _write_part(self, frame: pl.DataFrame) -> None:
        sink = pa.BufferOutputStream()
        parquet.write_table(frame.to_arrow(), sink)
        self.files.write(f"compact-{uuid.uuid4().hex[:12]}.parquet", sink.getvalue().to_pybytes())

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> Record | None:
        """The record of one run, or None."""
        if (record := self._single(f"runs/{run_id}.json")) is not None:
            return record
        gathered = self._compacted(["run_id", "record"]).filter(pl.col("run_id") == run_id)
        return _Records(gathered, self._parse).get(run_id)

    def records(self) -> MutableMapping[str, Record]:
        """Every readable record by run_id; those that ``compact`` has gathered are parsed when they are asked for."""
        # Single files first: what `compact` moves meanwhile is then found in both places rather than in none.
        with without_collector():
            singles = [*map(Sharing(), self._singles())]
        return _Records(self._compacted(["run_id", "record"]), self._parse, singles)

    def frame(self) -> pl.DataFrame:
        """One row per run; the columns are those of `Record.row`."""
        with without_collector():
            singles = _to_frame(self._singles())
        compacted = self._compacted(list(ROW_SCHEMA))
        return pl.concat([compacted.filter(~pl.col("run_id").is_in(singles["run_id"].to_list())), singles])

    def require_records(self) -> MutableMapping[str, Record]:
        """`records`, or a UsageError when there are none."""
        if not (found := self.records()):
            raise UsageError(f"store {self.location} is empty; run `{command('search')}` first, or name another with --store")
        return found

    def _singles(self) -> Iterator[Record]:
        return (record for name in self.files.list("runs", ".json") if (record := self._single(name)) is not None)

    def _single(self, name: str) -> Record | None:
        """The record in a file of its own, or None where there is none: no such file, gathered by another process
        meanwhile, or damaged and set aside."""
        try:
            return self._parse(name, self.files.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.set_aside(name, error)
            return None

    def gathered(self, name: str) -> list[str]:
        """The records in one gathered file, each as JSON text."""
        part = self._part(name)
        return [] if part is None else part["record"].to_list()

    def part_names(self) -> list[str]:
        """The gathered files."""
        return [name for name in self.files.list("", ".parquet") if name.startswith("compact")]

    def _compacted(self, columns: list[str]) -> pl.DataFrame:
        """These columns of the gathered records, one row per run."""
        while True:
            names = self.part_names()
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
                self.set_aside(name, error)
                return None
        return self._parts[name]

    def _parse(self, name: str, content: bytes) -> Record:
        """The record in ``content``. Raises UsageError for another schema and ValueError for anything that is no record."""
        try:
            record = Record.model_validate_json(content)
            if (version := record.schema_version) == SCHEMA_VERSION:
                return record
        except ValueError:
            data = json.loads(content)
            found = data.get("schema_version") if isinstance(data, dict) else None
            if not isinstance(found, int) or found == SCHEMA_VERSION:
                raise
            version = found
        if version < SCHEMA_VERSION:
            hint = f"bring it up to date with `{command('store', '--store', shlex.quote(self.location), '--upgrade')}`"
            raise UsageError(f"store {self.location}: {name} has schema {version}, older than {SCHEMA_VERSION}; {hint}")
        raise UsageError(
            f"store {self.location}: {name} has schema {version}, newer than this hptransfer's {SCHEMA_VERSION}; upgrade it"
        )

    def set_aside(self, name: str, error: Exception) -> None:
        """What becomes of a file that is no record: it is moved, and said."""
        why = " ".join(str(error).split())[:120]
        kept = f"damaged/{name.rsplit('/', 1)[-1]}"
        moved = self.files.move(name, kept)
        fate = f"moved to {kept}" if moved else "left where it is (the store cannot be written)"
        _LOG.warning("store %s: %s is damaged (%s); %s, the rest is read", self.location, name, why, fate)


class _Records(MutableMapping[str, Record]):
    """Records by run_id; those of a frame's column ``record`` are parsed when they are asked for."""

    def __init__(self, gathered: pl.DataFrame, parse: Callable[[str, bytes], Record], singles: Iterable[Record] = ()) -> None:
        self._parse, self._share = parse, Sharing()
        self._texts = gathered["record"]
        found: dict[str, Record | int] = {run_id: row for row, run_id in enumerate(gathered["run_id"])}
        self._found = found | {record.run_id: record for record in singles}

    def __getitem__(self, run_id: str) -> Record:
        found = self._found[run_id]
        if isinstance(found, int):
            found = self._found[run_id] = self._share(self._parse("a gathered record", self._texts[found].encode()))
        return found

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._found

    def __setitem__(self, run_id: str, record: Record) -> None:
        self._found[run_id] = record

    def __delitem__(self, run_id: str) -> None:
        del self._found[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def values(self) -> ValuesView[Record]:
        with without_collector():
            for run_id in self._found:
                self[run_id]
        return super().values()


def _to_frame(records: Iterable[Record]) -> pl.DataFrame:
    return pl.DataFrame([record.row() for record in records], schema=ROW_SCHEMA, orient="row")
