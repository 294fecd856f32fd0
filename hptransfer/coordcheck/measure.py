"""Short runs at several widths, and how far the activations of each role moved in them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TypeVar

import torch
from torch import Tensor

from hptransfer.base.errors import UsageError
from hptransfer.base.plugins import load_plugins, loaded_plugins
from hptransfer.coordcheck.check import Activation, Run
from hptransfer.optimizers.engine import ChainOptimizer, clip_gradients
from hptransfer.runs import Job
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.data.batches import batch, validation_batches
from hptransfer.trainers.ours.data.corpus import Corpus, open_corpus
from hptransfer.trainers.ours.points import spec_of

T = TypeVar("T")


def measure(jobs: Sequence[Job], steps: Collection[int]) -> Iterator[Run]:
    """The runs of our own models, see `in_processes`."""
    return in_processes(_measure, sorted(jobs, key=lambda job: -job.point["width"]), steps)


def in_processes(run: Callable[[T, Collection[int]], Run], tasks: Sequence[T], steps: Collection[int]) -> Iterator[Run]:
    """Every run in a process of its own with one thread, as many side by side as there are cores, in the order of the tasks:
    the widest should start first."""
    workers = min(os.cpu_count() or 1, len(tasks))
    spawn, plugins = get_context("spawn"), (loaded_plugins(),)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=plugins) as pool:
        try:
            yield from pool.map(run, tasks, [frozenset(steps)] * len(tasks))
        except BrokenProcessPool:
            raise UsageError("a worker process died, most likely for want of memory; try narrower --widths") from None


def measure_run(job: Job, corpus: Corpus, steps: Collection[int]) -> Run:
    """A run of one of our own models, see `follow`."""
    spec, width = spec_of(job.point), int(job.point["width"])
    model = build_model(spec)
    optimizer = build_optimizer(model, spec)
    batches = Batches(corpus, spec.data_seed, spec.batch_sequences, job.point.settings["model"]["context"])
    clip_norm = spec.optimizer.resolved_options.clip_norm
    run = Run(width, job.point.init_seed, {})
    return follow(run, steps, batches, model.activations, model, optimizer, clip_norm=clip_norm)


@dataclass(frozen=True)
class Batches:
    """The tokens of a run: those that it trains on by its seed, and the fixed ones on which activations are seen."""

    corpus: Corpus
    seed: int
    sequences: int
    context: int

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, from 0."""
        return batch(self.corpus.train, seed=self.seed, step=step, sequences=self.sequences, context=self.context)

    def fixed(self) -> Tensor:
        """The same validation tokens for every run."""
        tokens = self.sequences * self.context
        inputs, _ = next(validation_batches(self.corpus.val, tokens=tokens, context=self.context))
        return inputs


def follow(
    run: Run,
    steps: Collection[int],
    batches: Batches,
    activations: Callable[[Tensor], Mapping[Activation, Tensor]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: ChainOptimizer,
    *,
    clip_norm: float | None,
) -> Run:
    """``run`` with RMS(h_t - h_0) in float32 of each activation at each of ``steps``.

    What is not finite ends the run; it is said, not raised.
    """
    optimizer.set_schedule(1.0)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    fixed = batches.fixed()
    start = activations(fixed)
    rms: dict[tuple[Activation, int], float] = {}
    for step in range(1, max(steps) + 1):
        loss = loss_of(*batches.at(step - 1))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(parameters, clip_norm).item()
        if not math.isfinite(loss.item() + norm):
            return replace(run, rms=rms, diverged=f"loss {loss.item()}, gradient norm {norm} at t = {step - 1}")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step in steps:
            with optimizer.averaged():
                now = activations(fixed)
            moved = {name: (now[name] - start[name]).square().mean().sqrt().item() for name in now}
            if not all(map(math.isfinite, moved.values())):
                return replace(run, rms=rms, diverged=f"activations not finite at t = {step}")
            rms |= {(name, step): value for name, value in moved.items()}
    return replace(run, rms=rms)


def _start_worker(plugins: tuple[str, ...]) -> None:
    load_plugins(plugins)  # first: what is sent names what they define
    torch.set_num_threads(1)
    # The parent says that it was interrupted; the workers end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _measure(job: Job, steps: Collection[int]) -> Run:
    return measure_run(job, open_corpus(spec_of(job.point).data), steps)
