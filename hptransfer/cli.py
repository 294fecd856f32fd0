"""What every command shares: the argument parser, tables, JSON, and errors as one line with an exit code."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from hptransfer.base.errors import HptransferError

console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)  # [a] and :a: are text here
DEFAULT_EXPERIMENT = "quickstart"
if not console.is_terminal:
    console.width = 160  # a log has no width; a table must not be cut to 80 columns


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, as all of hptransfer's are."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def parser(command: str, description: str) -> Parser:
    """The parser of ``python -m hptransfer.<command>`` with the options that all commands have."""
    result = Parser(prog=f"python -m hptransfer.{command}", description=description)
    result.add_argument(
        "--experiment", default=DEFAULT_EXPERIMENT, metavar="NAME|FILE", help="experiments/NAME.yaml or a file (quickstart)"
    )
    result.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", help="override a value of the experiment; repeatable"
    )
    result.add_argument("--store", default="runs", metavar="DIR|URI", help="where the records are (runs)")
    result.add_argument("--json", action="store_true", help="one JSON object on stdout, everything else on stderr")
    return result


def selection(args: argparse.Namespace) -> str:
    """The options that make another command speak about the same experiment and store."""
    words = ["--experiment", args.experiment, *(word for assignment in args.set for word in ("--set", assignment))]
    return shlex.join(words + ([] if args.store == "runs" else ["--store", args.store]))


def names(text: str) -> tuple[str, ...]:
    """A comma-separated option."""
    return tuple(stripped for name in text.split(",") if (stripped := name.strip()))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print one table on stderr."""
    result = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for row in rows:
        result.add_row(*(number(cell) if isinstance(cell, float) else str(cell) for cell in row))
    console.print(result)


def number(value: float | None) -> str:
    """A number as people read it: four significant digits, no trailing zeros."""
    return "-" if value is None else f"{value:.4g}"


def finish(
    args: argparse.Namespace, result: dict[str, Any], *, written: Sequence[str] = (), next_command: str | None = None
) -> None:
    """Say what was written and what to run next; with ``--json``, print the result on stdout."""
    for path in written:
        console.print(f"written: {path}")
    if next_command:
        console.print(f"next:    {next_command}")
    if args.json:
        print(json.dumps(result))


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's ``main``; a user's mistake is one line and exit code 2, a failed check 1, an interrupt 130."""
    try:
        code = main() or 0
        sys.stdout.flush()
    except HptransferError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of our output went away; keep the interpreter from failing on its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    raise SystemExit(code)
