"""Records of runs that were never trained."""

from collections import defaultdict

from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import Job, Outcome, Record

DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)
EVERYWHERE = defaultdict[str, DataSpec](lambda: DATA)  # what the runs of any arm read


def record_of(job: Job, loss: float | None = 2.0, **changes: object) -> Record:
    """A finished run of ``job``; ``loss`` None: diverged. ``changes`` are of its outcome."""
    fields = {
        "state": "diverged" if loss is None else "complete",
        "reason": "loss nan at step 3" if loss is None else None,
        "steps": job.steps,
        "tokens": job.point["tokens"],
        "loss": loss,
        "flops": job.flops,
        "flops_optimizer": job.flops / 100,
        "training_wall_seconds": 2.0,
        "optimizer_wall_seconds": 0.1,
        "evaluation_wall_seconds": 0.0,
        "peak_memory_bytes": 1,
        "optimizer_state_bytes": 1,
        "device": "test",
    }
    return Record(job=job, outcome=Outcome.model_validate(fields | changes))
