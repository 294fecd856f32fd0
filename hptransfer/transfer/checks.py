"""The preconditions of transfer, checked one by one on the runs and the target. What fails is named, never silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hptransfer.base.errors import CheckFailed
from hptransfer.trainers.ours.spec import Horizon, RunSpec
from hptransfer.runs import RunRecord
from hptransfer.transfer.prediction import Check

MAX_EXTRAPOLATION = 32.0  # in width; no public sweep that the method was tested on reaches further
# Without these there is nothing to predict from: the runs do not belong together, or the target is out of sight.
REQUIRED = ("widths", "corpus", "schedule", "extrapolation")


def preconditions(records: Sequence[RunRecord], used: Sequence[RunRecord], target: RunSpec) -> tuple[Check, ...]:
    """Every precondition; ``used`` are the records at the frozen embedding_lr_ratio, ``target`` the predicted run."""
    specs = [record.spec for record in used]
    return (
        _widths(specs),
        _same("block size", specs, target, lambda spec: spec.block_size),
        _same("optimizer options", specs, target, lambda spec: spec.optimizer.resolved_options),
        _horizons(specs, target),
        _same("schedule", specs, target, lambda spec: spec.schedule),
        _batch(specs, target),
        _same("corpus", specs, target, lambda spec: f"{spec.data.corpus} {spec.data.sha256[:8]}"),
        _role_ratio(records, used),
        _theory(target),
        _extrapolation(specs, target),
    )


def require(checks: Sequence[Check], recipe: str) -> None:
    """Raise CheckFailed for the first failed check of `REQUIRED`."""
    for check in checks:
        if check.name in REQUIRED and not check.ok:
            raise CheckFailed(f"{recipe}: no prediction, {check.name}: {check.detail} (--force goes on all the same)")


def _same(name: str, specs: Sequence[RunSpec], target: RunSpec, read: Callable[[RunSpec], Any]) -> Check:
    wanted = str(read(target))
    other = sorted({str(read(spec)) for spec in specs} - {wanted})
    return Check(
        name=name,
        ok=not other,
        detail=f"target {wanted}, runs also {'; '.join(other)}" if other else f"{wanted} in runs and target",
    )


def _widths(specs: Sequence[RunSpec]) -> Check:
    widths = sorted({spec.model.width for spec in specs})
    if len(widths) > 1:
        return Check(name="widths", ok=True, detail=f"runs at {', '.join(map(str, widths))}")
    return Check(name="widths", ok=False, detail=f"one width, {widths[0]}, shows no drift; search a second one")


def _horizons(specs: Sequence[RunSpec], target: RunSpec) -> Check:
    """Tokens beyond the swept ones widen the interval, and the detail says so."""
    if target.horizon.policy == "tpp" and all(spec.horizon == target.horizon for spec in specs):
        detail = f"{horizon_words(target.horizon)} in runs and target: tokens grow with width, and the drift holds both"
        return Check(name="horizon", ok=True, detail=detail)
    if any(spec.horizon.policy != target.horizon.policy for spec in specs) and target.horizon.policy == "tpp":
        policies = sorted({horizon_words(spec.horizon) for spec in specs})
        detail = f"target {horizon_words(target.horizon)}, runs {'; '.join(policies)}"
        return Check(name="horizon", ok=False, detail=detail)
    rule = "interval widened by lr* ~ tokens^(0 +- 0.25): published laws disagree on the sign"
    return _range("horizon", [spec.tokens for spec in specs], target.tokens, rule)


def _batch(specs: Sequence[RunSpec], target: RunSpec) -> Check:
    rule = "lr moved by the square-root rule, interval widened by lr* ~ batch^(0.5 +- 0.25)"
    return _range("batch", [spec.batch_tokens for spec in specs], target.batch_tokens, rule)


def _range(name: str, swept: Sequence[int], target: int, rule: str) -> Check:
    low, high = min(swept), max(swept)
    swept_words = f"{low} tokens in the runs" if low == high else f"{low} to {high} tokens in the runs"
    beyond = "" if low <= target <= high else f": {rule}"
    return Check(name=name, ok=True, detail=f"{target} tokens at the target, {swept_words}{beyond}")


def horizon_words(horizon: Horizon) -> str:
    """A horizon's policy and value."""
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


def _extrapolation(specs: Sequence[RunSpec], target: RunSpec) -> Check:
    factor = target.model.width / max(spec.model.width for spec in specs)
    detail = f"{factor:.3g}x in width beyond the widest run, {MAX_EXTRAPOLATION:g}x is the most that was ever tested"
    return Check(name="extrapolation", ok=factor <= MAX_EXTRAPOLATION, detail=detail)
