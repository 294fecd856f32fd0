"""Right calls of every command, and what a wrong one is: one of them with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.attack import world

# refuse: it must not be accepted. go on: it must not stop the command. None: nothing is stated but that it ends well.
Must = Literal["refuse", "go on"] | None


@dataclass(frozen=True)
class Call:
    """One call: a command with its words, what is done to the right folder before, and what must come of it. ``names``: the
    message must have one of them."""

    command: str
    argv: tuple[str, ...]
    where: str
    kind: str
    must: Must
    names: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = field(default=lambda folder: None)


def must_be(refused: bool) -> Must:
    return "refuse" if refused else None


MUON = ("--optimizer", "muon")
TWELVE = (
    "adamw", "signum", "sgd", "muon", "muon-all", "normuon", "adamuon", "adamh", "muonh", "schedulefree-adamw", "sf-normuon",
    "shampoo-quarter",
)  # fmt: skip
TINY = ("--experiment", "tiny.yaml")
OWN = ("--columns", "weight_decay=weight_decay")
SWEEP = ("--at", "width=1024", "--table")
# Right calls of every command: what is wrong is put into one of them.
RIGHT: dict[str, tuple[tuple[str, ...], ...]] = {
    "plan": (TINY,),
    "search": (TINY,),
    "transfer": (TINY, (*SWEEP, "sweep.csv"), (*SWEEP, "sweep.parquet"), (*SWEEP, "sweep.jsonl")),
    "backtest": (("sweep.csv",), ("sweep.parquet",), ("sweep.jsonl",)),
    "validate": (TINY, (*TINY, "--predictions", world.PREDICTION)),
    "train": ((*TINY, "--prediction", world.PREDICTION), (*TINY, *MUON)),
    "store": ((), ("--store", "gathered"), ("--compact",), (*TINY, "--import", "own.csv", "--store", "other", *OWN)),
    "import": (("own.csv", *TINY, "--store", "other", *OWN), ("own.csv", "--look"), ("sweep.csv", "--look")),
    "report": (TINY, (*TINY, "--store", "gathered"), (*TINY, "--predictions", world.PREDICTION)),
    "data": (
        (*TINY, "--write", "corpus"),
        (*TINY, "--write", "corpus", "--set", "data.corpus=docs.txt", "--set", "data.tokenizer=tokenizer.json"),
        (*TINY, "--write", "corpus", "--set", "data.corpus=docs.parquet"),
        (*TINY, "--write", "corpus", "--set", "data.corpus=docs.jsonl.gz"),
    ),
    "coordcheck": ((*TINY, *MUON, "--widths", "16", "32"),),
    "laws": (
        ("fit", "chinchilla", "--table", "laws.csv"),
        ("predict", "chinchilla", "--table", "laws.csv", "--at", "N=1e9,D=2e10"),
        ("predict", "chinchilla", "--table", "laws.csv", "--to", "laws.csv"),
        ("fit", "isoflop", "--table", "budgets.csv"),
        ("fit", "annealing", "--table", "curves.csv"),
        ("compare", "chinchilla,skaling", "--table", "laws.csv"),
    ),
    "export": (
        ("--prediction", world.PREDICTION, "--target", "all"),
        (*TINY, *MUON),
    ),
    "convert": (("--from", "torch.original", "--to", "dion.spectral_norm", "--shape", "64x32", "--lr", "0.02"),),
}


def right_calls() -> Iterator[Call]:
    """The calls that are right: they say whether what is thought to be wrong is all that is."""
    many = (*TINY, "--widths", *map(str, range(16, 1025, 16)), "--set", "target_width=2048", "--optimizer", ",".join(TWELVE))
    for command, several in [*RIGHT.items(), ("plan", [many])]:
        for argv in several:
            yield Call(command, (*argv, "--json"), "nothing", "right", "go on")
