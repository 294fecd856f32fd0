"""Time and memory of an optimizer step: every recipe beside the libraries that do the same work.

Everyone gets the same weights and the same gradients, written anew before each step; only the step is timed. A sample is one
refresh period of steps, and samples are interleaved, so that drift of the machine hits all alike. No gradient is computed
outside the forward and backward pass that the overhead over AdamW is relative to.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.optim import Optimizer

from benchmarks.peers import ADAM, LR, PEERS, PERIOD, WEIGHT_DECAY, Params, Peer
from benchmarks.tables import Report, Row, markdown, tables
from hptransfer.experiment.settings import DataSpec, Horizon, ScheduleSpec
from hptransfer.models.gpt.family import GPT_FAMILY
from hptransfer.models.model import Model
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.spec import BaseShape, ModelSpec, OptimizerSpec, RunSpec

DEPTHS = {256: 6, 512: 4}
CONTEXT = 128
VOCAB = 256
BATCH_SEQUENCES = 8
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "pytorch-optimizer", "heavyball", "schedulefree")


def run_spec(width: int, recipe: str, options: dict[str, Any]) -> RunSpec:
    """A run whose base is the model itself, so that every ratio is 1."""
    batch_tokens = BATCH_SEQUENCES * CONTEXT
    depth = DEPTHS[width]
    return RunSpec(
        model=ModelSpec(width=width, depth=depth, head_dim=64, mlp_ratio=4, context=CONTEXT, vocab=VOCAB),
        base=BaseShape(width=width, depth=depth, tokens=1000 * batch_tokens, batch_tokens=batch_tokens),
        data=DataSpec(corpus="none", tokenizer="bytes", sha256="0" * 64, vocab=VOCAB),
        # Peers' SGD has no decoupled weight decay.
        optimizer=OptimizerSpec(
            recipe=recipe, lr=LR, weight_decay=0.0 if recipe == "sgd" else LR * WEIGHT_DECAY, options=options
        ),
        horizon=Horizon(tokens=1000 * batch_tokens),
        batch_sequences=BATCH_SEQUENCES,
        schedule=ScheduleSpec(shape="constant"),
    )


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Gradients:
    """One period of gradients of full rank and uneven scale, and the buffers that every contender's ``.grad`` is."""

    def __init__(self, model: Model) -> None:
        generator = torch.Generator().manual_seed(0)
        self._pool = [[self._draw(p, generator) for p in model.parameters()] for _ in range(PERIOD)]
        self._buffers = [torch.empty_like(p) for p in model.parameters()]

    @staticmethod
    def _draw(parameter: Tensor, generator: torch.Generator) -> Tensor:
        rows, columns = parameter.shape
        scale = torch.randn(rows, 1, generator=generator).exp() * torch.randn(1, columns, generator=generator).exp()
        return 1e-3 * scale * torch.randn(rows, columns, generator=generator)

    def give(self, parameters: Params, step: int) -> None:
        """Write the gradients of a step: some optimizers overwrite theirs, transpose or drop them."""
        torch._foreach_copy_(self._buffers, self._pool[step % PERIOD])
        for parameter, buffer in zip(parameters, self._buffers, strict=True):
            parameter.grad = buffer.view_as(buffer)


@dataclass
class Timed:
    """Something to time: ``steps`` calls of ``once`` are a sample, each after an untimed ``prepare``; both get its number."""

    once: Callable[[int], None]
    prepare: Callable[[int], None]
    clock: Callable[[], float]
    steps: int = PERIOD
    calls: int = 0
    samples: list[float] = field(default_factory=list)

    def sample(self) -> float:
        """Mean seconds of a call."""
        seconds = 0.0
        for _ in range(self.steps):
            self.prepare(self.calls)
            began = self.clock()
            self.once(self.calls)
            seconds += self.clock() - began
            self.calls += 1
        return seconds / self.steps


@dataclass
class Contender:
    """One set of optimizers on its own copy of the model."""

    recipe: str
    variant: str
    peer: Peer
    parameters: Params
    optimizers: list[Optimizer]
    gradients: Gradients

    def __post_init__(self) -> None:
        for optimizer in self.optimizers:
            if callable(train := getattr(optimizer, "train", None)):
                train()

    def prepare(self, number: int) -> None:
        self.gradients.give(self.parameters, number)

    def step(self, number: int) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def warm_up(self, steps: int) -> None:
        """Untimed steps, which check that every parameter has moved when it should have. More of them while anything compiles."""
        before = [p.detach().clone() for p in self.parameters]
        compiled = counters["stats"]["unique_graphs"]
        for number in range(steps):
            self.prepare(number)
            self.step(number)
            if number + 1 == self.peer.wakes:
                still = sum(torch.equal(p, old) for p, old in zip(self.parameters, before, strict=True))
                assert not still, f"{self.peer.title} left {still} parameters of {len(before)} where they were"
        while compiled < (compiled := counters["stats"]["unique_graphs"]):
            for number in range(PERIOD):
                self.prepare(number)
                self.step(number)
        assert all(p.isfinite().all() for p in self.parameters), f"{self.peer.title} diverged"

    def state_bytes(self) -> int:
        seen: set[int] = set()
        return sum(
            optimizer.state_bytes() if isinstance(optimizer, ChainOptimizer) else _bytes(optimizer.state, seen)
            for optimizer in [*self.optimizers, *(o.optimizer for o in self.optimizers if hasattr(o, "optimizer"))]
        )


def _bytes(value: Any, seen: set[int]) -> int:
    """Bytes of all tensors below ``value``, each counted once."""
    if id(value) in seen or isinstance(value, nn.Parameter):
        return 0
    seen.add(id(value))
    match value:
        case Tensor():
            return value.numel() * value.element_size()
        case dict():
            return sum(_bytes(item, seen) for item in value.values())
        case list() | tuple():
            return sum(_bytes(item, seen) for item in value)
        case _:
            return _bytes(vars(value), seen) if hasattr(value, "__dict__") else 0


def contenders(width: int, recipe: str, gradients: Gradients) -> list[Contender]:
    """Ours in each variant, and the installed peers of each."""
    fields = get_recipe(recipe).options.model_fields
    variants: dict[str, dict[str, Any]] = {"": {}}
    if "block_size" in fields:
        blocked = {"precondition_frequency": PERIOD}
        variants = {"unblocked": blocked | {"block_size": 0}, "blocked": blocked}
    elif "bfloat16" in fields:
        variants = {"float32": {}, "bfloat16": {"bfloat16": True}}
    result = []
    for variant, options in variants.items():
        spec = run_spec(width, recipe, options)
        model = build_model(spec)
        ours = Peer("ours", recipe, partial(_build_ours, model, spec))
        result.append(_contender(spec, variant, ours, model, gradients))
        for peer in PEERS.get(recipe, ()):
            if peer.installed and variant in ("", peer.variant):
                result.append(_contender(spec, variant, peer, build_model(spec), gradients))
    return result


def _build_ours(model: Model, spec: RunSpec, matrix: Params, rest: Params) -> list[Optimizer]:
    return [build_optimizer(model, spec)]


def _contender(spec: RunSpec, variant: str, peer: Peer, model: Model, gradients: Gradients) -> Contender:
    recipe = spec.optimizer.recipe
    hidden = {weight.kind for weight in spec.model.weights() if weight.role == "hidden"}
    matrix: Params = []
    rest: Params = []
    for name, parameter in model.named_parameters():
        (matrix if get_recipe(recipe).everywhere or GPT_FAMILY.kind(name) in hidden else rest).append(parameter)
    return Contender(recipe, variant, peer, list(model.parameters()), peer.build(matrix, rest), gradients)


def forward_backward(model: Model, clock: Callable[[], float]) -> Timed:
    """The pass that a training step makes besides the optimizer's."""
    generator = torch.Generator().manual_seed(1)
    shape = (BATCH_SEQUENCES, CONTEXT)
    inputs, targets = (torch.randint(VOCAB, shape, generator=generator) for _ in range(2))

    def prepare(_: int) -> None:
        model.zero_grad(set_to_none=True)

    def once(_: int) -> None:
        model(inputs, targets).backward()

    return Timed(once, prepare, clock, steps=3)


def clipping(model: Model, gradients: Gradients, clock: Callable[[], float]) -> Timed:
    """Global-norm clipping that clips."""
    parameters = list(model.parameters())

    def prepare(number: int) -> None:
        gradients.give(parameters, number)

    def once(_: int) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1e-3, foreach=True)

    return Timed(once, prepare, clock)


def measure(width: int, recipes: list[str], arguments: argparse.Namespace, console: Console) -> Report:
    """One width. AdamW of ours is always measured: overheads are relative to it."""
    clock = CLOCKS[arguments.clock]
    model = build_model(run_spec(width, "adamw", {}))
    gradients = Gradients(model)
    entered = [c for recipe in recipes for c in contenders(width, recipe, gradients)]
    if "adamw" not in recipes:
        entered.insert(0, contenders(width, "adamw", gradients)[0])
    for contender in entered:
        began = time.perf_counter()
        contender.warm_up(arguments.warm_up)
        seconds = time.perf_counter() - began
        console.print(f"width {width}: warmed {contender.peer.title} {contender.variant} in {seconds:.1f} s")
    pass_, clip = forward_backward(build_model(run_spec(width, "adamw", {})), clock), clipping(model, gradients, clock)
    steps = [Timed(contender.step, contender.prepare, clock, calls=arguments.warm_up) for contender in entered]
    pass_.sample()
    every = [pass_, clip, *steps]
    for number in range(arguments.rounds):
        began = time.perf_counter()
        start = number * len(every) // arguments.rounds
        for timed in every[start:] + every[:start]:
            timed.samples.append(timed.sample())
        console.print(f"width {width}: round {number + 1} of {arguments.rounds} in {time.perf_counter() - began:.1f} s")
    return Report(
        width=width,
        depth=DEPTHS[width],
        parameters=sum(p.numel() for p in model.parameters()),
        forward_backward=quartiles(pass_),
        clipping=quartiles(clip),
        rows=[_row(contender, timed) for contender, timed in zip(entered, steps, strict=True)],
    )


def _row(contender: Contender, timed: Timed) -> Row:
    peer = contender.peer
    return Row(
        contender.recipe,
        contender.variant,
        peer.library,
        peer.name,
        peer.note,
        peer.same_work,
        *quartiles(timed),
        contender.state_bytes(),
    )


def quartiles(timed: Timed) -> tuple[float, float, float]:
    """Median, first and third quartile of the samples, in seconds."""
    first, median, third = np.quantile(timed.samples, (0.25, 0.5, 0.75))
    return float(median), float(first), float(third)


def provenance(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where, when, with what the figures were taken."""
    return {
        "machine": machine.device_name(torch.device("cpu")),
        "threads": arguments.threads,
        "clock": arguments.clock,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python -m benchmarks.optimizer_step", *_given(arguments)]),
        "versions": machine.versions() | {name: v for name in LIBRARIES if (v := _version(name))},
        "batch": [BATCH_SEQUENCES, CONTEXT],
        "steps_per_sample": PERIOD,
        "adam": ADAM,
    }


def _given(arguments: argparse.Namespace) -> list[str]:
    given = [f"--widths {','.join(map(str, arguments.widths))}", f"--rounds {arguments.rounds}", f"--threads {arguments.threads}"]
    given += [f"--warm-up {arguments.warm_up}", f"--clock {arguments.clock}"]
    return [*given, *([f"--only {','.join(arguments.only)}"] if arguments.only else [])]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimizer_step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--widths", type=lambda text: [int(width) for width in text.split(",")], default=list(DEPTHS))
    parser.add_argument("--rounds", type=int, default=7, help="samples of each optimizer")
    parser.add_argument("--warm-up", type=int, default=2 * PERIOD, help="untimed steps of each optimizer first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: this process's, where others run beside it")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], metavar="RECIPE[,RECIPE]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write; the table goes beside it as .md")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.only) - set(RECIPES.names())) or sorted(set(arguments.widths) - set(DEPTHS)):
        parser.error(f"unknown: {', '.join(map(str, unknown))}")
    if arguments.warm_up < PERIOD or arguments.rounds < 1:
        parser.error(f"--warm-up is at least {PERIOD}, --rounds at least 1")
    return arguments


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    console = Console(stderr=True)
    for library in {peer.library: peer for peers in PEERS.values() for peer in peers if not peer.installed}:
        console.print(f"{library} is not installed: its peers are left out")
    origin = provenance(arguments)
    recipes = arguments.only or list(RECIPES.names())
    reports = [measure(width, recipes, arguments, console) for width in arguments.widths]
    target = arguments.json or RESULTS / f"optimizer_step-{origin['date'][:10]}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(origin | {"widths": [asdict(report) for report in reports]}, indent=1) + "\n")
    target.with_suffix(".md").write_text(markdown(origin, reports))
    screen = Console(width=max(console.width, 170))
    for report in reports:
        for table in tables(report):
            screen.print(table)


if __name__ == "__main__":
    main()
