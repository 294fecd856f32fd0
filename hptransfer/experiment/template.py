"""Commands with placeholders: what a template names, and the command of one run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from string import Formatter
from typing import Any

from hptransfer.base.errors import UsageError, unknown
from hptransfer.optimizers.recipe import ROLES

# What belongs to an attempt rather than to the run: the run_id does not depend on it.
OF_THE_ATTEMPT = ("folder", "gpus", "port")
TUNED = ("lr", "weight_decay", "weight_decay_coupled")
OF_THE_RUN = (*TUNED, "embedding_lr_ratio", "seed", "data_seed")
OTHERWISE = {"learning_rate": "lr", "wd": "weight_decay", "n_embd": "width", "d_model": "width", "hidden_size": "width"}
SCRIPTS = (".py", ".sh")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Template:
    """A command with ``{placeholders}``; ``{{`` and ``}}`` are braces of its own. It is run by ``sh``."""

    text: str

    @property
    def names(self) -> set[str]:
        """The placeholders. Raises UsageError where a brace stands alone."""
        return {name for name, _ in self._fields()}

    @property
    def roles(self) -> set[str]:
        """The roles that it takes numbers of, such as hidden of ``{lr.hidden}``."""
        return {name.partition(".")[2] for name in self.names if "." in name}

    def has(self, name: str) -> bool:
        """Whether it takes a number, for all roles or for one."""
        return any(found.partition(".")[0] == name for found in self.names)

    def check(self, scales: set[str]) -> None:
        """Raises UsageError, in one line, for a placeholder that nothing fills, and where the learning rate has none."""
        for name in sorted(self.names):
            tuned, dot, role = name.partition(".")
            if dot and tuned in TUNED:
                if role not in ROLES:
                    raise unknown(f"role in {{{name}}} of the command:", role, ROLES)
                if role == "vector" and tuned != "lr":
                    raise UsageError(f"{{{name}}} of the command: gains and biases have no weight decay")
            elif name in OTHERWISE:
                raise UsageError(f"unknown placeholder {name!r}; did you mean {OTHERWISE[name]!r}?")
            elif name not in (known := {*OF_THE_RUN, *OF_THE_ATTEMPT, *scales}):
                raise UsageError(f"{unknown('placeholder', name, known)}; a brace of the command's own is written {{{{ or }}}}")
        if not self.has("lr"):
            raise UsageError(f"the command takes no learning rate: it has no {{lr}} ({self.text[:80]!r})")

    def check_program(self, folder: Path) -> None:
        """Raises UsageError where the program that it starts is not there."""
        words = self._words()
        program = words[0] if words else ""
        if not program:
            raise UsageError("the command is empty")
        if set(program) & set("{}();&|<>$`"):
            return  # only the shell knows
        asked = ["/bin/sh", "-c", 'command -v "$0"', os.path.expanduser(program)]
        if subprocess.run(asked, cwd=folder, capture_output=True, check=False).returncode:
            raise UsageError(f"the command's program {program!r} is not there")
        script = words[1] if len(words) > 1 and words[1].endswith(SCRIPTS) and "{" not in words[1] else ""
        if script and not os.path.isfile(folder / script):
            raise UsageError(f"the command's script {script!r} is not there")

    @property
    def words(self) -> set[str]:
        """What may be names of files: the words of the command, of ``--key=value`` the value. A program that is installed, rather
        than one of the user's folder, is none."""
        words = self._words()
        own = words if words and "/" in words[0] and not words[0].startswith("/") else words[1:]
        return {word.rpartition("=")[2] for word in own} - {""}

    def files(self, folder: Path) -> list[str]:
        """The files that it names, as it names them, relative to ``folder``: what else than its numbers makes a run."""
        return sorted(word for word in self.words if os.path.isfile(folder / word))

    def render(self, values: Mapping[str, Any], *, keep: tuple[str, ...] = ()) -> str:
        """The command with its values; those of ``keep`` stay placeholders."""
        parts = []
        for literal, name, spec, _ in Formatter().parse(self.text):
            parts.append(literal)
            if name is not None:
                parts.append(f"{{{name}}}" if name in keep else _words_of(values[name], spec or "", name))
        return "".join(parts)

    def _fields(self) -> list[tuple[str, str]]:
        try:
            parsed = [(name, spec or "") for _, name, spec, _ in Formatter().parse(self.text) if name is not None]
        except ValueError as error:
            raise UsageError(
                f"the command has a brace that stands alone ({error}); one of its own is written {{{{ or }}}}"
            ) from None
        return parsed

    def _words(self) -> list[str]:
        """The program and its arguments, without the variables that are set for it in front."""
        try:
            return list(dropwhile(ASSIGNMENT.match, shlex.split(self.text)))
        except ValueError as error:
            raise UsageError(f"the command cannot be split into words: {error} ({self.text[:80]!r})") from None


def _words_of(value: Any, spec: str, name: str) -> str:
    if isinstance(value, str):
        return shlex.quote(value)
    try:
        return format(value, spec) if spec else repr(value)
    except ValueError:
        raise UsageError(f"{{{name}:{spec}}} of the command: {spec!r} is no format of a number") from None
