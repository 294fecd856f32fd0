"""What commands say: lines and tables on stderr, one JSON object on stdout. rich is imported with the first of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from hptransfer.base.jsons import to_json

if TYPE_CHECKING:
    import rich.console

LOG_WIDTH = 160  # a log has no width; a table must not be cut to 80 columns


class Console:
    """Where people are spoken to: stderr, in plain words."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print words or what rich renders; ``options`` are those of rich's ``Console.print``."""
        _screen().print(*objects, **options)


@cache
def _screen() -> rich.console.Console:
    from rich.console import Console

    result = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)  # [a] and :a: are text here
    if not result.is_terminal:
        result.width = LOG_WIDTH
    return result


console = Console()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print one table on stderr."""
    from rich import box
    from rich.table import Table

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
        print(to_json(result))
