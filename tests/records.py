"""Records of runs that were never trained."""

from hptransfer.trainers.ours.spec import DataSpec, RunSpec
from hptransfer.runs import RunRecord

DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)


def record_of(spec: RunSpec, loss: float | None = 2.0, **changes: object) -> RunRecord:
    """A finished run of ``spec``; ``loss`` None: diverged."""
    fields = {
        "run_id": spec.run_id,
        "spec": spec,
        "state": "diverged" if loss is None else "complete",
        "reason": "loss nan at step 3" if loss is None else None,
        "steps": spec.steps,
        "tokens": spec.tokens,
        "loss": loss,
        "flops": spec.flops,
        "flops_optimizer": spec.flops / 100,
        "training_wall_seconds": 2.0,
        "optimizer_wall_seconds": 0.1,
        "peak_memory_bytes": 1,
        "optimizer_state_bytes": 1,
        "device": "test",
    }
    return RunRecord.model_validate(fields | changes)
