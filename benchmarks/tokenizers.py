"""Bits per byte of one text under bytes and byte-level BPEs at equal compute: ``python -m benchmarks.tokenizers``.

One small model each (AdamW, the quickstart's family and schedule), trained by the product's own loop for as many tokens as the
same model FLOPs allow; of a few learning rates the best is shown. Bits per byte are taken over the whole validation split, which
is the same text for every tokenizer.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy.typing as npt

from benchmarks.tables import markdown_table
from hptransfer.base.errors import CheckFailed
from hptransfer.cli import console, number
from hptransfer.experiment import load_experiment
from hptransfer.models.loss import IGNORED
from hptransfer.runs import Job, Record
from hptransfer.trainers.ours.data.batches import validation_batches
from hptransfer.trainers.ours.data.corpus import Corpus, load_corpus, open_corpus
from hptransfer.trainers.ours.loop import train
from hptransfer.trainers.ours.points import resolve, spec_of

RESULTS = Path(__file__).parent / "results"
CHOICES = {
    "bytes": ["data.tokenizer=bytes"],
    "BPE 512": ["data.tokenizer=bpe", "data.vocab=512"],
    "BPE 4096": ["data.tokenizer=bpe", "data.vocab=4096"],
}
COLUMNS = ("tokens are", "parameters", "training tokens", "of text, MB", "TFLOPs", "LR", "nats per token", "bytes judged on",
           "bits per byte")  # fmt: skip


def planned(corpus: Corpus, settings: Sequence[str], width: int, flops: float, lr: float) -> Job:
    """The run of those FLOPs, a tenth of it warm-up, that is judged on all of the validation split at its end."""
    val = sum(map(len, corpus.val))
    free = ["horizon.tokens=1000000", "schedule.warmup_tokens=0", f"evaluation.tokens={val}", "evaluation.points=1"]
    experiment = load_experiment("quickstart", [*settings, *free])
    arm = experiment.arm("adamw")
    point = experiment.point(arm, corpus.spec, width=width, lr=lr, weight_decay=1e-3, embedding_lr_ratio=16.0)
    tokens = round(flops / flops_per_token(resolve(point)))
    return resolve(point.at(tokens=tokens, schedule=point.settings["schedule"] | {"warmup_tokens": tokens // 10}))


def flops_per_token(job: Job) -> float:
    assert job.flops is not None
    return job.flops / job.point["tokens"]


def run(job: Job) -> Record:
    """Train one run, one thread."""
    spec = spec_of(job.point)
    return train(spec, open_corpus(spec.data))


def text_bytes(corpus: Corpus, tokens: Iterable[npt.NDArray[Any]]) -> int:
    """The bytes of text that tokens stand for."""
    assert corpus.token_bytes is not None
    return sum(int(corpus.token_bytes[part].sum()) for part in tokens)


def judged_bytes(job: Job, corpus: Corpus) -> int:
    """The bytes of text that the final validation loss is over. Raises CheckFailed when it is not over all of the split."""
    settings = job.point.settings
    batches = validation_batches(corpus.val, tokens=settings["evaluation"]["tokens"], context=settings["model"]["context"])
    judged = text_bytes(corpus, (targets[targets != IGNORED].numpy() for _, targets in batches))
    if judged != (text := text_bytes(corpus, corpus.val)):
        raise CheckFailed(f"{corpus.spec.tokenizer}: validation covers {judged} bytes of a text of {text}")
    return judged


def row(name: str, corpus: Corpus, records: Sequence[Record]) -> list[str]:
    """The best of the runs with one tokenizer. Raises CheckFailed when all diverged."""
    finished = [record for record in records if record.loss is not None]
    if not finished:
        raise CheckFailed(f"{name}: every run diverged")
    best = min(finished, key=lambda record: record.loss or 0.0)
    tokens, flops = best.outcome.tokens or 0, best.outcome.flops or 0.0
    text = text_bytes(corpus, corpus.train) / sum(map(len, corpus.train)) * tokens
    return [
        name,
        f"{best.job.parameters:,}",
        f"{tokens:,}",
        f"{text / 1e6:.2f}",
        f"{flops / 1e12:.3f}",
        number(best.point["lr"]),
        f"{best.loss:.3f}",
        f"{judged_bytes(best.job, corpus):,}",
        f"{best.outcome.bits_per_byte:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=524_288, help="training tokens of the run on bytes; others cost the same")
    parser.add_argument("--lrs", type=float, nargs="+", default=[0.004, 0.008, 0.016, 0.032, 0.064], help="in base coordinates")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()

    corpora = {name: load_corpus(load_experiment("quickstart", settings).data) for name, settings in CHOICES.items()}
    flops = args.bytes * flops_per_token(planned(corpora["bytes"], CHOICES["bytes"], args.width, 1e12, 1.0))
    jobs = [planned(corpora[name], CHOICES[name], args.width, flops, lr) for name, lr in product(CHOICES, args.lrs)]
    with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        records = list(pool.map(run, jobs))
    of_each = [records[i : i + len(args.lrs)] for i in range(0, len(records), len(args.lrs))]
    rows = [row(name, corpora[name], runs) for name, runs in zip(CHOICES, of_each, strict=True)]
    date = datetime.now(UTC).isoformat(timespec="minutes")
    lrs = " ".join(map(number, args.lrs))
    lines = [
        "# Bits per byte by tokenizer, at equal compute",
        "",
        f"`python -m benchmarks.tokenizers --width {args.width} --bytes {args.bytes} --lrs {lrs}`, {date}; "
        f"{records[0].outcome.device}.",
        "",
        f"Corpus stdlib, depth 3, batch 8 x 128 tokens, AdamW with the best of the LRs {lrs}. The validation split has "
        f"{text_bytes(corpora['bytes'], corpora['bytes'].val):,} bytes of text.",
        "",
        *markdown_table(COLUMNS, rows),
    ]
    RESULTS.joinpath(f"tokenizers-{args.width}-{date[:10]}.md").write_text("\n".join(lines) + "\n")
    console.print("\n".join(lines))


if __name__ == "__main__":
    main()
