"""MLflow's stores: a SQLite file or another database, an ``mlruns`` folder, and tracking servers.

Databases and folders are read as they lie there, without the package: its stores create what they miss (a default experiment, a
trash folder, tables) and migrate what is older, and since 3.17 the one for folders refuses to open. Servers are asked through
``mlflow.MlflowClient``, which knows how to log in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources import databases
from hptransfer.runs.sources.extras import missing
from hptransfer.runs.sources.rows import table, yaml_mapping
from hptransfer.runs.sources.source import Raw, Role

_TABLES = {"experiments", "runs", "params", "latest_metrics", "tags"}
# RunStatus by its number, as files have it (mlflow/protos/service.proto).
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_SERVER, _FILE = (
    re.compile(r"https?://(?!(www\.)?wandb\.ai/)"),
    re.compile(r"/[^/]*\.(csv|tsv|jsonl?|ndjson|parquet|xlsx|gz|zst)$"),
)
_LARGEST = 1.7976931348623157e308  # as which databases keep infinity


@dataclass
class _Run:
    """One run as all forms of a store have it. ``metrics``: last value and its step."""

    run_id: str
    name: str
    status: str
    experiment: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"run_id": self.run_id, "run_name": self.name, "status": self.status, "experiment": self.experiment}
        row |= {f"params.{name}": value for name, value in self.params.items()}
        row |= {f"metrics.{name}": value for name, (value, _) in self.metrics.items()}
        row |= {f"tags.{name}": value for name, value in self.tags.items() if not name.startswith("mlflow.")}
        steps = [step for _, step in self.metrics.values()]
        return row | ({"step": max(steps)} if any(steps) else {})


class MlflowStore:
    """Columns are those of ``mlflow.search_runs()`` (``run_id``, ``status``, ``params.lr``, ``metrics.loss``, ``tags.…`` but not
    MLflow's own), with ``run_name``, ``experiment`` (its name) and ``step``, the last that a metric was logged at. Runs and
    experiments that were deleted are left out."""

    name = "mlflow"

    def sniff(self, place: str) -> str | None:
        if _SERVER.match(place) and not _FILE.search(place):
            return "the address of a tracking server"
        if _experiments(Path(place)):
            return "a folder of MLflow's experiments"
        return "it has the tables of MLflow" if databases.tables(place) >= _TABLES else None

    def read(self, place: str) -> Raw:
        notes: list[str] = []
        if place.startswith(("http://", "https://")):
            runs = list(_of_server(place))
        elif databases.is_url(place) or databases.sqlite_file(place):
            runs = _of_database(place)
        else:
            runs = list(_of_folder(Path(place), notes))
        if not runs:
            raise UsageError(f"{databases.shown(place)}: no run in MLflow's store")
        frame = table(run.row() for run in runs)
        roles: dict[Role, str] = {"run": "run_id", "state": "status"}
        if "step" in frame.columns:
            roles["step"] = "step"
        return Raw(frame, f"MLflow store, {len(runs)} runs", roles, None, tuple(notes))


def _of_database(place: str) -> list[_Run]:
    alive = "r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'"
    runs = {
        run_id: _Run(run_id, name or "", status, experiment)
        for run_id, name, status, experiment in databases.rows(
            place,
            "SELECT r.run_uuid, r.name, r.status, e.name FROM runs r JOIN experiments e ON r.experiment_id = e.experiment_id"
            f" WHERE {alive} ORDER BY r.start_time, r.run_uuid",
        )
    }
    for run_id, key, value, is_nan, step in databases.rows(
        place, "SELECT run_uuid, key, value, is_nan, step FROM latest_metrics"
    ):
        if run_id in runs:
            runs[run_id].metrics[key] = (_number(value, bool(is_nan)), int(step))
    for what in ("params", "tags"):
        for run_id, key, value in databases.rows(place, f"SELECT run_uuid, key, value FROM {what}"):
            if run_id in runs:
                getattr(runs[run_id], what)[key] = value
    return list(runs.values())


def _number(value: float, is_nan: bool) -> float:
    """A metric as it was logged: databases keep NaN beside the value and infinity as the largest number."""
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= _LARGEST else float(value)


def _experiments(root: Path) -> list[Path]:
    """The folders of experiments: the place itself or those in it."""
    try:
        if _meta(root).get("artifact_location") is not None:
            return [root]
        found = sorted(file.parent for file in root.glob("*/meta.yaml") if file.parent.name != ".trash")
    except (OSError, ValueError):
        return []
    return [folder for folder in found if "artifact_location" in _meta(folder)]


def _meta(folder: Path) -> dict[str, Any]:
    return yaml_mapping(folder / "meta.yaml")


def _of_folder(root: Path, notes: list[str]) -> Iterator[_Run]:
    unreadable = 0
    try:
        for folder in _experiments(root):
            about = _meta(folder)
            if about.get("lifecycle_stage") == "deleted":
                continue
            for meta in sorted(folder.glob("*/meta.yaml")):
                run = _meta(meta.parent)
                if run.get("lifecycle_stage") == "deleted":
                    continue
                if run_id := run.get("run_id"):
                    status = _STATUS.get(run.get("status", 0), str(run.get("status")))
                    metrics = {name: last for name, text in _texts(meta.parent / "metrics").items() if (last := _last(text))}
                    words = {what: _texts(meta.parent / what) for what in ("params", "tags")}
                    experiment = str(about.get("name"))
                    yield _Run(str(run_id), str(run.get("run_name", "")), status, experiment, metrics=metrics, **words)
                else:
                    unreadable += "artifact_uri" not in run and "model_id" not in run
    except (OSError, ValueError) as error:
        raise UsageError(f"{root} cannot be read: {first_line(error)}") from None
    if unreadable:
        notes.append(f"meta.yaml of {unreadable} runs cannot be read")


def _texts(folder: Path) -> dict[str, str]:
    """The files in a folder by name: a name with slashes lies in folders of its own."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text(errors="replace") for file in files}


def _last(text: str) -> tuple[float, int] | None:
    """The latest of a metric's lines (timestamp, value, step): by step, time, value, as MLflow has it. A line that is being
    written is none."""
    found = []
    for line in text.splitlines():
        parts = line.split()
        try:
            found.append((int(parts[2]) if len(parts) > 2 else 0, int(parts[0]), float(parts[1])))
        except (ValueError, IndexError):
            continue
    if not found:
        return None
    step, _, value = max(found, key=lambda one: (one[:2], -math.inf if math.isnan(one[2]) else one[2]))
    return value, step


def _of_server(place: str) -> Iterable[_Run]:
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise missing(place, "mlflow", "mlflow") from None
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        names = {one.experiment_id: one.name for one in _pages(client.search_experiments)}
        runs = list(_pages(client.search_runs, experiment_ids=list(names))) if names else []
        # The public mapping of last values is without their steps; they are in what it is made of.
        return [
            _Run(
                run.info.run_id,
                run.info.run_name or "",
                str(run.info.status),
                names.get(run.info.experiment_id, run.info.experiment_id),
                dict(run.data.params),
                {metric.key: (float(metric.value), int(metric.step or 0)) for metric in run.data._metric_objs},
                dict(run.data.tags),
            )
            for run in runs
        ]
    except (MlflowException, OSError, ValueError) as error:
        raise UsageError(
            f"{databases.shown(place)}: no tracking server of MLflow answers ({databases.shown(first_line(error))}). It needs the"
            " network; without it give the server's database or its mlruns folder"
        ) from None


def _pages(search: Any, **asked: Any) -> Iterator[Any]:
    """All results of one of the client's searches."""
    token = None
    while True:
        page = search(page_token=token, max_results=1000, **asked)
        yield from page
        if not (token := page.token):
            return


SOURCE = MlflowStore()
