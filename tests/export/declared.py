"""What hosts that do not install here declare of their flags and fields: names, types, defaults and choices, read out of the
sources that the JSON files name."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

TYPES = {"int": int, "float": float, "str": str}


def declared(host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / f"declarations/{host}.json").read_text())
    return found


def parsed(host: str, script: str, program: str) -> argparse.Namespace:
    """The flags of the one command of a script, by the host's own declarations. An unknown flag is an error."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for flag, settings in declared(host)["arguments"].items():
        kinds = {"type": TYPES[settings["type"]]} if "type" in settings else {}
        parser.add_argument(flag, **settings | kinds)
    text = "\n".join(line for line in script.splitlines() if not line.startswith("#"))
    words = shlex.split(text.replace("\\\n", " "))
    count = len(program.split())
    assert words[:count] == program.split() and words[-1] == "$@", words
    return parser.parse_args(words[count:-1])


def typed(value: object, kind: str) -> bool:
    """Whether a value of a YAML file is of a field's type, as a dataclass decoder has it."""
    if value is None:
        return "None" in kind or "Optional" in kind
    if isinstance(value, bool):
        return "bool" in kind
    if isinstance(value, int):
        return "int" in kind
    return "float" in kind if isinstance(value, float) else "str" in kind or kind == "CoefficientType"
