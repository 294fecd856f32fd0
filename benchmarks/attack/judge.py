"""One call in a process of its own, in a fresh copy of the right folder, and what is wrong with what came of it."""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.attack import world
from benchmarks.attack.right import Call
from hptransfer.base.errors import one_line

# Of the processor, so that other jobs beside it do not count; by the clock what waits for nothing. A call is ended where it asks
# for twice the memory that is a fault to have held.
CPU_SECONDS, WALL_SECONDS, BYTES = 30, 120, 2 << 30
TRACEBACK, REACHED, UNMADE = 70, 71, 72
HOME = Path("far", "down", "home")  # three folders below that of a call: what is asked for above them goes with it
SHOWN = 40  # characters of a value that a message must have
MODULES = (
    "ray", "ray.dag", "torch", "altair", "rich.table", "rich.markup", "polars", "scipy.optimize", "optuna", "pyarrow.parquet",
    "pyarrow.dataset", "sqlalchemy.dialects.sqlite", "hptransfer.coordcheck.chart", "hptransfer.coordcheck.measure",
    "hptransfer.coordcheck.own", "hptransfer.search.tuner", "hptransfer.validate.stage", "hptransfer.trainers.ours.launch",
    "hptransfer.report.laws", "hptransfer.report.series",
)  # fmt: skip


class Reached(BaseException):
    """What would have trained: everything before it has been accepted."""


@dataclass(frozen=True)
class Came:
    """What came of a call: its exit code, what it printed, and its process's status where a limit ended it."""

    code: int
    out: str
    err: str
    over: str | None
    seconds: float


def preload() -> None:
    """Import what the commands import, once for all calls; nothing is run of it, since threads do not survive a fork."""
    from hptransfer.cli.stages import STAGES
    from hptransfer.export.hosts import HOSTS
    from hptransfer.laws import LAWS
    from hptransfer.models import FAMILIES
    from hptransfer.optimizers import RECIPES
    from hptransfer.runs.sources.source import SOURCES
    from hptransfer.trainers import TRAINERS

    for name in (*MODULES, *(one.main.partition(":")[0] for one in STAGES.values())):
        importlib.import_module(name)
    for registry in (HOSTS, LAWS, FAMILIES, RECIPES, SOURCES, TRAINERS):
        for name in registry.names():
            registry.get(name)
    import ray

    import hptransfer.coordcheck.measure as measure
    import hptransfer.coordcheck.own as own

    def reached(*_: object, **__: object) -> NoReturn:
        raise Reached

    ray.init = measure.measure = own.measure_own = reached
    gc.collect()
    gc.freeze()  # else a collection in a call would copy every page of what is shared with it


def forked(work: Callable[[], int]) -> int:
    """A process that does ``work`` and ends with its exit code; its id, which leads a group of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    if process := os.fork():
        return process
    code = TRACEBACK
    try:
        os.setsid()
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def perform(call: Call, right: Path, folder: Path) -> Came:
    """What comes of a call in ``folder``, a copy of ``right`` that is made for it. Raises SystemExit where what is wrong in it
    cannot be made, which is no fault of the command."""
    home, out, err = folder / HOME, folder / "out", folder / "err"
    shutil.copytree(right, home)
    began = time.monotonic()
    process = forked(lambda: _work(call, home, out, err))
    over = None
    while not (done := os.wait4(process, os.WNOHANG))[0]:
        if over is None and time.monotonic() - began > WALL_SECONDS:
            over = f"{WALL_SECONDS} s by the clock"
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.005)
    code, used = os.waitstatus_to_exitcode(done[1]), done[2]
    printed, said = (path.read_text(errors="replace") if path.exists() else "" for path in (out, err))
    if code == UNMADE:
        raise SystemExit(f"{call.command} {call.where}, {call.kind}: what is wrong could not be made\n{said}")
    if code == -signal.SIGXCPU or used.ru_utime + used.ru_stime > CPU_SECONDS:
        over = f"{CPU_SECONDS} s of the processor"
    if (held := used.ru_maxrss << 10) > BYTES or "no memory was left" in said:
        over = over or f"{held / (1 << 30):.1f} GB"
    return Came(code, printed, said, over, time.monotonic() - began)


def _work(call: Call, home: Path, out: Path, err: Path) -> int:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(home)
    try:
        call.prepare(home)
    except Exception:
        traceback.print_exc()
        return UNMADE
    held = next(
        int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")
    )
    resource.setrlimit(resource.RLIMIT_DATA, (held + 2 * BYTES, held + 2 * BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from hptransfer.cli import main

    try:
        if call.command == world.RESUME:
            return world.resume()
        main([call.command, *call.argv])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except Reached:
        return REACHED
    return 0


Fault = tuple[str, str]  # what is wrong, and the words for it


def faults(call: Call, came: Came, home: Path) -> list[Fault]:
    """What is wrong with what came of a call, as (fault, words); empty where nothing is."""
    if came.over:
        return [("over a limit", came.over)]
    if came.code < 0 or came.code in (TRACEBACK, 139) or "Traceback (most recent call last)" in came.err:
        return [("traceback", _last(came.err) or f"ended by signal {-came.code}")]
    found = [("wrote over", name) for name in _harmed(home)]
    if came.code in (0, REACHED) and call.must == "refuse":
        found.append(("accepted", "would have trained" if came.code == REACHED else "exit 0"))
    if came.code == 2 and call.must == "go on":
        found.append(("stopped", _last(came.err)))
    if came.code not in (0, 1, 2, REACHED):
        found.append(("exit code", str(came.code)))
    if came.code == 2:
        found += [("message", words) for words in _unclear(call, came)]
    if "--json" in call.argv and came.out.strip() and not _is_json(came.out):
        found.append(("no JSON", came.out[:80]))
    return found


def _harmed(home: Path) -> list[str]:
    """Files of the user's that are not what they were, and what hptransfer left behind beside its own."""
    notes = home / "notes.txt"
    found = [] if notes.is_file() and notes.read_text() == world.NOTE else ["notes.txt"]
    found += [str(path.relative_to(home)) for path in home.rglob("*.tmp")]
    return found + [name for name in ("hit",) if (home / name).exists()]


def _unclear(call: Call, came: Came) -> list[str]:
    """What a refusal lacks: it is the one last line, and has the value that is wrong or the name of what has it."""
    lines = came.err.split("\n")
    starts = [place for place, line in enumerate(lines) if re.match(r"error: |\S*hptransfer[\w .-]*: ", line)]
    if not starts:
        return ["no line begins with error"]
    rest = [line for line in lines[starts[-1] + 1 :] if line.strip()]
    if rest or len(starts) > 1:
        return [f"{len(rest) + len(starts)} lines: {lines[starts[0]][:80]} ... {rest[-1][:60] if rest else ''}"]
    line = lines[starts[-1]]
    if len(line) > 2100:
        return [f"{len(line)} characters: {line[:80]} ..."]
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
        return [f"control characters: {line[:80]!r}"]
    if came.out.strip():
        return [f"a refusal, and on stdout: {came.out[:60]}"]
    named = [part[:SHOWN] for name in call.names for part in (name, repr(name)[1:-1], one_line(name)) if part]
    return [] if not named or any(part in line for part in named) else [f"does not name it: {line[:160]}"]


def _is_json(text: str) -> bool:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""
