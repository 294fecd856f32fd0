"""Local run folders of Weights & Biases (``wandb/``): a row for each run, out of its transaction log.

The log (``run-ID.wandb``) is what a run writes while it goes on, offline or not. Its frame is LevelDB's log format (blocks of
32 KiB; google/leveldb, doc/log_format.md) after a header of 7 bytes, with CRC-32 for checksums; its records are wandb's protocol
buffers. wandb's own reader became part of a program that only sends what it reads to a server.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources.extras import missing
from hptransfer.runs.sources.rows import flat, parsed, table
from hptransfer.runs.sources.source import Raw, Role

_MAGIC = b":W&B"
_HEADER, _CHUNK, _BLOCK = 7, struct.Struct("<IHB"), 32768
# As JSON that W&B's server sends has them.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class WandbRuns:
    """A ``wandb`` folder, one run's folder or its ``.wandb`` file. Columns as in `row_of`."""

    name = "wandb-run"

    def sniff(self, place: str) -> str | None:
        try:
            return "run folders of Weights & Biases" if _logs(Path(place)) else None
        except (OSError, ValueError):
            return None

    def read(self, place: str) -> Raw:
        try:
            logs = _logs(Path(place))
            runs = [_Run(log.read_bytes(), place) for log in logs]
        except (OSError, ValueError) as error:
            raise UsageError(f"{place} cannot be read: {first_line(error)}") from None
        rows = [run.row() for run in runs if run.id]
        if not rows:
            raise UsageError(f"{place}: no run of Weights & Biases (folders with run-ID.wandb)")
        damaged = [log.parent.name for log, run in zip(logs, runs, strict=True) if run.is_damaged]
        notes = (f"{len(damaged)} runs are damaged, and read up to there: {', '.join(damaged[:3])}",) if damaged else ()
        return raw_of(rows, f"W&B run folders, {len(rows)} runs", notes)


def row_of(about: Mapping[str, Any], config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's row: ``id``, ``name``, ``state`` and what else W&B says of it, ``config.…``, and the last value of each metric
    under its own name. Tables, images and histograms are left out."""
    metrics = {
        name: _NOT_FINITE.get(value, value) if isinstance(value, str) else value
        for name, value in summary.items()
        if (name == "_step" or not name.startswith("_")) and not (isinstance(value, Mapping) and "_type" in value)
    }
    known = {name: value for name, value in config.items() if not name.startswith("_wandb")}
    return {name: value for name, value in about.items() if value} | flat(known, "config.") | flat(metrics)


def raw_of(rows: Iterable[dict[str, Any]], what: str, notes: tuple[str, ...] = ()) -> Raw:
    """W&B's rows with what their columns mean."""
    frame = table(rows)
    columns: dict[Role, str] = {"run": "id", "state": "state", "step": "_step"}
    return Raw(frame, what, {role: name for role, name in columns.items() if name in frame.columns}, None, notes)


def _logs(root: Path) -> list[Path]:
    """The transaction logs of a place, each once: ``latest-run`` is a link to one of the others."""
    found = [root] if root.is_file() else [log for depth in ("*", "*/*", "wandb/*/*") for log in root.glob(f"{depth}.wandb")]
    return sorted({log.resolve() for log in found if _starts_right(log)})


def _starts_right(log: Path) -> bool:
    with log.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


class _Run:
    """What a run's log says, up to its end or to where it is damaged. A record that is not whole at the end is no damage: the run
    goes on, or was killed."""

    def __init__(self, content: bytes, place: str) -> None:
        try:
            from google.protobuf.message import DecodeError
            from wandb.proto.wandb_internal_pb2 import Record
        except ImportError:
            raise missing(place, "wandb", "wandb") from None
        self.about: dict[str, Any] = {}
        self.config: dict[str, str] = {}  # as JSON texts: of a metric's thousands the last is parsed
        self.summary: dict[str, str] = {}
        self.exit_code: int | None = None
        self.is_preempted = self.is_damaged = False
        try:
            for message in _messages(content):
                self._hear(Record.FromString(message))
        except (DecodeError, _Damaged):
            self.is_damaged = True

    @property
    def id(self) -> str:
        return str(self.about.get("id", ""))

    def _hear(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            self.about |= {"id": run.run_id, "name": run.display_name, "state": None, "project": run.project}
            self.about |= {"group": run.run_group, "job_type": run.job_type, "sweep": run.sweep_id}
            _update(self.config, run.config.update)
            _update(self.summary, run.summary.update)
        elif kind == "config":
            _update(self.config, record.config.update)
        elif kind == "history":
            _update(self.summary, record.history.item)
        elif kind == "summary":
            _update(self.summary, record.summary.update)
        elif kind == "preempting":
            self.is_preempted = True
        elif kind == "exit":
            self.exit_code = record.exit.exit_code

    def row(self) -> dict[str, Any]:
        """A run without an exit is one that goes on, or that was killed: the log does not tell."""
        ended = "finished" if self.exit_code == 0 else "preempted" if self.is_preempted else "failed"
        config, summary = ({name: parsed(text) for name, text in said.items()} for said in (self.config, self.summary))
        return row_of(self.about | {"state": "running" if self.exit_code is None else ended}, config, summary)


def _update(values: dict[str, str], items: Iterable[Any]) -> None:
    for item in items:
        values[item.key or ".".join(item.nested_key)] = item.value_json


class _Damaged(Exception):
    """A log that breaks off before its end."""


def _messages(content: bytes) -> Iterator[bytes]:
    """The records of a log. Raises _Damaged where a whole one has a wrong checksum or place."""
    place, parts = _HEADER, list[bytes]()
    while place + _CHUNK.size <= len(content):
        if (left := _BLOCK - place % _BLOCK) < _CHUNK.size:
            place += left
            continue
        checksum, length, kind = _CHUNK.unpack_from(content, place)
        data = content[place + _CHUNK.size : place + _CHUNK.size + length]
        if len(data) < length or (not kind and not length and not any(content[place:])):
            return  # it is being written, or was when the machine went down
        if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum or (kind in (_MIDDLE, _LAST)) != bool(parts):
            raise _Damaged
        parts.append(data)
        place += _CHUNK.size + length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []


SOURCE = WandbRuns()
