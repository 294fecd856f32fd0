"""A folder of run records on any file system that pyarrow reads.

``runs/<run_id>.json`` is one run: the name is the identity, so a double cannot exist. ``compact`` gathers the files into
Parquet; readers take both. A damaged file is named, set aside under ``damaged/``, and the rest is read: of a gathered file what
is left of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping, Sequence, ValuesView
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError, first_line
from hptransfer.base.files import Files, StoreUnreachable, patiently
from hptransfer.base.stored import SEAL, from_json, mapping_from_json, mapping_from_sealed, may_be_odd, sealed, unsealed
from hptransfer.runs.gathered import SCHEMA, from_parquet, gather, texts_in, to_frame, to_parquet
from hptransfer.runs.parser import RecordParser, without_collector
from hptransfer.runs.record import ROW_SCHEMA, SCHEMA_VERSION, UNSEALED, Record

_LOG = logging.getLogger(__name__)

PART_RUNS = 10_000  # of a gathered file, which in the making takes six times its size


class Store:
    """The store: records of finished runs, in a folder or at a URI (``runs``, ``s3://bucket/runs``). Created on the first write.

    It is the only state that hptransfer has. ``records()`` are all runs by run_id, each a `Record`; ``frame()`` is a polars
    DataFrame with a row for each run (optimizer, width, lr, weight_decay in base coordinates, loss in nats per token, ...);
    ``get(run_id)`` is one record. Reading needs no trainer and no torch: a copied folder is enough. A damaged file is set aside
    with a warning, and the rest is read; a store of another version is a `UsageError`.

    From its first write on, or from the start of a search, a folder is known by a marker in it: one that goes away in between
    (renamed, unmounted) is not made again but waited for, a minute long. ``identity``: that marker, as another process knows it.

    >>> hptransfer.Store("runs").frame().filter(polars.col("state") == "complete").sort("loss").head(3)
    """

    def __init__(self, location: str | Path, identity: str | None = None) -> None:
        self.files = Files(location, identity)
        self.location, self.uri, self.is_local = self.files.location, self.files.uri, self.files.is_local
        # Rows of gathered files, which never change. Their texts, a hundred times more, are not kept.
        self._parts: dict[str, pl.DataFrame] = {}
        self._record = RecordParser()

    # -- writing -------------------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Write one record, whole or not at all. A record of the same run is replaced. A store that is full or away is
        given a minute before that is an error."""
        content = sealed(_readable_text(record)).encode()
        patiently(lambda: self.files.write(f"runs/{record.run_id}.json", content))

    def register_prediction(self, run_id: str, content: dict[str, Any]) -> None:
        """Write down a prediction, by the run that it predicts, before that run; one that is there already keeps its time."""
        registered = {"registered_at": datetime.now(UTC).isoformat(timespec="seconds"), "prediction": content}
        patiently(lambda: self.files.create(f"predictions/{run_id}.json", sealed(json.dumps(registered, indent=1)).encode()))

    def registered_at(self, run_id: str) -> str | None:
        """When a prediction of that run was registered (UTC, ISO 8601), or None."""
        registered = self.registered(f"predictions/{run_id}.json")
        return None if registered is None else str(registered["registered_at"])

    def registered_predictions(self) -> list[dict[str, Any]]:
        """The content of every registered prediction."""
        found = (self.registered(name) for name in self.files.list("predictions", ".json"))
        return [registered["prediction"] for registered in found if registered is not None]

    def registered(self, name: str) -> dict[str, Any] | None:
        """A registered prediction with its time; None where there is none, or a damaged one, which is set aside."""
        try:
            found = mapping_from_sealed(self.files.read(name))
            if not isinstance(found.get("prediction"), dict):
                raise ValueError("it holds no prediction")
            datetime.fromisoformat(str(found.get("registered_at")))
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.set_aside(name, error)
            return None
        return found

    # -- decisions -----------------------------------------------------------------------------------------------

    def decide(self, study: str, decision: dict[str, Any]) -> dict[str, Any]:
        """Write down what a search decided for a study, unless that has been decided already; returns what holds. Raises
        UsageError where the file is damaged."""
        name = f"studies/{study}.json"
        if not self.files.exists(name):
            patiently(lambda: self.files.create(name, sealed(json.dumps(decision, indent=1)).encode()))
        return self.decision(study) or decision

    def decision(self, study: str) -> dict[str, Any] | None:
        """What has been decided for a study, or None. Raises UsageError where the file is damaged."""
        name = f"studies/{study}.json"
        try:
            return mapping_from_sealed(self.files.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            why = first_line(error)
            raise UsageError(f"store {self.location}: {name} is damaged ({why}); without it, it is made again") from None

    def write_checkpoint(self, run_id: str, content: bytes) -> None:
        """Keep the state of an unfinished run, replacing an older one; its digest stands behind it."""
        self.files.write(f"checkpoints/{run_id}.pt", content + hashlib.sha256(content).digest())

    def read_checkpoint(self, run_id: str) -> bytes | None:
        """The state of an unfinished run, or None. Raises ValueError where it is not what was written."""
        try:
            stored = self.files.read(f"checkpoints/{run_id}.pt")
        except FileNotFoundError:
            return None
        content, digest = stored[:-32], stored[-32:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("it is not what was written: its digest differs")
        return content

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
            if gone.intersection(part["run_id"]):
                self._write_part(part.filter(~pl.col("run_id").is_in(list(gone))))
                self.files.delete(name)

    def retried(self) -> frozenset[str]:
        """The runs that failed once and were to be made again."""
        names = self.files.list("retried", ".json")
        return frozenset(name.removeprefix("retried/").removesuffix(".json") for name in names)

    def compact(self) -> int:
        """Gather all records into Parquet files of up to `PART_RUNS`; returns how many there are. Safe beside a running search
        and beside another ``compact``: a file is removed only after what was read of it is in a new one, and doubles are read
        once."""
        names = self.files.list("runs", ".json")  # before reading: a run that comes in between stays a file
        parts = self.part_names()
        records = list(self.records().values())
        for start in range(0, len(records), PART_RUNS):
            self._write_part(gather(records[start : start + PART_RUNS]))
        for name in [*names, *parts]:
            self.files.delete(name)
        self.sweep()
        return len(records)

    def sweep(self) -> None:
        """Remove what writers that were killed left half-written."""
        self.files.sweep(("", "runs", "predictions", "studies", "checkpoints", "claims", "retried"))

    def _write_part(self, frame: pl.DataFrame) -> None:
        self.files.write(f"compact-{uuid.uuid4().hex[:12]}.parquet", to_parquet(frame))

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> Record | None:
        """The record of one run, or None."""
        if (record := self._single(f"runs/{run_id}.json")) is not None:
            return record
        if run_id not in self._gathered(with_records=False)["run_id"]:
            return None
        return _Records(self._gathered().filter(pl.col("run_id") == run_id), self._parse_gathered).get(run_id)

    def records(self) -> MutableMapping[str, Record]:
        """Every readable record by run_id; those that ``compact`` has gathered are parsed when they are asked for."""
        # Single files first: what `compact` moves meanwhile is then found in both places rather than in none.
        with without_collector():
            singles = [*self._singles()]
        return _Records(self._gathered(), self._parse_gathered, singles)

    def frame(self) -> pl.DataFrame:
        """One row per run; the columns are those of `Record.row`."""
        with without_collector():
            singles = to_frame(self._singles())
        compacted = self._gathered(with_records=False).drop("part")
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

    def part_names(self) -> list[str]:
        """The gathered files."""
        return [name for name in self.files.list("", ".parquet") if name.startswith("compact")]

    def _gathered(self, with_records: bool = True) -> pl.DataFrame:
        """The gathered records, one row per run; ``part`` is the file that each is in."""
        while True:
            names = self.part_names()
            try:
                parts = [self._part(name, with_records).with_columns(part=pl.lit(name)) for name in names]
                break
            except FileNotFoundError:  # merged into a new one by another process, which is there by now
                continue
        empty = pl.DataFrame(schema={**(SCHEMA if with_records else ROW_SCHEMA), "part": pl.String})
        return pl.concat([empty, *parts]).unique("run_id", keep="last", maintain_order=True)

    def _part(self, name: str, with_records: bool = True) -> pl.DataFrame:
        if not with_records and name in self._parts:
            return self._parts[name]
        content = self.files.read(name)
        try:
            part = from_parquet(content, with_records)
        except ValueError as error:
            part = self._rest_of(name, content, error)
        self._parts[name] = part.select(*ROW_SCHEMA)
        return part.select(*(SCHEMA if with_records else ROW_SCHEMA))

    def _rest_of(self, name: str, content: bytes, error: Exception) -> pl.DataFrame:
        """What is readable of a gathered file whose columns are not to be trusted. A damaged one is set aside."""
        texts, count = texts_in(content)
        found = [record for text in texts if (record := self._readable(name, text)) is not None]
        if not count:
            self.set_aside(name, error)
        elif len(found) < count or SEAL in content:  # else an earlier version's, whole, with columns of its own
            self.set_aside(name, ValueError(f"{count - len(found)} of its {count} runs cannot be read"), found)
        return gather(found)

    def _readable(self, name: str, text: bytes) -> Record | None:
        try:
            return self._parse(name, text)
        except ValueError:
            return None

    def _parse_gathered(self, part: str, run_id: str, text: str) -> Record | None:
        """A record of a gathered file; None where it is none, and then the file is set aside and what else is in it kept."""
        if (record := self._readable(part, text.encode())) is not None:
            return record
        if run_id in self._part(part, with_records=False)["run_id"]:
            with suppress(FileNotFoundError):  # set aside already
                rest = self._rest_of(part, self.files.read(part), ValueError(f"run {run_id} cannot be read"))
                self._parts[part] = rest.select(*ROW_SCHEMA)
        return None

    def _parse(self, name: str, content: bytes) -> Record:
        """The record in ``content``. Raises UsageError for another schema and ValueError for anything that is no record."""
        text = unsealed(content)
        if is_new := len(text) == len(content):  # what has a seal was looked at before it got it
            _require_plain(text)
        try:
            record = self._record(text)
            if (version := record.schema_version) in (UNSEALED, SCHEMA_VERSION):
                if is_new:
                    record.require_whole()
                return record
        except ValueError:
            found = mapping_from_json(text).get("schema_version")
            if not isinstance(found, int) or found in (UNSEALED, SCHEMA_VERSION):
                raise
            version = found
        if version < UNSEALED:
            hint = f"bring it up to date with `{command('store', '--store', self.location, '--upgrade')}`"
            raise UsageError(f"store {self.location}: {name} has schema {version}, older than {UNSEALED}; {hint}")
        raise UsageError(
            f"store {self.location}: {name} has schema {version}, newer than this hptransfer's {SCHEMA_VERSION}; upgrade it"
        )

    def set_aside(self, name: str, error: Exception, rest: Sequence[Record] = ()) -> None:
        """What becomes of a file that is damaged: it is moved, what is left of it is gathered anew, and that is said."""
        why = " ".join(str(error).split())[:120]
        kept = f"damaged/{name.removeprefix('runs/').replace('/', '-')}"
        try:
            if rest:
                self._write_part(gather([*rest]))
            moved = self.files.move(name, kept)
        except StoreUnreachable:
            moved = False
        fate = f"moved to {kept}" if moved else "left where it is (the store cannot be written)"
        _LOG.warning("store %s: %s is damaged (%s); %s, the rest is read", self.location, name, why, fate)


def _readable_text(record: Record) -> str:
    """A record as JSON. Raises UsageError where a trainer put into it what no reader takes."""
    text = record.model_dump_json()
    try:
        record.require_whole()
        _require_plain(text.encode())
    except ValueError as error:
        raise UsageError(f"run {record.run_id} cannot be stored: {first_line(error)}") from None
    return text


def _require_plain(text: bytes) -> None:
    if may_be_odd(text):
        from_json(text)


class _Records(MutableMapping[str, Record]):
    """Records by run_id; gathered ones are parsed when they are asked for. Those that cannot be are left out then."""

    def __init__(
        self, gathered: pl.DataFrame, parse: Callable[[str, str, str], Record | None], singles: Iterable[Record] = ()
    ) -> None:
        self._parse, self._parts, self._texts = parse, gathered["part"], gathered["record"]
        found: dict[str, Record | int] = {run_id: row for row, run_id in enumerate(gathered["run_id"])}
        self._found = found | {record.run_id: record for record in singles}

    def __getitem__(self, run_id: str) -> Record:
        found = self._found[run_id]
        if isinstance(found, int):
            record = self._parse(self._parts[found], run_id, self._texts[found])
            if record is None:
                del self._found[run_id]
                raise KeyError(run_id)
            found = self._found[run_id] = record
        return found

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._found

    def __setitem__(self, run_id: str, record: Record) -> None:
        self._found[run_id] = record

    def __delitem__(self, run_id: str) -> None:
        del self._found[run_id]

    def __iter__(self) -> Iterator[str]:
        return (run_id for run_id in list(self._found) if self.get(run_id) is not None)

    def __len__(self) -> int:
        return len(self._found)

    def values(self) -> ValuesView[Record]:
        with without_collector():
            for run_id in list(self._found):
                with suppress(KeyError):  # damaged: it is left out
                    self[run_id]
        self._texts = self._texts.clear()  # all are parsed
        pa.default_memory_pool().release_unused()
        return super().values()
