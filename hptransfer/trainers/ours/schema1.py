"""Records as earlier versions of hptransfer wrote them, brought up to date. The runs stay what they were."""

from __future__ import annotations

import json
from typing import Any

from hptransfer.base.files import Files
from hptransfer.runs.record import SCHEMA_VERSION, Record
from hptransfer.runs.store import Store
from hptransfer.trainers.ours.points import job_of
from hptransfer.trainers.ours.spec import RunSpec

SAME = (  # fields of an outcome that schema 1 has by the same name
    *("state", "reason", "loss", "bits_per_byte", "curve", "steps", "tokens", "flops", "flops_optimizer"),
    *("training_wall_seconds", "optimizer_wall_seconds", "evaluation_wall_seconds", "peak_memory_bytes"),
    *("optimizer_state_bytes", "device", "workers", "finished_at"),
)


def upgrade(store: Store) -> int:
    """Rewrite every record of schema 1, gathered ones too, and file registered predictions under their runs; how many records
    there were. Each is written before its old form goes, so that it may be interrupted and run again."""
    files, count = store.files, 0
    for name in files.list("runs", ".json"):
        count += _rewrite(store, files.read(name).decode())
    for name in store.part_names():
        for text in store.gathered(name):
            count += _rewrite(store, text)
        if count:
            files.delete(name)
    _refile_predictions(files)
    return count


def record_of(old: dict[str, Any]) -> Record:
    """A record of schema 1."""
    spec = RunSpec.model_validate(old["spec"])
    job = job_of(spec)
    if spec.run_id != old["run_id"]:  # trained by other numerics: no run of today's
        point = job.point.at(numerics=0)
        job = job.model_copy(update={"run_id": old["run_id"], "point": point})
    metrics = {"factor_failures": old.get("factor_failures", 0)}
    outcome = {name: old[name] for name in SAME if name in old} | {"metrics": metrics}
    if old["device"].startswith("imported from"):  # nobody timed it
        unknown = (
            "flops_optimizer",
            "training_wall_seconds",
            "optimizer_wall_seconds",
            "peak_memory_bytes",
            "optimizer_state_bytes",
        )
        outcome |= dict.fromkeys(unknown)
    return Record.model_validate({"job": job, "outcome": outcome, "versions": old.get("versions", {})})


def _rewrite(store: Store, text: str) -> int:
    old = json.loads(text)
    if old.get("schema_version", SCHEMA_VERSION) >= SCHEMA_VERSION:
        return 0
    store.add(record_of(old))
    return 1


def _refile_predictions(files: Files) -> None:
    """They were filed by their digest; what identifies a prediction is the run that it predicts."""
    for name in files.list("predictions", ".json"):
        registered = json.loads(files.read(name))
        if "spec" in registered["prediction"]:
            run_id = RunSpec.model_validate(registered["prediction"].pop("spec")).run_id
            files.write(f"predictions/{run_id}.json", json.dumps(registered, indent=1).encode())
            files.delete(name)
