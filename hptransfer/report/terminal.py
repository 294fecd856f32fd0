"""A document in the terminal."""

from __future__ import annotations

from hptransfer import cli
from hptransfer.base.errors import one_line
from hptransfer.report.document import Document


def show(document: Document) -> None:
    """Print one table and what is said of it, on stderr."""
    cli.table(document.title, document.overview.columns, [tuple(map(one_line, row)) for row in document.overview.rows])
    said = (*document.lead, *(verdict.text for verdict in document.verdicts), *document.caveats)
    for line in (*said, *(f"missing: {part.sentence}" for part in document.missing)):
        cli.console.print(one_line(line))
