"""The training loop: a `RunSpec` in, a record out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import torch
from torch import nn

from hptransfer.base.files import patiently
from hptransfer.models.loss import IGNORED
from hptransfer.optimizers.engine import clip_gradients
from hptransfer.runs import Claim, CurvePoint, Outcome, Record, Store
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.acceleration import accelerate
from hptransfer.trainers.ours.build import build_model, build_optimizer, optimizer_flops
from hptransfer.trainers.ours.checkpoint import Checkpoints, Misfit
from hptransfer.trainers.ours.data.batches import batch, validation_batches
from hptransfer.trainers.ours.data.corpus import Corpus
from hptransfer.trainers.ours.losses import PendingLosses
from hptransfer.trainers.ours.parallel import Strategy, World
from hptransfer.trainers.ours.points import job_of
from hptransfer.trainers.ours.schedule import decay_factor, schedule_factor
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.trainers.ours.state import RunState

Reporter = Callable[[CurvePoint], None]

# How long a step takes, which says whether compiling pays, is known after this many.
STEPS_BEFORE_COMPILING = 32


def train(
    spec: RunSpec,
    corpus: Corpus,
    *,
    store: Store | None = None,
    reporter: Reporter | None = None,
    claim: Claim | None = None,
    threads: int = 1,
    device: torch.device | None = None,
    strategy: Strategy = "ddp",
    accumulation: int = 1,
) -> Record:
    """Train one run on this process (or on all workers of the current torch.distributed group) and return its record.

    With a ``store``, the run resumes from its checkpoint there and the record is added to it (by rank 0). Divergence is a
    state of the record, never an exception. A ``claim`` is shown at every step that the work goes on. ``device``: this
    process's accelerator, or the CPU where it has none. ``strategy`` and ``accumulation`` are `World`'s: they change how a run
    is computed, not which run it is. Raises UsageError when ``corpus`` does not fit ``spec`` or the batch does not divide,
    and ClaimLost when another process has taken the run over.
    """
    corpus.require(spec.data, spec.model.context)
    world = World.current(device or machine.default_device(), strategy, accumulation)
    world.check(spec.batch_sequences, spec.precision)
    torch.set_num_threads(threads)
    checkpoints = Checkpoints(store, spec.run_id)
    run = _Run(spec, corpus, world, checkpoints)
    state = run.state
    while state.step < spec.steps and run.step():
        if claim is not None:
            claim.beat()
        if state.step in run.points:
            state.curve.append(run.evaluate())
            if reporter is not None:
                reporter(state.curve[-1])
        if run.losses.saving and state.step < spec.steps:
            checkpoints.save(run.model, run.optimizer, state)
    if state.diverged is None:
        state.see_final(state.curve[-1].val)
    record = run.record()
    if claim is not None:
        patiently(claim.confirm)
    if store is not None and world.rank == 0:
        store.add(record)
        checkpoints.remove()
    return record


class _Run:
    """A run under way on this worker: ``network`` is what is trained, ``model`` what it wraps or compiles."""

    def __init__(self, spec: RunSpec, corpus: Corpus, world: World, checkpoints: Checkpoints) -> None:
        self.spec, self.corpus, self.world = spec, corpus, world
        machine.reset_peak_memory(world.device)
        self._build()
        try:
            self.state = checkpoints.load(self.model, self.optimizer, spec.steps) or RunState()
        except Misfit:
            self._build()
            self.state = RunState()
        self._started = replace(self.state)
        self._clip_norm = spec.optimizer.resolved_options.clip_norm
        self.losses = PendingLosses(self.state, world, checkpoints.is_due, self._clip_norm)
        self.points = {round(spec.steps * (i + 1) / spec.evaluation.points) for i in range(spec.evaluation.points)}
        self._optimizing, self._clipping = machine.Stopwatch(world.device), machine.Stopwatch(world.device)

    def _build(self) -> None:
        self.model = build_model(self.spec)
        self.network = self._wrapped = self.world.wrap(self.model)
        self.optimizer = build_optimizer(self.model, self.spec)

    def step(self) -> bool:
        """One step; False when the run has diverged at it, or on an accelerator at one of those before it."""
        state, began = self.state, time.perf_counter()
        self._accelerate()
        loss = self._backward(self.network)
        self._clipping.start()
        norm = clip_gradients(self.network.parameters(), self._clip_norm)
        self._clipping.stop()
        self.losses.add(loss, norm)
        at_point = state.step + 1 in self.points
        # The mean that a point of the curve shows needs all losses up to it.
        if (at_point or self.losses.is_full) and not self.losses.read():
            return False
        self._optimizing.start()
        self.optimizer.set_schedule(schedule_factor(self.spec, state.step), decay_factor(self.spec, state.step))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._optimizing.stop()
        state.step += 1
        if at_point or self.losses.saving:
            state.optimizer_seconds += self._optimizing.take()
            if state.clipping_seconds is not None:
                state.clipping_seconds += self._clipping.take()
        state.seconds += time.perf_counter() - began
        return True

    def _backward(self, network: nn.Module) -> torch.Tensor:
        """The gradients of this worker's share of the next batch, averaged over workers; its mean loss."""
        parts, losses = self._parts(), []
        for index, (inputs, targets) in enumerate(parts):
            self.world.announce(self._wrapped, last=index == len(parts) - 1)
            loss = network(inputs, targets) / len(parts)
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _parts(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and targets of this worker's share of the next batch, in the parts that it is taken in."""
        spec, world = self.spec, self.world
        tokens = batch(
            self.corpus.train,
            seed=spec.data_seed,
            step=self.state.step,
            sequences=spec.batch_sequences,
            context=spec.model.context,
            rank=world.rank,
            workers=world.workers,
        )
        inputs, targets = (world.bring(part).chunk(world.accumulation) for part in tokens)
        return list(zip(inputs, targets, strict=True))

    def _accelerate(self) -> None:
        """Compile the network where that pays for what is left."""
        done = self.state.step - self._started.step
        if not may_compile(self.world.device) or done != STEPS_BEFORE_COMPILING:
            return
        remaining = (self.spec.steps - self.state.step) * (self.state.seconds - self._started.seconds) / done
        self.network = accelerate(self._wrapped, self._backward, self.spec, self.world, remaining_seconds=remaining)

    def evaluate(self) -> CurvePoint:
        """The point of the curve after ``state.step`` steps: on all validation tokens at the end, on an eighth of them before."""
        spec, state, began = self.spec, self.state, time.perf_counter()
        tokens = spec.evaluation.tokens if state.step == spec.steps else spec.evaluation.tokens // 8
        with self.optimizer.averaged():
            val, state.bits_per_byte = validation_loss(self.model, self.corpus, tokens, spec.model.context, self.world)
            self.world.release(self.model)
        state.evaluation_seconds += time.perf_counter() - began
        return CurvePoint(
            step=state.step,
            tokens=state.step * spec.batch_tokens,
            schedule=schedule_factor(spec, state.step - 1),
            train=state.mean,
            val=val if math.isfinite(val) else None,
        )

    def record(self) -> Record:
        """What came of it. Collective."""
        spec, state, world = self.spec, self.state, self.world
        done = state.step / spec.steps
        outcome = Outcome(
            state="diverged" if state.diverged else "complete",
            reason=state.diverged,
            loss=None if state.diverged else state.curve[-1].val,
            bits_per_byte=None if state.diverged else state.bits_per_byte,
            metrics={"factor_failures": int(world.sum(torch.tensor(self.optimizer.failures, device=world.device)))}
            | self._clipping_metrics(),
            curve=tuple(state.curve),
            steps=state.step,
            tokens=state.step * spec.batch_tokens,
            flops=spec.flops * done,
            flops_optimizer=optimizer_flops(spec) * done,
            training_wall_seconds=state.seconds,
            optimizer_wall_seconds=state.optimizer_seconds,
            evaluation_wall_seconds=state.evaluation_seconds,
            peak_memory_bytes=machine.peak_memory_bytes(world.device),
            optimizer_state_bytes=self.optimizer.state_bytes(),
            device=machine.device_name(world.device),
            workers=world.workers,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return Record(job=job_of(spec), outcome=outcome, versions=machine.versions())

    def _clipping_metrics(self) -> dict[str, float]:
        """The share of steps whose gradient was clipped, where a largest norm is set; and the seconds of the norm, and of scaling
        where one is set: the norm is taken in any case, as it shows a gradient that is not finite. Left out where unknown."""
        state, metrics = self.state, {}
        if state.clipped is not None and self._clip_norm is not None and state.step:
            metrics["clipped_share"] = state.clipped / state.step
        if state.clipping_seconds is not None:
            metrics["clipping_wall_seconds"] = state.clipping_seconds
        return metrics


def may_compile(device: torch.device) -> bool:
    """Not on a CPU: it gains little there, and the same run is to have the same bits however often it was interrupted."""
    return device.type != "cpu"


@torch.no_grad()
def validation_loss(model: nn.Module, corpus: Corpus, tokens: int, context: int, world: World) -> tuple[float, float | None]:
    """Mean validation loss in nats per token, and bits per byte of the text of these tokens where that is known.

    Each worker takes its share of the windows, as many batches as the others; read once, at the end.
    """
    total = torch.zeros(3, dtype=torch.float64, device=world.device)  # nats, tokens, bytes
    lengths = None if corpus.token_bytes is None else torch.from_numpy(corpus.token_bytes).to(world.device)
    for inputs, targets in validation_batches(corpus.val, tokens=tokens, context=context, rank=world.rank, workers=world.workers):
        inputs, targets = world.bring(inputs), world.bring(targets)
        counted = targets != IGNORED
        total[0] += model(inputs, targets, reduction="none").double().sum()
        total[1] += counted.sum()
        if lengths is not None:
            total[2] += torch.where(counted, lengths[targets.clamp(min=0)], 0).sum()
    nats, count, text = world.sum(total).tolist()
    return nats / count, nats / math.log(2) / text if text else None
