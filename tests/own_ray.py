"""What tests need that start Ray by itself, outside of a command."""

import os


def environment(**changes: str) -> dict[str, str]:
    """This process's environment as a user has it: what the package has settled for Ray on import is taken out."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))} | changes
