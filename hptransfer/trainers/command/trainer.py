"""The user's command as a member of the trainer protocol."""

from __future__ import annotations

import hashlib
import math
import platform
import re
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from hptransfer import __version__
from hptransfer.base.errors import UsageError
from hptransfer.base.files import patiently
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.experiment import Experiment
from hptransfer.experiment.program import ProgramFiles
from hptransfer.runs import CurvePoint, Job, Outcome, Point, Record, Store
from hptransfer.runs.record import State
from hptransfer.trainers.command import points
from hptransfer.trainers.command.output import Key, Pattern, Reading, reader
from hptransfer.trainers.command.process import Process
from hptransfer.trainers.machine import gpu_name, processor_name
from hptransfer.trainers.trainer import Place

ATTEMPTS = 3  # of a run that crashes, falls silent or says no loss
LOOK_SECONDS = 0.2  # between two looks at the output
LAST_LINES = 5  # of the output, that say why a run failed
LONGEST_CURVE = 100  # points that are kept of a curve, the last one among them
LOG = "output.log"
ATTEMPT = re.compile(r"^# attempt \d+, (\S+): ", re.MULTILINE)  # what is written to the log before one


class Command:
    """See `Trainer`. A run's folder, with its output in ``output.log``, stays after it: it is the program's own."""

    name = "command"

    def inputs(self, experiment: Experiment, arm: Arm) -> Inputs:
        program = experiment.under(arm).trainer
        assert program is not None
        folder = Path.cwd()
        program.template.check_program(folder)
        names = program.template.files(folder) if program.depends is None else program.depends
        return ProgramFiles(sha256={name: _sha256(folder / name, name) for name in sorted(names)})

    def describe(self, experiment: Experiment, arm: Arm) -> str:
        program, files = experiment.under(arm).trainer, self.inputs(experiment, arm)
        assert program is not None and isinstance(files, ProgramFiles)
        versions = ", ".join(f"{name} (sha256 {sha256[:8]})" for name, sha256 in files.sha256.items())
        takes_seed = program.template.has("seed") or program.template.has("data_seed")
        seed = "" if takes_seed else "; it takes no {seed}, so that runs again may say nothing about noise"
        return f"{program.command}; {arm.parametrization} coordinates; depends on {versions or 'no file'}{seed}"

    def resolve(self, point: Point) -> Job:
        return points.resolve(point)

    def prepare(self, job: Job, folder: Path) -> None:
        for name, sha256 in job.point.settings["depends"].items():
            if _sha256(folder / name, name) != sha256:
                raise UsageError(
                    f"{name} is not the version that these runs are of (sha256 {sha256[:8]}); put it back, or begin with a search"
                )

    def train(self, job: Job, place: Place) -> Record:
        folder = run_folder(place.store, job.run_id)
        started_at, began = _first_start(folder), time.monotonic()
        heard, reasons, memory = _Heard(), [], 0
        for number in range(1, ATTEMPTS + 1):
            heard, reason, used = _attempt(job, place, folder, number)
            memory = max(memory, used)
            if reason is None:
                break
            reasons.append(reason)
        state, loss, reason = _judged(heard, reasons)
        outcome = _outcome(
            job,
            place,
            heard,
            state=state,
            loss=loss,
            reason=reason,
            started_at=started_at or _first_start(folder) or "",
            # A later attempt may have gone on from an earlier one, whose time is not known: together they are no pace.
            training_wall_seconds=None if started_at or reasons else time.monotonic() - began,
            peak_memory_bytes=memory or None,
        )
        record = Record(job=job, outcome=outcome, versions=_versions())
        if place.claim:
            patiently(place.claim.confirm)
        place.store.add(record)
        return record


@dataclass
class _Heard:
    """What an attempt has said: its losses in order, and the last of every other number. ``is_accuracy``: what is read is one,
    and its error the loss."""

    is_accuracy: bool = False
    losses: list[Reading] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        return self.losses[-1][1] if self.losses else None


def run_folder(store: Store, run_id: str) -> Path:
    """The folder of a run, made where it is not there: in the store where that is one, else on the node that trains it."""
    if store.is_local:
        return store.files.make_folder(f"folders/{run_id}")
    folder = Path(tempfile.gettempdir()) / f"hptransfer-{hashlib.sha256(store.uri.encode()).hexdigest()[:12]}" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _first_start(folder: Path) -> str | None:
    """When the first attempt of a run began, by the start of its log (UTC, ISO 8601); None where there was none."""
    try:
        with (folder / LOG).open(errors="replace") as file:
            found = ATTEMPT.search(file.read(4096))
    except FileNotFoundError:
        return None
    return found.group(1) if found else None


def _attempt(job: Job, place: Place, folder: Path, number: int) -> tuple[_Heard, str | None, int]:
    """What one attempt said, why it failed (None: it did not), and the memory that it took."""
    program, log = points.program_of(job.point), folder / LOG
    attempt = {"folder": str(folder), "gpus": math.ceil(place.gpus), "port": _free_port()}
    with log.open("a") as file:
        file.write(f"\n# attempt {number}, {datetime.now(UTC).isoformat(timespec='seconds')}: {points.command(job, attempt)}\n")
    readers = {
        name: reader(where, log, folder, place.folder) for name, where in {"loss": program.loss, **program.metrics}.items()
    }
    for one in readers.values():  # what is there from an earlier attempt is not this one's
        list(one.new())
    heard, size, since, silent = _Heard(program.maximize), -1, time.monotonic(), False
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(place.threads))
    with Process(
        points.command(job, attempt), folder=place.folder, log=log, environment={**threads, "PYTHONUNBUFFERED": "1"}
    ) as process:
        while not process.wait(LOOK_SECONDS):
            if place.claim:
                place.claim.beat()
            fresh = _listen(readers, heard, job, place)
            grown, size = log.stat().st_size != size, log.stat().st_size
            since = time.monotonic() if grown or fresh else since
            if silent := time.monotonic() - since > place.hang_seconds:
                break
        process.end()
    _listen(readers, heard, job, place, ended=True)
    return heard, _reason(heard, process.exit_code, place.hang_seconds if silent else None, log), process.memory_bytes or 0


def _listen(readers: dict[str, Pattern | Key], heard: _Heard, job: Job, place: Place, *, ended: bool = False) -> bool:
    """Take in what is new; whether anything is."""
    fresh = False
    for name, one in readers.items():
        for step, value in one.new(ended=ended):
            fresh = True
            if name != "loss":
                heard.metrics[name] = value
                continue
            loss = 1 - value if heard.is_accuracy else value
            heard.losses.append((step, loss))
            if place.report and step is not None and math.isfinite(loss):
                place.report(_point(job, step, loss))
    return fresh


def _reason(heard: _Heard, code: int | None, silence: float | None, log: Path) -> str | None:
    """Why an attempt failed; None where it did not. A loss that is no number says so, whatever the program's end was."""
    if heard.loss is not None and not math.isfinite(heard.loss):
        return None
    what = "it printed no loss"
    if silence is not None:
        what = f"it said nothing for {silence:g} s"
    elif code != 0:
        what = "it could not be started, or was ended from outside" if code is None else _ended(code)
    elif heard.loss is not None:
        return None
    own = log.read_text(errors="replace").rpartition("\n# attempt ")[2].splitlines()[1:]
    lines = [line.strip() for line in own if line.strip()]
    return f"{what}; its last lines: {' | '.join(lines[-LAST_LINES:])[-400:] or 'none'}"


def _ended(code: int) -> str:
    """An exit code in words; the shell says 128 + n of a program that signal n has ended."""
    number = -code if code < 0 else code - 128
    if code < 0 or number in set(signal.Signals):
        more = ", as a machine without memory left does" if number == signal.SIGKILL else ""
        return f"it was ended by signal {number}{more}"
    return f"exit code {code}"


def _judged(heard: _Heard, reasons: Sequence[str]) -> tuple[State, float | None, str | None]:
    """State, loss and reason of a run."""
    if len(reasons) == ATTEMPTS:
        return "failed", None, f"{ATTEMPTS} attempts: {reasons[-1]}"
    loss = heard.loss
    assert loss is not None
    if not math.isfinite(loss):
        return "diverged", None, f"the loss is {loss}"
    if loss > 0:
        return "complete", loss, None
    if heard.is_accuracy:
        return "failed", None, f"it printed {1 - loss:g}; an accuracy is below 1"
    return "failed", None, f"it printed {loss:g}; a loss is above 0"


def _outcome(job: Job, place: Place, heard: _Heard, *, state: State, **known: Any) -> Outcome:
    """What came of a run: what is ``known`` of it, and what its program said on the way."""
    tokens = job.point.scales.get("tokens") if state == "complete" else None
    points_seen = [(step, value) for step, value in heard.losses if step is not None and math.isfinite(value)]
    every = math.ceil(len(points_seen) / LONGEST_CURVE) or 1
    curve = tuple(_point(job, step, value) for step, value in reversed(points_seen[::-1][::every]))
    return Outcome(
        **known,
        state=state,
        metrics={name: value for name, value in heard.metrics.items() if math.isfinite(value)},
        curve=curve,
        steps=curve[-1].step if curve else None,
        tokens=None if tokens is None else int(tokens),
        flops=job.flops if state == "complete" else None,
        device=(gpu_name() if place.gpus else None) or processor_name(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _point(job: Job, step: int, value: float) -> CurvePoint:
    batch = job.point.scales.get("batch_tokens")
    return CurvePoint(step=step, tokens=None if batch is None else round(step * batch), val=value)


def _free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _sha256(path: Path, name: str) -> str:
    try:
        known = path.stat()
        return _hashed(path, known.st_size, known.st_mtime_ns)
    except OSError as error:
        raise UsageError(f"{name}, which the command depends on, cannot be read: {error.strerror}") from None


@lru_cache(maxsize=256)
def _hashed(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file, read again where its size or time has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {"hptransfer": __version__, "python": platform.python_version()}


COMMAND = Command()
