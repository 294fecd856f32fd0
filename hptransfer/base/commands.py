"""How a command of hptransfer is written down for people to run: in errors, hints, and after a stage as what comes next."""

import shlex

PROGRAM = "hptransfer"


def command(stage: str, *words: str) -> str:
    """The command line of a stage, every word quoted for a shell."""
    return shlex.join((PROGRAM, stage, *words))
