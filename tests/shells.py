"""What a shell would read into words, and programs that say what words they got."""

import json
import sys
from pathlib import Path

# Each would make a file named hit, or be cut or changed, if a shell read it.
HOSTILE = (
    "a b",
    "$(touch hit)",
    "`touch hit`",
    "x & touch hit",
    "; touch hit #",
    "> hit",
    'it\'s "quoted" \\',
    "$HOME ~ *",
    "two\nlines; touch hit",
    "-",
    "é=%s",
)
ECHO = f"""#!{sys.executable}
import json, sys
with open({{log!r}}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""


def program(path: Path) -> Path:
    """Make a program at ``path`` that writes down its arguments; where, for `calls`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.with_name(f"{path.name}.log")
    path.write_text(ECHO.format(log=str(log)))
    path.chmod(0o755)
    return log


def calls(log: Path) -> list[list[str]]:
    """The arguments of each call."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
