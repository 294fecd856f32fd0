"""Wrong calls of every command, each in a process of its own, and what is wrong with what came of them.

    python -m benchmarks.attack [--calls 3000] [--seed 0] [--call NUMBER] [--words WORD]

One thing of a right call is wrong: a value of an option, of a key of the experiment, of a column, of a stored file; missing,
null, of another type, 0, -1, nan, inf, 2^64, empty, 1 MB, cut, flipped and more. What must be refused is said by the schema of
what takes it, never guessed. A fault is a traceback, more than 30 s of the processor or 2 GB, a refusal that did not come, one
of several lines or without what it is about, an answer that is no JSON, a file of the user's that is written over. Ray is not
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
from collections.abc import Mapping
from pathlib import Path

from benchmarks.attack import world
from benchmarks.attack.calls import call
from benchmarks.attack.judge import HOME, REACHED, Came, Fault, faults, forked, perform, preload
from benchmarks.attack.right import Call, right_calls

Table = dict[tuple[str, str], Counter[str]]


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.attack", description="Wrong calls of every command.")
    options.add_argument("--calls", type=int, default=3000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--call", type=int, metavar="NUMBER", help="do this one, and show what it says")
    options.add_argument("--words", default="", help="only calls of whose command, place and kind this is a part")
    options.add_argument("--shown", type=int, default=5, help="cases of each fault (5)")
    args = options.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = "1"
    preload()
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        folder = Path(name)
        os.environ["HPTRANSFER_CACHE"] = str(folder / "cache")
        right = _build(folder)
        if args.call is not None:
            return _show(call(args.seed, args.call), right)
        _require_right(right)
        table: Table = defaultdict(Counter)
        cases: dict[str, list[str]] = defaultdict(list)
        for number in range(args.calls):
            one = call(args.seed, number)
            if args.words not in f"{one.command} {one.where} {one.kind}":
                continue
            _, found = _come(one, right)
            count = table[one.command, one.where.split()[0]]
            count.update(["calls", *(["must be refused"] if one.must == "refuse" else []), *(fault for fault, _ in found)])
            for fault, words in found:
                again = f"python -m benchmarks.attack --seed {args.seed} --call {number}"
                cases[fault].append(f"{one.command} {one.where}, {one.kind}: {words}\n    {_words(one)}\n    {again}")
                print(f"{number} {fault}: {cases[fault][-1]}", file=sys.stderr, flush=True)
        _print(table, cases, args.shown)
    return int(bool(cases))


def _build(folder: Path) -> Path:
    """The right folder, made in a process of its own. Raises SystemExit where it cannot be made."""
    right, log = folder / "right", folder / "log"
    right.mkdir()

    def work() -> int:
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.chdir(right)
        world.make(right)
        return 0

    if os.waitpid(forked(work), 0)[1]:
        raise SystemExit(f"the right folder cannot be made:\n{log.read_text()}")
    return right


def _come(one: Call, right: Path) -> tuple[Came, list[Fault]]:
    """What comes of a call, and what is wrong with it."""
    place = right.parent / "call"
    place.mkdir()
    try:
        came = perform(one, right, place)
        return came, faults(one, came, place / HOME)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _require_right(right: Path) -> None:
    """Raises SystemExit where a right call is not accepted: what is wrong with the others would not be all that is."""
    failing = []
    for one in right_calls():
        came, found = _come(one, right)
        if found or came.code not in (0, REACHED):
            failing.append(f"{_words(one)}: exit {came.code}\n{came.err[-600:]}")
    if failing:
        raise SystemExit("right calls fail:\n" + "\n".join(failing))


def _show(one: Call, right: Path) -> int:
    came, found = _come(one, right)
    print(f"{one.where}, {one.kind}: must {one.must or 'end well'}\n$ {_words(one)}\n{came.out}{came.err}")
    print(f"exit {came.code}, {came.seconds:.1f} s")
    for fault, words in found:
        print(f"FAULT {fault}: {words}")
    return int(bool(found))


def _print(table: Table, cases: Mapping[str, list[str]], shown: int) -> None:
    names = ["calls", "must be refused", *cases]
    print(f"{'command':12}{'what is wrong':24}" + "".join(f"{name:>17}" for name in names))
    for (command, where), count in sorted(table.items()):
        print(f"{command:12}{where[:22]:24}" + "".join(f"{count[name]:17,}" for name in names))
    total = sum(table.values(), Counter[str]())
    print(f"{'all':36}" + "".join(f"{total[name]:17,}" for name in names))
    for fault, found in cases.items():
        print(f"\n{fault}: {len(found)}")
        for text in found[:shown]:
            print(f"  {text}")


def _words(one: Call) -> str:
    """The call as it is typed; long words are cut."""
    words = [word if len(word) < 200 else f"{word[:60]}...({len(word)})" for word in (one.command, *one.argv)]
    typed = f"hptransfer {shlex.join(words)}"
    return typed if typed.isprintable() else ascii(typed)[1:-1]


if __name__ == "__main__":
    sys.exit(main())
