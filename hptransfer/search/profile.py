"""Where the wall time of a search went."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_IMPORTED = time.monotonic()

# What Ray and the order of proposals cost: a loop over the same runs on busy cores would spend none of it.
RAY_AND_SCHEDULING = ("Ray start", "first actors", "idle cores", "shutdown")


class Profile:
    """Phases of the command one after another; while trials run, the shares of their cores in it."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._last = process_start()
        self._first_trial: float | None = None
        self._work = {"training": 0.0, "evaluation": 0.0, "models, claims and records": 0.0}
        self._proposing = 0.0
        self._free, self._since, self._waited = 0, 0.0, 0.0
        self._actors: set[int] = set()

    def mark(self, phase: str) -> None:
        """The phase that ends now."""
        now = time.monotonic()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def proposing(self) -> Iterator[None]:
        """Time that the driver spends on proposals; trials run meanwhile."""
        began = time.perf_counter()
        yield
        self._proposing += time.perf_counter() - began

    def waiting(self, free: int) -> None:
        """From now on so many trials could run that nothing may be proposed for: it depends on what is running."""
        now = time.monotonic()
        self._waited += self._free * (now - self._since)
        self._free, self._since = free, now

    def trial(self, outcome: Mapping[str, Any]) -> None:
        """Take in a trial that has ended now: its ``seconds``, ``training`` and ``evaluation``, and the ``pid`` of its actor."""
        self._actors |= {outcome["pid"]} if "pid" in outcome else set()
        seconds = outcome.get("seconds", 0.0)
        if self._first_trial is None and seconds:
            self._first_trial = max(self._last, time.monotonic() - seconds)
        training, evaluation = (min(seconds, outcome.get(name, 0.0)) for name in ("training", "evaluation"))
        self._work["training"] += training
        self._work["evaluation"] += evaluation
        self._work["models, claims and records"] += max(0.0, seconds - training - evaluation)

    def trials_ended(self, at_once: int) -> None:
        """The trials' phase ends now: until the first trial it was waiting, from then on ``at_once`` cores' worth of work."""
        first = self._first_trial or time.monotonic()
        self._seconds["first actors"] = first - self._last
        self._last = first
        self.mark("trials")
        whole = self._seconds.pop("trials")
        shares = {name: seconds / max(1, at_once) for name, seconds in self._work.items()}
        self.waiting(0)
        shares["waiting for results"] = self._waited / max(1, at_once)
        self._seconds |= shares | {"idle cores": max(0.0, whole - sum(shares.values()))}

    @property
    def result(self) -> dict[str, Any]:
        """``seconds`` by phase, which add up to ``wall``; ``proposals`` went beside them. ``actors``: processes that trained."""
        wall = sum(self._seconds.values())
        ray = sum(self._seconds.get(name, 0.0) for name in RAY_AND_SCHEDULING)
        return {"wall": wall, "seconds": self._seconds, "proposals": self._proposing, "ray_and_scheduling": ray / wall} | {
            "actors": len(self._actors)
        }


def process_start() -> float:
    """When this process was started, by `time.monotonic`, which no change of the date moves; where the system does not say,
    when this module was imported."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()[19])
        return time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return _IMPORTED
