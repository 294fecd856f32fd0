"""Tables of figures, on the screen and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

Quartiles = tuple[float, float, float]  # median, first, third; seconds

STEP_COLUMNS = ("recipe", "library", "optimizer", "ms per step", "quartiles", "ours / this", "state", "note")
SUMMARY_COLUMNS = (
    "recipe", "ms per step", "fastest peer of the same work", "its ms", "ours / peer", "step over AdamW's", "state", "of AdamW's",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One optimizer's figures."""

    recipe: str
    variant: str
    library: str
    name: str
    note: str
    same_work: bool
    median: float
    first: float
    third: float
    state_bytes: int

    @property
    def title(self) -> str:
        return f"{self.recipe} ({self.variant})" if self.variant else self.recipe

    @property
    def ours(self) -> bool:
        return self.library == "ours"


@dataclass(frozen=True)
class Report:
    """One width's figures."""

    width: int
    depth: int
    parameters: int
    forward_backward: Quartiles
    clipping: Quartiles
    rows: list[Row]

    @property
    def adamw(self) -> Row:
        return next(row for row in self.rows if row.ours and row.recipe == "adamw")

    def overhead(self, row: Row) -> float:
        """How much longer a training step is than with our AdamW, as a fraction."""
        return (self.forward_backward[0] + row.median) / (self.forward_backward[0] + self.adamw.median) - 1

    def fastest_peer(self, ours: Row) -> Row | None:
        """The fastest peer that does the work of one of our rows."""
        peers = [row for row in self.rows if row.title == ours.title and not row.ours and row.same_work]
        return min(peers, key=lambda row: row.median, default=None)

    @property
    def heading(self) -> str:
        return f"width {self.width}, depth {self.depth}, {self.parameters / 1e6:.1f} M parameters"

    @property
    def footing(self) -> str:
        return (
            f"Forward and backward pass {_ms(self.forward_backward[0])} ms (quartiles {_spread(*self.forward_backward[1:])}); "
            f"clipping by global norm {_ms(self.clipping[0])} ms (quartiles {_spread(*self.clipping[1:])}) per step."
        )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def _spread(first: float, third: float) -> str:
    return f"{_ms(first)} to {_ms(third)}"


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def step_rows(report: Report) -> list[tuple[str, ...]]:
    """Every optimizer, recipe by recipe, ours first."""
    ours = {row.title: row for row in report.rows if row.ours}
    return [
        (
            row.title if row.ours else "",
            row.library,
            row.name,
            _ms(row.median),
            _spread(row.first, row.third),
            "" if row.ours else f"{ours[row.title].median / row.median:.2f}" + ("" if row.same_work else " (other work)"),
            _mib(row.state_bytes),
            row.note,
        )
        for row in report.rows
    ]


def summary_rows(report: Report) -> list[tuple[str, ...]]:
    """Each recipe beside its fastest peer and AdamW."""
    result: list[tuple[str, ...]] = []
    for row in (row for row in report.rows if row.ours):
        peer = report.fastest_peer(row)
        result.append(
            (
                row.title,
                _ms(row.median),
                f"{peer.library} {peer.name}" if peer else "none",
                _ms(peer.median) if peer else "",
                f"{row.median / peer.median:.2f}" if peer else "",
                f"{100 * report.overhead(row):+.1f} %",
                _mib(row.state_bytes),
                f"{row.state_bytes / report.adamw.state_bytes:.2f}",
            )
        )
    return result


def tables(report: Report) -> list[Table]:
    """The report as tables of a terminal."""
    result = []
    for columns, rows in ((STEP_COLUMNS, step_rows(report)), (SUMMARY_COLUMNS, summary_rows(report))):
        table = Table(*columns, title=report.heading, caption=report.footing)
        for row in rows:
            table.add_row(*row, end_section=False)
        result.append(table)
    return result


def markdown(origin: dict[str, Any], reports: list[Report]) -> str:
    """The reports as Markdown, with where and how they were taken."""
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    lines = [
        "# Time of an optimizer step",
        "",
        f"{origin['machine']}; {origin['threads']} thread(s); {origin['clock']} time; {origin['date']}; {versions}.",
        "",
        f"`{origin['command']}`",
        "",
        f"Medians over interleaved samples of {origin['steps_per_sample']} steps, one refresh of preconditioners in each. "
        f"'Step over AdamW's': how much longer a training step at batch {origin['batch'][0]} x {origin['batch'][1]} is.",
    ]
    for report in reports:
        lines += ["", f"## {report.heading[0].upper()}{report.heading[1:]}", "", report.footing]
        for columns, rows in ((SUMMARY_COLUMNS, summary_rows(report)), (STEP_COLUMNS, step_rows(report))):
            lines += ["", *markdown_table(columns, rows)]
    return "\n".join(lines) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
