"""A folder of run records on any file system that pyarrow reads.

``runs/<run_id>.json`` is one run: the name is the identity, so a double cannot exist. A record is written to a temporary
name, synced and renamed (on an object store, one PUT), so readers see whole records only. ``compact`` gathers the files
into one Parquet file; readers take both. A damaged file is named, set aside under ``damaged/``, and the rest is read.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import fs, parquet

from hptransfer.errors import UsageError
from hptransfer.store.record import ROW_SCHEMA, SCHEMA_VERSION, RunRecord


class Store:
    """Records of finished runs at a folder or URI (``runs/``, ``s3://bucket/runs``). Created on the first write."""

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        try:
            if "://" in self.location:
                self._fs, self._root = fs.FileSystem.from_uri(self.location)
            else:
                self._fs, self._root = fs.LocalFileSystem(), str(Path(self.location).absolute())
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"store {self.location}: {str(error).splitlines()[0]}") from None
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)
        # The same store from another process, whatever its working directory.
        self.uri = self._root if self.is_local else self.location

    # -- writing -------------------------------------------------------------------------------------------------

    def add(self, record: RunRecord) -> None:
        """Write one record, whole or not at all. A record of the same run is replaced."""
        self._write(f"runs/{record.run_id}.json", record.model_dump_json().encode())

    def register_prediction(self, digest: str, content: dict[str, Any]) -> None:
        """Write down a prediction before the runs that test it; one that is there already keeps its time."""
        if self.registered_at(digest) is None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._write(
                f"predictions/{digest}.json", json.dumps({"registered_at": now, "prediction": content}, indent=1).encode()
            )

    def registered_at(self, digest: str) -> str | None:
        """When a prediction was registered (UTC, ISO 8601), or None."""
        name = f"predictions/{digest}.json"
        return str(json.loads(self._read(name))["registered_at"]) if self._exists(name) else None

    def write_checkpoint(self, run_id: str, content: bytes) -> None:
        """Keep the state of an unfinished run, replacing an older one."""
        self._write(f"checkpoints/{run_id}.pt", content)

    def read_checkpoint(self, run_id: str) -> bytes | None:
        """The state of an unfinished run, or None."""
        name = f"checkpoints/{run_id}.pt"
        return self._read(name) if self._exists(name) else None

    def remove_checkpoint(self, run_id: str) -> None:
        """Forget the state of a run that has finished."""
        if self._exists(name := f"checkpoints/{run_id}.pt"):
            self._fs.delete_file(f"{self._root}/{name}")

    def compact(self) -> int:
        """Gather all records into one Parquet file, then remove the single files; returns how many records it holds.

        Killed at any moment, nothing is lost: the single files go last, and a record in both places is read once.
        """
        names = self._files("runs", ".json")  # before reading: a run that comes in between stays a file
        records = list(self.records().values())
        frame = self._to_frame(records).with_columns(pl.Series("record", [r.model_dump_json() for r in records]))
        sink = pa.BufferOutputStream()
        parquet.write_table(frame.to_arrow(), sink)
        self._write("compact.parquet", sink.getvalue().to_pybytes())
        for name in names:
            self._fs.delete_file(f"{self._root}/{name}")
        return len(records)

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, run_id: str) -> RunRecord | None:
        """The record of one run, or None."""
        name = f"runs/{run_id}.json"
        if self._exists(name):
            return self._single(name)
        rows = self._compacted().filter(pl.col("run_id") == run_id)
        return self._from_rows(rows).get(run_id)

    def records(self) -> dict[str, RunRecord]:
        """Every readable record by run_id."""
        # Single files first: what `compact` moves meanwhile is then found in both places rather than in none.
        singles = {record.run_id: record for record in self._singles()}
        return self._from_rows(self._compacted()) | singles

    def frame(self) -> pl.DataFrame:
        """One row per run; the columns are those of `RunRecord.row`."""
        singles = self._to_frame(self._singles())
        compacted = self._compacted().drop("record")
        return pl.concat([compacted.filter(~pl.col("run_id").is_in(singles["run_id"].to_list())), singles])

    def require_records(self) -> dict[str, RunRecord]:
        """`records`, or a UsageError when there are none."""
        if not (found := self.records()):
            raise UsageError(
                f"store {self.location} is empty; run `python -m hptransfer.search` first, or name another with --store"
            )
        return found

    # -- the file system -----------------------------------------------------------------------------------------

    def _singles(self) -> list[RunRecord]:
        return [record for name in self._files("runs", ".json") if (record := self._single(name)) is not None]

    def _single(self, name: str) -> RunRecord | None:
        """The record in a file of its own, or None where the file is damaged and was set aside."""
        try:
            return self._parse(name, self._read(name))
        except FileNotFoundError:  # gathered or set aside by another process meanwhile
            return None
        except ValueError as error:
            self._set_aside(name, error)
            return None

    def _compacted(self) -> pl.DataFrame:
        """The gathered records: the columns of `RunRecord.row`, and the whole record as JSON in ``record``."""
        name = "compact.parquet"
        if self._exists(name):
            try:
                return pl.read_parquet(self._read(name))
            except pl.exceptions.PolarsError as error:
                self._set_aside(name, error)
        return pl.DataFrame(schema=ROW_SCHEMA | {"record": pl.String})

    def _from_rows(self, rows: pl.DataFrame) -> dict[str, RunRecord]:
        return {record.run_id: record for text in rows["record"] if (record := self._parse("compact.parquet", text.encode()))}

    @staticmethod
    def _to_frame(records: Iterable[RunRecord]) -> pl.DataFrame:
        return pl.DataFrame([record.row() for record in records], schema=ROW_SCHEMA, orient="row")

    def _exists(self, name: str) -> bool:
        with self._reaching("read"):
            return bool(self._fs.get_file_info(f"{self._root}/{name}").type == fs.FileType.File)

    def _files(self, folder: str, suffix: str) -> list[str]:
        selector = fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        with self._reaching("read"):
            names = [info.base_name for info in self._fs.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(f"{folder}/{name}" for name in names if name.endswith(suffix))

    def _read(self, name: str) -> bytes:
        with self._reaching("read"), self._fs.open_input_stream(f"{self._root}/{name}") as stream:
            return bytes(stream.read())

    def _write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        with self._reaching("written"):
            self._fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
            if self.is_local:
                self._write_local(path, content)
            else:
                with self._fs.open_output_stream(path) as stream:
                    stream.write(content)

    @staticmethod
    def _write_local(path: str, content: bytes) -> None:
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @contextmanager
    def _reaching(self, done: str) -> Iterator[None]:
        """A file system that refuses is the user's to mend: one line. A file that is gone is the caller's business."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowInvalid) as error:
            why = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise UsageError(f"store {self.location} cannot be {done}: {why}") from None

    def _parse(self, name: str, content: bytes) -> RunRecord:
        """The record in ``content``. Raises UsageError for a newer schema and ValueError for anything that is no record."""
        data = json.loads(content)
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UsageError(
                f"store {self.location}: {name} has schema {version}, newer than this hptransfer's {SCHEMA_VERSION}; upgrade it"
            )
        return RunRecord.model_validate(data)

    def _set_aside(self, name: str, error: Exception) -> None:
        why = " ".join(str(error).split())[:120]
        kept = f"damaged/{name.rsplit('/', 1)[-1]}"
        fate = f"moved to {kept}"
        try:
            self._fs.create_dir(f"{self._root}/damaged", recursive=True)
            self._fs.move(f"{self._root}/{name}", f"{self._root}/{kept}")
        except OSError:
            fate = "left where it is (the store cannot be written)"
        print(f"store {self.location}: {name} is damaged ({why}); {fate}, the rest is read", file=sys.stderr)
