"""Whether compiling a network pays for a run: measured where it may, remembered, and eager execution everywhere else.

Candidates are eager execution, torch.compile and, on CUDA, torch.compile with CUDA graphs (``mode="reduce-overhead"``). What
needs CUDA is written against torch's interface and has not been run on a GPU; on a CPU the real compiler is tested.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

import torch
from torch import nn

from hptransfer.base.errors import UsageError
from hptransfer.base.files import cache_home, replace
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.parallel import World, of_first
from hptransfer.trainers.ours.spec import RunSpec

Mode = Literal["eager", "compile", "cuda_graphs"]
Pass = Callable[[nn.Module], object]
T = TypeVar("T")

# With less left, nothing is measured: compiling takes 10 to 60 seconds and gains 0 to 20 % on most networks.
WORTH_MEASURING_SECONDS = 300.0
# The first passes compile, and record a CUDA graph.
WARM_UP_PASSES, TIMED_PASSES = 3, 5


@dataclass(frozen=True)
class Timing:
    """Seconds until a candidate ran, and of one forward and backward pass from then on."""

    start_seconds: float
    pass_seconds: float


Timings = dict[Mode, Timing]


def accelerate(
    network: nn.Module,
    one_pass: Pass,
    spec: RunSpec,
    world: World,
    *,
    remaining_seconds: float,
    cache: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> nn.Module:
    """The network itself, or compiled where that is expected to save time over the ``remaining_seconds`` of an eager run.

    ``one_pass`` runs all forward and backward passes of a step with the network it is given; gradients are cleared after it,
    parameters stay. On several workers all must call this, and rank 0 decides. Measured timings are kept in ``cache``
    (default: ``hptransfer/acceleration.json`` in the user's cache folder). A compiler that fails is left out. With CUDA graphs a
    result of the network is overwritten by its next call: clone what is kept.
    """
    cache = cache or cache_home() / "acceleration.json"
    key = _key(spec, world)
    known, worth = of_first((_load(cache).get(key), remaining_seconds >= WORTH_MEASURING_SECONDS))
    if not worth:
        return network
    if known is None:
        known = of_first(time_candidates(network, one_pass, world.device, clock))
        if world.rank == 0:
            _save(cache, _load(cache) | {key: known})
    return candidate(network, of_first(fastest(known, remaining_seconds)))


def fastest(timings: Timings, remaining_seconds: float) -> Mode:
    """The candidate that ends the run first: its start, and its passes in place of eager ones."""
    passes = remaining_seconds / timings["eager"].pass_seconds
    return min(timings, key=lambda mode: (mode != "eager") * timings[mode].start_seconds + passes * timings[mode].pass_seconds)


def candidate(network: nn.Module, mode: Mode) -> nn.Module:
    """The network as a mode runs it; it shares its parameters."""
    if mode == "eager":
        return network
    torch.compiler.reset()  # a process that has compiled other shapes would compile for any, or give up
    return cast(nn.Module, torch.compile(network, mode="reduce-overhead" if mode == "cuda_graphs" else "default"))


def time_candidates(network: nn.Module, one_pass: Pass, device: torch.device, clock: Callable[[], float]) -> Timings:
    """Timings of every candidate of the device; those that fail are left out."""
    timings: Timings = {}
    for mode in get_args(Mode):
        if mode == "cuda_graphs" and device.type != "cuda":
            continue
        try:
            timings[mode] = _time(candidate(network, mode), one_pass, device, clock)
        except Exception:
            # No C++ compiler, or a graph that it cannot take: eager execution always works, and its own errors are the run's.
            if mode == "eager":
                raise
        finally:
            network.zero_grad(set_to_none=True)
    return timings


def _time(network: nn.Module, one_pass: Pass, device: torch.device, clock: Callable[[], float]) -> Timing:
    def seconds(passes: int) -> float:
        began = clock()
        for _ in range(passes):
            one_pass(network)
            network.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - began

    start = seconds(WARM_UP_PASSES)
    return Timing(start, seconds(TIMED_PASSES) / TIMED_PASSES)


def _key(spec: RunSpec, world: World) -> str:
    """What a timing depends on."""
    runtime = [machine.device_name(world.device), torch.__version__, torch.get_num_threads()]
    spread = [world.workers, world.strategy, world.accumulation, spec.batch_sequences, spec.precision]
    return json.dumps([*runtime, *spread, spec.model.model_dump()], sort_keys=True)


def _load(cache: Path) -> dict[str, Timings]:
    """What was measured before; a file that is missing or damaged is as good as none."""
    try:
        found = json.loads(cache.read_text())
        return {key: {mode: Timing(**timing) for mode, timing in timings.items()} for key, timings in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(cache: Path, found: dict[str, Timings]) -> None:
    """A folder that cannot be written costs the memory only."""
    plain = {key: {mode: asdict(timing) for mode, timing in timings.items()} for key, timings in found.items()}
    with suppress(UsageError):
        replace(cache, json.dumps(plain, indent=1))
