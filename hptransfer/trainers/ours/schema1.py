"""Records as earlier versions of hptransfer wrote them, brought up to date. The runs stay what they were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hptransfer.base.errors import first_line
from hptransfer.base.stored import mapping_from_json
from hptransfer.runs.gathered import texts_in
from hptransfer.runs.record import Record
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
        count += _rewrite(store, name, [files.read(name)])
    for name in store.part_names():
        texts, _ = texts_in(files.read(name))
        rewritten = _rewrite(store, name, texts)
        if rewritten and rewritten == len(texts):
            files.delete(name)
        count += rewritten
    _refile_predictions(store)
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


def _rewrite(store: Store, name: str, texts: Sequence[bytes]) -> int:
    """How many of the records in a file were of schema 1, and are rewritten. Where one is damaged, the file is set aside."""
    count, why = 0, None
    for text in texts:
        try:
            old = mapping_from_json(text)
            if old.get("schema_version") == 1:
                store.add(record_of(old))
                count += 1
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = ValueError(f"a record in it cannot be read: {first_line(error)}")
    if why:
        store.set_aside(name, why)
    return count


def _refile_predictions(store: Store) -> None:
    """They were filed by their digest; what identifies a prediction is the run that it predicts."""
    files = store.files
    for name in files.list("predictions", ".json"):
        registered = store.registered(name)
        if registered is not None and "spec" in registered["prediction"]:
            run_id = RunSpec.model_validate(registered["prediction"].pop("spec")).run_id
            files.write(f"predictions/{run_id}.json", json.dumps(registered, indent=1).encode())
            files.delete(name)
