"""Wrong calls, each from a seed and a number: one thing of a right call is wrong, and what must come of it is stated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from benchmarks.attack import files, tables, words
from benchmarks.attack.right import Call

JSON_SHARE = 0.3  # of calls with --json, whose answer is read
MAKERS: dict[Callable[[random.Random], Call], float] = {
    words.option: 4,
    words.misspelt: 0.2,
    words.key_by_option: 2,
    words.key_in_file: 1.5,
    words.damaged_yaml: 0.5,
    tables.table: 2.5,
    tables.damaged_table: 0.7,
    files.stored: 1.5,
    files.gathered: 0.7,
    files.prediction: 1.5,
    files.check: 0.4,
    files.search_space: 0.8,
    files.corpus: 0.5,
    files.checkpoint: 0.8,
}


def call(seed: int, number: int) -> Call:
    """The call of that number."""
    draw = random.Random(f"{seed} {number}")
    made = draw.choices(list(MAKERS), weights=list(MAKERS.values()))[0](draw)
    return replace(made, argv=(*made.argv, "--json")) if draw.random() < JSON_SHARE and "--json" not in made.argv else made
