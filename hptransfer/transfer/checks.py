"""The preconditions of transfer, checked one by one on the runs and the target. What fails is named, never silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hptransfer.spec import Horizon, RunSpec
from hptransfer.store import RunRecord
from hptransfer.transfer.prediction import Check

MAX_EXTRAPOLATION = 8.0  # in width; the paper's muP runs stay near-optimal to here (arXiv 2512.05620, section 4)


def preconditions(records: Sequence[RunRecord], used: Sequence[RunRecord], target: RunSpec) -> tuple[Check, ...]:
    """Every precondition; ``used`` are the records at the frozen embedding_lr_ratio, ``target`` the predicted run."""
    specs = [record.spec for record in used]
    return (
        _same("block size", specs, target, lambda spec: spec.block_size),
        _same("optimizer options", specs, target, lambda spec: spec.optimizer.resolved_options),
        _same("horizon policy", specs, target, lambda spec: _horizon(spec.horizon)),
        _same("schedule", specs, target, lambda spec: spec.schedule),
        _same("batch", specs, target, lambda spec: f"{spec.batch_tokens} tokens"),
        _same("corpus", specs, target, lambda spec: f"{spec.data.corpus} {spec.data.sha256[:8]}"),
        _role_ratio(records, used),
        _theory(target),
        _tokens(specs, target),
        _extrapolation(specs, target),
    )


def _same(name: str, specs: Sequence[RunSpec], target: RunSpec, read: Callable[[RunSpec], Any]) -> Check:
    wanted = str(read(target))
    other = sorted({str(read(spec)) for spec in specs} - {wanted})
    return Check(
        name=name,
        ok=not other,
        detail=f"target {wanted}, runs also {'; '.join(other)}" if other else f"{wanted} in runs and target",
    )


def _horizon(horizon: Horizon) -> str:
    if horizon.policy == "tpp":
        return f"{horizon.tpp:g} tokens per parameter ({horizon.convention})"
    return f"{horizon.tokens} tokens"


def _role_ratio(records: Sequence[RunRecord], used: Sequence[RunRecord]) -> Check:
    ratio = used[0].spec.optimizer.embedding_lr_ratio
    largest = max(record.spec.model.width for record in records)
    smallest = min(record.spec.model.width for record in records)
    left_out = [record for record in records if record.spec.optimizer.embedding_lr_ratio != ratio]
    strays = sorted({record.spec.model.width for record in left_out if record.spec.model.width > smallest})
    where = f", some at width {', '.join(map(str, strays))}" if strays else ""
    return Check(
        name="role ratio",
        ok=not strays,
        detail=f"embedding_lr_ratio {ratio:g} at width {largest}; {len(left_out)} runs at others left out{where}",
    )


def _theory(target: RunSpec) -> Check:
    assumed = target.optimizer.resolved_options.uncovered() if target.parametrization == "mup" else ()
    detail = f"does not cover {'; nor '.join(assumed)}" if assumed else "covers this optimizer and its options"
    return Check(name="theory", ok=True, detail=detail)


def _tokens(specs: Sequence[RunSpec], target: RunSpec) -> Check:
    low, high = min(spec.tokens for spec in specs), max(spec.tokens for spec in specs)
    if target.horizon.policy == "tpp" and all(spec.horizon == target.horizon for spec in specs):
        detail = f"{target.tokens} at the target, {low} to {high} in the runs: they grow with width, and the drift holds both"
        return Check(name="tokens", ok=True, detail=detail)
    detail = f"{target.tokens} at the target, {low} to {high} in the runs"
    return Check(name="tokens", ok=low <= target.tokens <= high, detail=detail)


def _extrapolation(specs: Sequence[RunSpec], target: RunSpec) -> Check:
    factor = target.model.width / max(spec.model.width for spec in specs)
    detail = f"{factor:.3g}x in width beyond the widest run, {MAX_EXTRAPOLATION:g}x is the most that is trusted"
    return Check(name="extrapolation", ok=factor <= MAX_EXTRAPOLATION, detail=detail)
