"""Tokens per second of a whole training step beside other trainers' models of the same shape.

A step goes from a batch of tokens to updated weights: forward, backward, AdamW. Ours is the `llama` preset through hptransfer's
own `build_model` and `build_optimizer`; the peers are Hugging Face transformers' Llama and litgpt's GPT with SDPA, torch's fused
AdamW and gradients set to None. Samples are interleaved, so that drift of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.optimizer_step import CLOCKS
from benchmarks.tables import markdown_table
from hptransfer.experiment.model import ModelChoice
from hptransfer.experiment.settings import DataSpec, Horizon, ScheduleSpec
from hptransfer.plan.hardware import HARDWARE
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.spec import BaseShape, ModelSpec, OptimizerSpec, RunSpec

WIDTHS = {"cpu": [64, 256, 512], "cuda": [64, 256, 512, 1536]}
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "transformers", "litgpt")
ADAM = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
COLUMNS = ("width", "parameters", "trainer", "tokens/s", "ms per step", "quartiles", "ours / this", "MFU")

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Trainer:
    """A model with its optimizer: ``loss(inputs, targets)`` is the mean cross-entropy."""

    name: str
    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    seconds: list[float] = field(default_factory=list)

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = self.loss(inputs, targets)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


@dataclass(frozen=True)
class Row:
    """One trainer's figures at one width; seconds of a step."""

    width: int
    parameters: int
    trainer: str
    tokens_per_second: float
    median: float
    first: float
    third: float
    mfu: float | None


def run_spec(width: int, arguments: argparse.Namespace) -> RunSpec:
    """A run whose base is the model itself, so that every ratio is 1."""
    chosen = ModelChoice.model_validate({"preset": "llama", "depth": arguments.depth, "context": arguments.context})
    batch_tokens = arguments.batch * arguments.context
    return RunSpec(
        model=ModelSpec(width=width, vocab=arguments.vocab, **chosen.model_dump()),
        base=BaseShape(width=width, depth=arguments.depth, tokens=1000 * batch_tokens, batch_tokens=batch_tokens),
        data=DataSpec(corpus="none", tokenizer="none", sha256="0" * 64, vocab=arguments.vocab),
        optimizer=OptimizerSpec(recipe="adamw", lr=ADAM["lr"], weight_decay=ADAM["lr"] * ADAM["weight_decay"]),
        horizon=Horizon(tokens=1000 * batch_tokens),
        batch_sequences=arguments.batch,
        schedule=ScheduleSpec(shape="constant"),
        precision="bfloat16" if arguments.device == "cuda" else "float32",
    )


def ours(spec: RunSpec, device: str) -> Trainer:
    model = build_model(spec).to(device)
    return Trainer("hptransfer", model, model, build_optimizer(model, spec))


def transformers(spec: RunSpec, device: str) -> Trainer:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = spec.model
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.width,
        intermediate_size=shape.config.hidden_width(shape.width),
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.width // shape.config.head_dim,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = LlamaForCausalLM(config)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        result: Tensor = model(input_ids=inputs, labels=targets, shift_labels=targets).loss
        return result

    return _peer("transformers", model, loss, spec, device)


def litgpt(spec: RunSpec, device: str) -> Trainer:
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    shape = spec.model
    config = Config(
        block_size=shape.context,
        vocab_size=shape.vocab,
        padded_vocab_size=shape.vocab,
        n_layer=shape.depth,
        n_head=shape.width // shape.config.head_dim,
        head_size=shape.config.head_dim,
        n_embd=shape.width,
        intermediate_size=shape.config.hidden_width(shape.width),
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    model = GPT(config)
    # Without chunks, as its pretraining does.
    return _peer(
        "litgpt", model, lambda inputs, targets: chunked_cross_entropy(model(inputs), targets, chunk_size=0), spec, device
    )


def _peer(name: str, model: nn.Module, loss: Loss, spec: RunSpec, device: str) -> Trainer:
    model.to(device, getattr(torch, spec.precision)).train()
    return Trainer(name, model, loss, torch.optim.AdamW(model.parameters(), fused=True, **ADAM))


@contextmanager
def torchvision_hidden() -> Iterator[None]:
    """Both peers import torchvision where it is installed, and mup installs one that need not match torch."""
    known = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == "torchvision":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    sys.modules["torchvision"] = None  # type: ignore[assignment]
    importlib.metadata.distribution = distribution
    try:
        yield
    finally:
        importlib.metadata.distribution = known
        del sys.modules["torchvision"]


def trainers(spec: RunSpec, device: str) -> list[Trainer]:
    """Ours and the installed peers; raises AssertionError where their parameters are not as many."""
    found = [ours(spec, device)]
    with torchvision_hidden():
        found += [build(spec, device) for build in (transformers, litgpt) if _version(build.__name__)]
    sizes = {trainer.name: sum(weight.numel() for weight in trainer.model.parameters()) for trainer in found}
    assert set(sizes.values()) == {spec.model.parameters()}, f"other shapes: {sizes}"
    return found


def measure(width: int, arguments: argparse.Namespace, console: Console) -> list[Row]:
    """One width: every trainer on the same batches, a sample of each in turn."""
    spec, device = run_spec(width, arguments), arguments.device
    entered = trainers(spec, device)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(arguments.vocab, (arguments.steps, arguments.batch, arguments.context + 1), generator=generator)
    batches = [(batch[:, :-1].contiguous().to(device), batch[:, 1:].contiguous().to(device)) for batch in drawn]
    for trainer in entered:
        losses = [trainer.step(*batch).item() for batch in batches[:2]]
        # Close to ln(vocab): the mean over targets, not a sum.
        assert all(0.5 < loss / math.log(arguments.vocab) < 2 for loss in losses), f"{trainer.name}: losses {losses}"
    for number in range(arguments.rounds):
        for trainer in entered[number % len(entered) :] + entered[: number % len(entered)]:
            trainer.seconds.append(sample(trainer, batches, device, CLOCKS[arguments.clock]))
        console.print(f"width {width}: round {number + 1} of {arguments.rounds}")
    tokens = spec.batch_tokens
    peak = HARDWARE[arguments.hardware].flops_per_second if arguments.hardware else None
    rows = []
    for trainer in entered:
        first, median, third = (float(value) for value in np.quantile(trainer.seconds, (0.25, 0.5, 0.75)))
        mfu = spec.model.flops_per_token * tokens / median / peak if peak else None
        rows.append(Row(width, spec.model.parameters(), trainer.name, tokens / median, median, first, third, mfu))
    return rows


def sample(trainer: Trainer, batches: list[tuple[Tensor, Tensor]], device: str, clock: Callable[[], float]) -> float:
    """Mean seconds of a step over the batches."""
    began = clock()
    for batch in batches:
        trainer.step(*batch)
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / len(batches)


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    """Every trainer, width by width, ours first; the faster peer is marked."""
    result = []
    for row in rows:
        same = [other for other in rows if other.width == row.width]
        fastest = max((other.tokens_per_second for other in same[1:]), default=None)
        ratio = f"{same[0].tokens_per_second / row.tokens_per_second:.2f}" if row is not same[0] else ""
        result.append(
            (
                str(row.width),
                f"{row.parameters / 1e6:.2f} M",
                row.trainer,
                f"{row.tokens_per_second:,.0f}",
                f"{1e3 * row.median:.1f}",
                f"{1e3 * row.first:.1f} to {1e3 * row.third:.1f}",
                f"{ratio} (fastest peer)" if row.tokens_per_second == fastest and row is not same[0] else ratio,
                f"{row.mfu:.1%}" if row.mfu is not None else "",
            )
        )
    return result


def markdown(origin: dict[str, Any], rows: list[Row]) -> str:
    """The table with where and how it was taken."""
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    lines = [
        "# Tokens per second of a training step",
        "",
        f"{origin['device']}; {origin['threads']} thread(s); {origin['clock']} time; {origin['precision']}; {origin['date']}; "
        f"{versions}.",
        "",
        f"`{origin['command']}`",
        "",
        f"Depth {origin['depth']}, context {origin['context']}, batch {origin['batch']}, vocabulary {origin['vocab']}, AdamW. "
        f"Medians of {origin['rounds']} interleaved samples of {origin['steps']} steps. Ours over this: above 1, ours is faster.",
        "",
        *markdown_table(COLUMNS, table(rows)),
    ]
    return "\n".join(lines) + "\n"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer_throughput", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=list(WIDTHS), default="cpu", help="cuda: in bfloat16")
    parser.add_argument("--hardware", choices=[name for name in HARDWARE if name != "cpu"], help="whose peak MFU is relative to")
    parser.add_argument("--widths", type=lambda text: [int(width) for width in text.split(",")])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="sequences")
    parser.add_argument("--vocab", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9, help="samples of each trainer")
    parser.add_argument("--steps", type=int, default=4, help="steps in a sample")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: this process's, where others run beside it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write; the table goes beside it as .md")
    arguments = parser.parse_args()
    arguments.widths = arguments.widths or WIDTHS[arguments.device]
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    if arguments.hardware and arguments.device == "cpu":
        parser.error("--hardware names a GPU: it needs --device cuda")
    if arguments.rounds < 1 or arguments.steps < 2:
        parser.error("--rounds is at least 1, --steps at least 2")
    return arguments


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    console = Console(stderr=True)
    origin: dict[str, Any] = vars(arguments) | {
        "device": machine.device_name(torch.device(arguments.device)),
        "precision": run_spec(64, arguments).precision,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python -m benchmarks.trainer_throughput", *sys.argv[1:]]),
        "versions": machine.versions() | {name: found for name in LIBRARIES if (found := _version(name))},
    }
    del origin["json"]
    rows = [row for width in arguments.widths for row in measure(width, arguments, console)]
    target = arguments.json or RESULTS / f"trainer_throughput-{arguments.device}-{origin['date'][:10]}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(origin | {"rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    target.with_suffix(".md").write_text(markdown(origin, rows))
    screen = Table(*COLUMNS, title=f"{origin['device']}, {arguments.threads} thread(s), {origin['precision']}")
    for cells in table(rows):
        screen.add_row(*cells)
    Console(width=max(console.width, 140)).print(screen)


if __name__ == "__main__":
    main()
