"""What a program says: its loss, further numbers and the curve on the way there."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hptransfer.experiment.program import LossKey

STEP = re.compile(r"\b(?:global_)?(?:step|iter(?:ation)?)s?\b\W{0,3}(\d+)", re.IGNORECASE)
STEP_KEYS = ("step", "_step", "global_step", "iter", "iteration", "iter_num")
TABLES = {".csv": ",", ".tsv": "\t"}
BREAK = re.compile(r"[\r\n]+")  # a progress bar goes back to the start of its line

Reading = tuple[int | None, float]  # the step where the program says it, and the number


class Pattern:
    """A regular expression on the output; its last match counts. The number is in the group ``loss`` or the first one that is not
    ``step``; the step in the group ``step``, or after that word in the same line."""

    def __init__(self, pattern: str, log: Path) -> None:
        self._pattern, self._log = re.compile(pattern), log
        others = [index for index in range(1, self._pattern.groups + 1) if index != self._pattern.groupindex.get("step")]
        self._number = self._pattern.groupindex.get("loss", others[0] if others else 1)
        self._at, self._rest = 0, ""

    def new(self, *, ended: bool = False) -> Iterator[Reading]:
        """What has come since it was last asked; a line without an end counts once the program has ended."""
        with suppress(FileNotFoundError), self._log.open("rb") as file:
            file.seek(self._at)
            added = file.read()
            self._at += len(added)
            *lines, self._rest = BREAK.split(self._rest + added.decode(errors="replace"))
            if ended:
                lines, self._rest = [*lines, self._rest], ""
            for line in lines:
                for match in self._pattern.finditer(line):
                    if (value := as_number(match.group(self._number))) is not None:
                        yield self._step(line, match), value

    def _step(self, line: str, match: re.Match[str]) -> int | None:
        named = match.groupdict().get("step") or ((found := STEP.search(line)) and found.group(1))
        return int(named) if named and named.isdecimal() else None


class Key:
    """A key of a file that the program writes: JSON, a JSON object per line, or CSV; the last value counts."""

    def __init__(self, key: str, file: Path) -> None:
        self._key, self._file = key, file
        self._changed, self._text, self._seen = 0, "", 0

    def new(self, *, ended: bool = False) -> Iterator[Reading]:
        """What has come since it was last asked. Programs write such files anew as well as append to them: one that does not
        begin as it did is all new, and so is one that was touched and is the same."""
        with suppress(FileNotFoundError):
            changed = self._file.stat().st_mtime_ns
            if changed == self._changed and not ended:
                return
            whole = text = self._file.read_text(errors="replace")
            if self._file.suffix in TABLES and not ended:
                text = text[: text.rfind("\n") + 1]  # a number may be half written
            if not whole.startswith(self._text) or (whole == self._text and changed != self._changed):
                self._seen = 0
            self._changed, self._text = changed, whole
            found = list(self._readings(text))
            yield from found[self._seen :]
            self._seen = len(found)

    def _readings(self, text: str) -> Iterator[Reading]:
        for row in _rows(text, TABLES.get(self._file.suffix)):
            value = as_number(_of(row, self._key))
            if value is not None:
                steps = (number for name in STEP_KEYS if (number := as_number(_of(row, name))) is not None)
                yield next((int(number) for number in steps if math.isfinite(number)), None), value


def reader(where: str | LossKey, log: Path, folder: Path, working: Path) -> Pattern | Key:
    """The reader of a number: a pattern in the program's output, or a key in a file."""
    if isinstance(where, str):
        return Pattern(where, log)
    return Key(where.key, working / where.file.replace("{folder}", str(folder)))


def as_number(value: Any) -> float | None:
    """A number as programs print it: thousands separated by commas, nan and inf by any name; None where it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip().rstrip(".,;%").replace(",", "").replace("_", "")
    try:
        return float(text)
    except ValueError:
        return math.nan if text.lower().lstrip("+-") in ("nan", "tensor(nan", "1.#qnan") else None


def _rows(text: str, delimiter: str | None) -> Iterator[Mapping[str, Any]]:
    """The rows of a table, or the objects of a file; what is no object, such as a line that is half written, is left out."""
    if delimiter:
        yield from csv.DictReader(io.StringIO(text), delimiter=delimiter)
        return
    try:
        whole = json.loads(text)
    except ValueError:
        whole = [found for line in text.splitlines() if (found := _parsed(line)) is not None]
    for row in whole if isinstance(whole, list) else [whole]:
        if isinstance(row, dict):
            yield row


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _of(row: Mapping[str, Any], key: str) -> Any:
    """The value of a key; one that is not there is looked for level by level, ``val/loss`` or ``val.loss``."""
    if key in row:
        return row[key]
    found: Any = row
    for part in re.split(r"[/.]", key):
        found = found.get(part) if isinstance(found, dict) else None
    return found
