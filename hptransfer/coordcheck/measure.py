"""Short runs at several widths, and how far the activations of each role moved in them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from hptransfer.base.errors import UsageError
from hptransfer.base.plugins import load_plugins, loaded_plugins
from hptransfer.coordcheck.check import Activation, Run
from hptransfer.optimizers.engine import clip_gradients
from hptransfer.runs import Job
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.data.batches import batch, validation_batches
from hptransfer.trainers.ours.data.corpus import Corpus, open_corpus
from hptransfer.trainers.ours.points import spec_of


def measure(jobs: Sequence[Job], steps: Collection[int]) -> Iterator[Run]:
    """Every run in a process of its own with one thread, as many side by side as there are cores; the widest start first."""
    ordered = sorted(jobs, key=lambda job: -job.point["width"])
    workers = min(os.cpu_count() or 1, len(ordered))
    spawn, plugins = get_context("spawn"), (loaded_plugins(),)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=plugins) as pool:
        try:
            yield from pool.map(_measure, ordered, [frozenset(steps)] * len(ordered))
        except BrokenProcessPool:
            raise UsageError("a worker process died, most likely for want of memory; try narrower --widths") from None


def measure_run(job: Job, corpus: Corpus, steps: Collection[int]) -> Run:
    """RMS(h_t - h_0) in float32 of each activation at each of ``steps``, on the same validation tokens for every run.

    The steps are those of training on the data stream of the job. What is not finite ends the run; it is said, not raised.
    """
    spec, width, seed = spec_of(job.point), int(job.point["width"]), job.point.init_seed
    model = build_model(spec)
    optimizer = build_optimizer(model, spec)
    optimizer.set_schedule(1.0)
    sequences, context = spec.batch_sequences, job.point.settings["model"]["context"]
    fixed, _ = next(validation_batches(corpus.val, tokens=sequences * context, context=context))
    start = model.activations(fixed)
    rms: dict[tuple[Activation, int], float] = {}
    for step in range(1, max(steps) + 1):
        inputs, targets = batch(corpus.train, seed=spec.data_seed, step=step - 1, sequences=sequences, context=context)
        loss = model(inputs, targets)
        loss.backward()
        norm = clip_gradients(model.parameters(), spec.optimizer.resolved_options.clip_norm).item()
        if not math.isfinite(loss.item() + norm):
            return Run(width, seed, rms, f"loss {loss.item()}, gradient norm {norm} at t = {step - 1}")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step in steps:
            with optimizer.averaged():
                now = model.activations(fixed)
            moved = {name: (now[name] - start[name]).square().mean().sqrt().item() for name in now}
            if not all(map(math.isfinite, moved.values())):
                return Run(width, seed, rms, f"activations not finite at t = {step}")
            rms |= {(name, step): value for name, value in moved.items()}
    return Run(width, seed, rms)


def _start_worker(plugins: tuple[str, ...]) -> None:
    load_plugins(plugins)  # first: what is sent names what they define
    torch.set_num_threads(1)
    # The parent says that it was interrupted; the workers end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _measure(job: Job, steps: Collection[int]) -> Run:
    return measure_run(job, open_corpus(spec_of(job.point).data), steps)
