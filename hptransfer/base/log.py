"""What the library says while it works goes to the loggers under ``hptransfer``: it does not print.

Warnings are what a user should know of (a damaged record, a run without its checkpoint); Python shows them on stderr where
nothing else is set up. Progress is information: ``logging.basicConfig(level="INFO")`` shows it in a notebook. The commands show
both.
"""

from __future__ import annotations

import logging
import sys


class _Lines(logging.Handler):
    """Every message as a line on what is stderr when it comes: a test, or a notebook, may have put another in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def show_on_stderr() -> None:
    """Show everything from information on as lines on stderr, as commands do; a second call changes nothing."""
    logger = logging.getLogger("hptransfer")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())
