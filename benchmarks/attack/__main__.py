"""Wrong calls of every command, each in a process of its own, and what is wrong with what came of them.

    python -m benchmarks.attack [--calls 3000] [--seed 0] [--call NUMBER] [--words WORD]

One thing of a right call is wrong: a value of an option, of a key of the experiment, of a column, of a stored file; missing, null, of
another type, 0, -1, nan, inf, 2^64, empty, 1 MB, cut, flipped and more. What must be refused is said by the schema of what
takes it, never guessed. A fault is a traceback, more than 30 s of the processor or 2 GB, a refusal that did not come, one of
several lines or without what it is about, an answer that is no JSON, a file of the user's that is written over. Ray is not
started: a call that would is one that was accepted. Exit code 1 where there is a fault. ``--call`` does one again and shows it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from benchmarks.attack import world
from benchmarks.attack.calls import Call, call, right_calls
from benchmarks.attack.judge import REACHED, Came, faults, forked, perform, preload

SHOWN = 5  # cases of each fault


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.attack", description="Wrong calls of every command.")
    options.add_argument("--calls", type=int, default=3000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--call", type=int, metavar="NUMBER", help="do this one, and show what it says")
    options.add_argument("--words", default="", help="only calls of whose command, place and kind this is a part")
    args = options.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = "1"
    preload()
    with tempfile.TemporaryDirectory(prefix="hptransfer-attack-") as name:
        folder, right = Path(name), Path(name) / "right"
        os.environ["HPTRANSFER_CACHE"] = str(folder / "cache")
        right.mkdir()
        _build(right, folder / "build.log")
        if args.call is not None:
            return _one(call(args.seed, args.call), right, folder)
        chosen = ((number, call(args.seed, number)) for number in range(args.calls))
        asked = {number: one for number, one in chosen if args.words in f"{one.command} {one.where} {one.kind}"}
        return _all(asked, args.seed, right, folder)


def _build(right: Path, log: Path) -> None:
    """The right folder, made in a process of its own. Raises SystemExit where it cannot be made."""

    def work() -> int:
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.chdir(right)
        world.make(right)
        return 0

    if os.waitpid(forked(work), 0)[1]:
        raise SystemExit(f"the right folder cannot be made:\n{log.read_text()}")


def _one(one: Call, right: Path, folder: Path) -> int:
    came, found = _come(one, right, folder)
    print(
        f"{one.where}, {one.kind}, must {one.must}\n$ {_words(one)}\n{came.out}{came.err}exit {came.code}, {came.seconds:.1f} s"
    )
    for fault, words in found:
        print(f"FAULT {fault}: {words}")
    return int(bool(found))


def _come(one: Call, right: Path, folder: Path) -> tuple[Came, list[tuple[str, str]]]:
    place = folder / "call"
    place.mkdir()
    try:
        came = perform(one, right, place)
        return came, faults(one, came, place / "home")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _all(asked: dict[int, Call], seed: int, right: Path, folder: Path) -> int:
    _require_right(right, folder)
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    cases: dict[str, list[str]] = defaultdict(list)
    for number, one in asked.items():
        came, found = _come(one, right, folder)
        count = table[one.command, one.where.split()[0]]
        count["calls"] += 1
        count["must be refused"] += one.must == "refuse"
        for fault, words in found:
            count[fault] += 1
            cases[fault].append(
                f"{one.command} {one.where}, {one.kind}: {words}\n    {_words(one)}\n    --seed {seed} --call {number}"
            )
    _print(table, cases)
    return int(bool(cases))


def _require_right(right: Path, folder: Path) -> None:
    """Raises SystemExit where a right call is not accepted: what is wrong with the others would not be all that is."""
    failing = []
    for one in right_calls():
        came, found = _come(one, right, folder)
        if found or came.code not in (0, REACHED):
            failing.append(f"{_words(one)}: exit {came.code}\n{came.err[-600:]}")
    if failing:
        raise SystemExit("right calls fail:\n" + "\n".join(failing))


def _print(table: dict[tuple[str, str], Counter[str]], cases: dict[str, list[str]]) -> None:
    names = ["calls", "must be refused", *cases]
    print(f"{'command':12}{'what is wrong':24}" + "".join(f"{name:>17}" for name in names))
    for (command, where), count in sorted(table.items()):
        print(f"{command:12}{where[:22]:24}" + "".join(f"{count[name]:17,}" for name in names))
    total = sum(table.values(), Counter[str]())
    print(f"{'all':36}" + "".join(f"{total[name]:17,}" for name in names))
    for fault, found in cases.items():
        print(f"\n{fault}: {len(found)}")
        for text in found[: SHOWN if "-v" not in sys.argv else None]:
            print(f"  {text}")


def _words(one: Call) -> str:
    words = shlex.join(word if len(word) < 200 else f"{word[:60]}...({len(word)})" for word in (one.command, *one.argv))
    return ascii(f"hptransfer {words}")[1:-1] if not words.isprintable() else f"hptransfer {words}"


if __name__ == "__main__":
    sys.exit(main())
