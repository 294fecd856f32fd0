"""The command line: one console script with a sub-command for each stage. Nothing here imports a package that is not Python's
own before it is needed, so that ``--help`` is there at once."""

from hptransfer.cli.options import DEFAULT_EXPERIMENT, DEFAULT_STORE, refuse_unheeded, selection
from hptransfer.cli.output import console, finish, number, table
from hptransfer.cli.start import Parser, main, parse, perform, run, run_stage

__all__ = [
    "DEFAULT_EXPERIMENT",
    "DEFAULT_STORE",
    "Parser",
    "console",
    "finish",
    "main",
    "number",
    "parse",
    "perform",
    "refuse_unheeded",
    "run",
    "run_stage",
    "selection",
    "table",
]
