"""``hptransfer data``: write the corpus of an experiment, for a trainer of your own to read."""

from __future__ import annotations

import argparse
from pathlib import Path

from hptransfer.base.errors import UsageError
from hptransfer.cli import console, finish, refuse_unheeded, table
from hptransfer.experiment import load_experiment
from hptransfer.trainers.ours.data.written import write_corpus


def main(args: argparse.Namespace) -> None:
    if not args.write:
        raise UsageError("--write names no folder")
    refuse_unheeded(args, "by data, which reads no runs", "store")
    experiment = load_experiment(args.experiment, args.set)
    found = write_corpus(experiment.data, Path(args.write))
    key = f"text in {found.text}, " if found.text else ""
    console.print(f"corpus {found.corpus} ({found.tokenizer}, {found.vocab} entries, {key}sha256 {found.sha256[:16]})")
    rows = [[split, f"{part.tokens:,}", "-" if part.bytes is None else f"{part.bytes:,}"] for split, part in found.splits.items()]
    table("written", ["split", "tokens", "bytes of text"], rows)
    finish(args, found.model_dump(mode="json"), written=[f"{args.write}/{name}" for name in found.files])
