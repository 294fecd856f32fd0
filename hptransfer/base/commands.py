"""How a command of hptransfer is written down for people to run: in errors, hints, and after a stage as what comes next."""

PROGRAM = "hptransfer"


def command(stage: str, *options: str) -> str:
    """The command line of a stage. ``options`` are quoted for a shell already; those that are empty are left out."""
    return " ".join((PROGRAM, stage, *filter(None, options)))
