"""The training loop: a `RunSpec` in, a `RunRecord` out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import nn

from hptransfer.data.batches import batch, validation_batches
from hptransfer.data.corpus import Corpus
from hptransfer.errors import UsageError
from hptransfer.models import build_model
from hptransfer.optim import ChainOptimizer, build_optimizer, clip_gradients, optimizer_flops
from hptransfer.spec import RunSpec
from hptransfer.store import Claim, CurvePoint, RunRecord, Store
from hptransfer.train import machine
from hptransfer.train.checkpoint import Checkpoints
from hptransfer.train.parallel import World
from hptransfer.train.schedule import decay_factor, schedule_factor
from hptransfer.train.state import RunState

Reporter = Callable[[CurvePoint], None]


def train(
    spec: RunSpec,
    corpus: Corpus,
    *,
    store: Store | None = None,
    reporter: Reporter | None = None,
    claim: Claim | None = None,
    threads: int = 1,
) -> RunRecord:
    """Train one run on this process (or on all workers of the current torch.distributed group) and return its record.

    With a ``store``, the run resumes from its checkpoint there and the record is added to it (by rank 0). Divergence is a
    state of the record, never an exception. A ``claim`` is shown at every step that the work goes on. Raises UsageError when
    ``corpus`` is not the one of ``spec``, and ClaimLost when another process has taken the run over.
    """
    if corpus.spec.sha256 != spec.data.sha256:
        here, asked = corpus.spec.sha256[:16], spec.data.sha256[:16]
        raise UsageError(f"corpus {spec.data.corpus} here has sha256 {here}, the run asks for {asked}: other data")
    world = World.current()
    if spec.batch_sequences % world.workers:
        raise UsageError(f"batch_sequences {spec.batch_sequences} is not a multiple of {world.workers} workers")
    torch.set_num_threads(threads)
    machine.reset_peak_memory()
    model = build_model(spec)
    optimizer = build_optimizer(model, spec)
    network = world.wrap(model)
    checkpoints = Checkpoints(store, spec.run_id)
    state = RunState()
    if (saved := checkpoints.load()) is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state = RunState.from_dict(saved["state"])
    points = {round(spec.steps * (i + 1) / spec.evaluation.points) for i in range(spec.evaluation.points)}
    while state.step < spec.steps and _step(spec, corpus, network, optimizer, state, world):
        if claim is not None:
            claim.beat()
        if state.step in points:
            began = time.perf_counter()
            with optimizer.averaged():
                point = _evaluate(spec, corpus, model, state)
            state.evaluation_seconds += time.perf_counter() - began
            state.curve.append(point)
            if reporter is not None:
                reporter(point)
        if checkpoints.due() and world.rank == 0 and state.step < spec.steps:
            checkpoints.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state.to_dict()})
    if state.diverged is None:
        state.see_final(state.curve[-1].val)
    record = _record(spec, corpus, optimizer, state, world)
    if claim is not None:
        claim.confirm()
    if store is not None and world.rank == 0:
        store.add(record)
        checkpoints.remove()
    return record


def _step(spec: RunSpec, corpus: Corpus, network: nn.Module, optimizer: ChainOptimizer, state: RunState, world: World) -> bool:
    """One step; False when the run has diverged at it."""
    began = time.perf_counter()
    inputs, targets = batch(
        corpus.train,
        seed=spec.data_seed,
        step=state.step,
        sequences=spec.batch_sequences,
        context=spec.model.context,
        rank=world.rank,
        workers=world.workers,
    )
    loss = network(inputs, targets)
    loss.backward()
    if not state.see(world.mean(loss.detach()).item()):
        return False
    stepped = time.perf_counter()
    if not state.see_gradient(clip_gradients(network.parameters(), spec.optimizer.resolved_options.clip_norm)):
        return False
    optimizer.set_schedule(schedule_factor(spec, state.step), decay_factor(spec, state.step))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.optimizer_seconds += time.perf_counter() - stepped
    state.seconds += time.perf_counter() - began
    return True


@torch.no_grad()
def _validate(model: nn.Module, corpus: Corpus, tokens: int, context: int) -> float:
    """Mean validation loss in nats per token; every rank computes it, so that none has to wait for a message."""
    total, count = 0.0, 0
    for inputs, targets in validation_batches(corpus.val, tokens=tokens, context=context):
        total += model(inputs, targets).item() * targets.numel()
        count += targets.numel()
    return total / count


def _evaluate(spec: RunSpec, corpus: Corpus, model: nn.Module, state: RunState) -> CurvePoint:
    """The point of the curve after ``state.step`` steps: on all validation tokens at the end, on an eighth of them before."""
    tokens = spec.evaluation.tokens if state.step == spec.steps else spec.evaluation.tokens // 8
    val = _validate(model, corpus, tokens, spec.model.context)
    return CurvePoint(
        step=state.step,
        tokens=state.step * spec.batch_tokens,
        schedule=schedule_factor(spec, state.step - 1),
        train=state.mean,
        val=val if math.isfinite(val) else None,
    )


def _record(spec: RunSpec, corpus: Corpus, optimizer: ChainOptimizer, state: RunState, world: World) -> RunRecord:
    loss = None if state.diverged else state.curve[-1].val
    bits = loss / math.log(2) / corpus.bytes_per_token if loss is not None and corpus.bytes_per_token else None
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        state="diverged" if state.diverged else "complete",
        reason=state.diverged,
        steps=state.step,
        tokens=state.step * spec.batch_tokens,
        loss=loss,
        bits_per_byte=bits,
        curve=tuple(state.curve),
        flops=spec.flops * state.step / spec.steps,
        flops_optimizer=optimizer_flops(spec) * state.step / spec.steps,
        training_wall_seconds=state.seconds,
        optimizer_wall_seconds=state.optimizer_seconds,
        evaluation_wall_seconds=state.evaluation_seconds,
        peak_memory_bytes=machine.peak_memory_bytes(),
        optimizer_state_bytes=optimizer.state_bytes(),
        factor_failures=optimizer.failures,
        device=machine.device(),
        workers=world.workers,
        versions=machine.versions(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
