"""Trials that wait: they keep the actors whose runs have ended for the next batch of proposals.

Tune stops every idle actor but one, and to start one again took 12 s (torch's import, on two cores).
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any

import ray

WAIT_SECONDS = 60.0  # then the actor goes, and others may have its resources: a batch that takes longer can pay for a start


class _Doors:
    """An actor: where the waiting trials wait."""

    def __init__(self) -> None:
        self._doors: dict[str, asyncio.Event] = {}

    async def wait(self, trial: str) -> None:
        door = self._doors.setdefault(trial, asyncio.Event())
        with suppress(TimeoutError):
            await asyncio.wait_for(door.wait(), WAIT_SECONDS)

    async def open(self, trial: str) -> None:
        self._doors.setdefault(trial, asyncio.Event()).set()


class Gate:
    """How many actors are idle, and which trials wait to keep them."""

    def __init__(self) -> None:
        self._idle, self._waiting = 0, list[str]()
        self._name = f"hptransfer-gate-{uuid.uuid4().hex[:12]}"
        self._doors: Any = None

    def ended(self) -> None:
        """A run has ended, and its actor is there for another trial."""
        self._idle += 1

    def hold(self, trial: str) -> dict[str, Any] | None:
        """What a trial waits with, where an actor is idle."""
        if not self._idle:
            return None
        if self._doors is None:
            self._doors = ray.remote(_Doors).options(num_cpus=0, name=self._name).remote()
        self._idle -= 1
        self._waiting.append(trial)
        return {"gate": self._name, "trial": trial}

    def started(self) -> None:
        """A run starts: on an idle actor, or on that of a trial which need not wait any more."""
        if self._idle:
            self._idle -= 1
        elif self._waiting:
            self._open(self._waiting.pop())

    def left(self, trial: str) -> None:
        """A trial does not wait any more."""
        with suppress(ValueError):
            self._waiting.remove(trial)

    def open(self) -> None:
        """Nothing comes any more."""
        while self._waiting:
            self._open(self._waiting.pop())

    def _open(self, trial: str) -> None:
        assert self._doors is not None
        self._doors.open.remote(trial)


def wait(config: dict[str, Any]) -> None:
    """In the trial: until it is opened, or for so long; not at all where the node of the doors has died."""
    with suppress(ray.exceptions.RayError, ValueError):
        ray.get(ray.get_actor(config["gate"]).wait.remote(config["trial"]))
