"""TensorBoard's event files: a row for each folder that holds some, with the last value of every scalar."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources.extras import missing
from hptransfer.runs.sources.named import add_named
from hptransfer.runs.sources.rows import flat, table, yaml_mapping
from hptransfer.runs.sources.source import Raw, Role


@dataclass
class _Run:
    """What one folder's files say. ``state``: what the hparams plugin says of its end, where that is no success (which torch
    writes at the start)."""

    name: str
    scalars: dict[str, float] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    hparams: dict[str, Any] = field(default_factory=dict)
    state: str | None = None

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"run": self.name} | ({"state": self.state} if self.state else {})
        row |= flat(self.hparams, "hparams.") | self.scalars
        return row | ({"step": max(self.steps)} if any(self.steps) else {})


class TensorboardEvents:
    """A folder, or an event file. Columns: ``run`` (its path below the place), ``hparams.…`` (of the hparams plugin, or of
    Lightning's hparams.yaml), the numbers in the run's name, each scalar by its tag, and ``step``, the last that one was logged
    at."""

    name = "tensorboard"

    def sniff(self, place: str) -> str | None:
        try:
            return "event files of TensorBoard" if next(_files(Path(place)), None) else None
        except (OSError, ValueError):
            return None

    def read(self, place: str) -> Raw:
        root = Path(place)
        try:
            with _quiet():
                runs = [_read(folder, root) for folder in _folders(root)]
        except ImportError:
            raise missing(place, "tensorboard", "tensorboard") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{place} cannot be read: {first_line(error)}") from None
        runs = [run for run in _joined(runs) if run.scalars or run.hparams]
        if not runs:
            raise UsageError(f"{place}: no scalar in its event files")
        above = root.absolute().name
        rows = [run.row() | ({"run": above} if run.name == "." else {}) for run in runs]
        add_named(rows, [f"{above}/{run.name}" for run in runs])
        frame = table(rows)
        columns: dict[Role, str] = {"run": "run", "state": "state", "step": "step"}
        roles = {role: name for role, name in columns.items() if name in frame.columns}
        return Raw(frame, f"TensorBoard logs, {len(runs)} runs", roles)


def _files(root: Path) -> Iterator[Path]:
    """The event files of a place: itself, or all in it."""
    found = [root] if root.is_file() and "tfevents" in root.name else root.rglob("*tfevents*")
    return (file for file in found if file.is_file())


def _files_in(folder: Path) -> Iterator[Path]:
    """The event files of one folder, not of those below it."""
    return (file for file in _files(folder) if file.parent == folder)


def _folders(root: Path) -> list[Path]:
    """The place itself where it is an event file, or every folder in it that holds some."""
    return [root] if root.is_file() else sorted({file.parent for file in _files(root)})


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the reader logs of graphs and of files that are being written."""
    logger = logging.getLogger("tensorboard")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _read(folder: Path, root: Path) -> _Run:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.util.tensor_util import make_ndarray

    run = _Run(folder.relative_to(root).as_posix())
    ends: dict[str, tuple[float, float, int]] = {}  # of each scalar: when it was logged last, its value and step
    # File by file: names of one second do not sort as they were written, and the last value is the one logged last.
    for file in [folder] if folder.is_file() else sorted(_files_in(folder)):
        # One of each is enough: it is the last.
        guidance = {"scalars": 1, "tensors": 1, "histograms": 1, "images": 1, "audio": 1}
        found = EventAccumulator(str(file), size_guidance=guidance)
        found.Reload()
        for tag in found.Tags()["scalars"]:
            last = found.Scalars(tag)[-1]
            ends[tag] = max(ends.get(tag, (-math.inf, 0.0, 0)), (last.wall_time, float(last.value), last.step))
        for tag in set(found.Tags()["tensors"]) & found.summary_metadata.keys():
            if found.summary_metadata[tag].plugin_data.plugin_name == "scalars":  # as TensorFlow 2 writes them
                event = found.Tensors(tag)[-1]
                value = float(make_ndarray(event.tensor_proto).item())
                ends[tag] = max(ends.get(tag, (-math.inf, 0.0, 0)), (event.wall_time, value, event.step))
        for tag, metadata in found.summary_metadata.items():
            if metadata.plugin_data.plugin_name == "hparams":
                data = HParamsPluginData.FromString(metadata.plugin_data.content)
                if tag == "_hparams_/session_start_info":
                    given = data.session_start_info.hparams.items()
                    run.hparams |= {name: getattr(value, value.WhichOneof("kind") or "", None) for name, value in given}
                elif tag == "_hparams_/session_end_info":
                    state = Status.Name(data.session_end_info.status).removeprefix("STATUS_")
                    run.state = state if state in ("FAILURE", "RUNNING") else None
    run.scalars = {tag: value for tag, (_, value, _) in ends.items()}
    run.steps = [step for _, _, step in ends.values()]
    run.hparams = yaml_mapping((folder if folder.is_dir() else folder.parent) / "hparams.yaml") | run.hparams
    return run


def _joined(runs: list[_Run]) -> list[_Run]:
    """The runs with what torch's writer put into folders below theirs: ``add_hparams`` (one of its own for each call) and
    ``add_scalars`` (one for each line of a chart). A writer that had several settings is several runs."""
    by_name = {run.name: run for run in runs}
    below: dict[str, list[_Run]] = defaultdict(list)
    for run in runs:
        above, _, folder = run.name.rpartition("/")
        parent = by_name.get(above or ".")
        if parent is None or parent is run:
            continue
        if run.hparams:
            below[parent.name].append(run)
        elif len(run.scalars) == 1:
            ((tag, value),) = run.scalars.items()
            line = folder.removeprefix(tag.replace("/", "_") + "_")
            if line != folder:
                parent.scalars[f"{tag}/{line}"] = value
                parent.steps += run.steps
                del by_name[run.name]
    for name, settings in below.items():
        parent = by_name.get(name)
        if parent and parent.scalars and not parent.hparams and len(settings) == 1:
            parent.hparams, parent.state = settings[0].hparams, settings[0].state
            parent.scalars = settings[0].scalars | parent.scalars
            del by_name[settings[0].name]
    return list(by_name.values())


SOURCE = TensorboardEvents()
