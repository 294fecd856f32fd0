"""Claims: which process trains which run, so that no two ever train the same one.

``claims/<run_id>.<generation>.json`` names the process; the highest generation holds the run. Taking a run, and taking it over
from an owner that is dead, is the exclusive creation of the next generation: only one can succeed. Whoever trains beats the
heart at its steps, by writing ``claims/<run_id>.<generation>.beat`` anew, and stops where another has taken over. So one listing
tells others whose heart beats, each claim being read once. Clocks of different machines are never compared: others watch
whether the heart beats, by their own clock.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace

from hptransfer.base.errors import HptransferError
from hptransfer.base.files import StoreUnreachable, patiently
from hptransfer.base.processes import is_running, started
from hptransfer.base.stored import mapping_from_sealed, sealed
from hptransfer.runs.store import Store

BEAT_SECONDS = 5.0


class ClaimLost(HptransferError):
    """Another process has taken the run over."""


@dataclass(frozen=True)
class Holder:
    """Who trains a run. ``session``: the command that started it; ``node``: the Ray node it runs on; ``what``: the run in words;
    ``since``: when that process was started, as `started` says it; ``beat``: the stamp of its last heartbeat, "" before the
    first."""

    run_id: str
    generation: int
    token: str
    session: str
    host: str
    pid: int
    node: str
    what: str = ""
    since: str = ""
    beat: str = ""

    @property
    def pulse(self) -> str:
        """Changes with every heartbeat."""
        return f"{self.token} {self.beat}"

    @property
    def is_dead(self) -> bool:
        """Whether it ran on this machine and its process is gone. Elsewhere nothing can be said: False."""
        return self.host == this_host() and not is_running(self.pid, self.since)


FIELDS = {field.name for field in fields(Holder)} - {"beat"}  # another version may write more


class Claims:
    """The claims of a store."""

    def __init__(self, store: Store) -> None:
        self._files = store.files
        self._read: dict[tuple[str, str], Holder] = {}  # by name and stamp: a claim is not written twice

    def held(self, doubted: Callable[[Holder], bool] = lambda holder: False) -> dict[str, Holder]:
        """The holder of every run in progress, by run_id; a claim that was released or is damaged names none. A listing may be
        old: the heartbeats of those that are ``doubted`` are asked for anew."""
        stamps = self._files.stamps("claims")
        found = {run_id: self._holder(run_id, generation, stamps) for run_id, generation in _newest(stamps).items()}
        self._read = {key: holder for key, holder in self._read.items() if stamps.get(key[0]) == key[1]}
        held = {run_id: holder for run_id, holder in found.items() if holder.token}
        return {run_id: self._now(holder) if doubted(holder) else holder for run_id, holder in held.items()}

    def holder(self, run_id: str) -> Holder | None:
        """The holder of one run, with its heartbeat of this moment."""
        stamps = self._files.stamps("claims")
        generation = _newest(stamps).get(run_id)
        return None if generation is None else self._now(self._holder(run_id, generation, stamps))

    def _now(self, holder: Holder) -> Holder:
        return replace(holder, beat=self._files.stamp(_name(holder, "beat")))

    def progress(self, holder: Holder) -> str:
        """How far a run is, as told with its last heartbeat, in words."""
        try:
            return self._files.read(_name(holder, "beat")).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _holder(self, run_id: str, generation: int, stamps: dict[str, str]) -> Holder:
        """Who a claim names. One that was released or is damaged names nobody; its generation still counts."""
        holder = Holder(run_id, generation, "", "", "", 0, "")
        key = _name(holder), stamps[_name(holder)]
        if key not in self._read:
            with suppress(FileNotFoundError, ValueError, TypeError):
                content = mapping_from_sealed(self._files.read(key[0]))
                known = {name: value for name, value in content.items() if name in FIELDS}
                if all(isinstance(value, type(getattr(holder, name))) for name, value in known.items()):
                    self._read[key] = replace(Holder(**known), run_id=run_id, generation=generation)
        return replace(self._read.get(key, holder), beat=stamps.get(_name(holder, "beat"), ""))

    def take(
        self,
        run_id: str,
        *,
        session: str = "",
        node: str = "",
        dead: str = "",
        what: str = "",
        beat_seconds: float = BEAT_SECONDS,
    ) -> Claim | None:
        """Claim a run for this process; None where another holds it. Taken over at once is what the same session held (it
        has seen that attempt end), what a process held that is gone from this machine, and the holder with the pulse
        ``dead``, which the caller has found dead."""
        before = patiently(lambda: self.holder(run_id))
        if before and before.token and not ((session and before.session == session) or before.is_dead or before.pulse == dead):
            return None
        generation = before.generation + 1 if before else 0
        pid, token = os.getpid(), uuid.uuid4().hex[:12]
        mine = Holder(run_id, generation, token, session, this_host(), pid, node, what, started(pid))
        claim = Claim(self, mine, beat_seconds)
        return claim if patiently(lambda: self._files.create(_name(mine), _content(mine))) else None

    def _is_newest(self, mine: Holder) -> bool:
        if self._files.exists(_name(replace(mine, generation=mine.generation + 1))):
            return False
        try:
            return bool(mapping_from_sealed(self._files.read(_name(mine)))["token"] == mine.token)
        except (FileNotFoundError, ValueError, KeyError):
            return False

    def _beat(self, mine: Holder, at: str) -> None:
        self._files.write(_name(mine, "beat"), at.encode(), durable=False)

    def _remove(self, mine: Holder) -> None:
        for generation in range(mine.generation + 1):  # its own last: until then it holds the run
            for kind in ("beat", "json"):
                self._files.delete(_name(replace(mine, generation=generation), kind))


class Claim:
    """The right to train one run. A context manager: released at the end of the block."""

    def __init__(self, claims: Claims, holder: Holder, beat_seconds: float) -> None:
        self._claims, self._holder, self._beat_seconds = claims, holder, beat_seconds
        self._due = time.monotonic() + beat_seconds
        self._at = ""

    def beat(self) -> None:
        """Show that the work goes on; called as often as one likes, it writes only now and then. Raises ClaimLost."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._beat_seconds
        with suppress(StoreUnreachable):  # full or away for a while: no reason to stop training
            self.confirm()
            self._claims._beat(self._holder, self._at)

    def say(self, at: str) -> None:
        """How far the run is, told with the next beat."""
        self._at = at

    def confirm(self) -> None:
        """Raises ClaimLost where another process has taken the run over."""
        if not self._claims._is_newest(self._holder):
            raise ClaimLost(f"run {self._holder.run_id} was taken over by another process")

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(StoreUnreachable, ClaimLost):
            self.confirm()
            self._claims._remove(self._holder)


class Watch:
    """Sees, by this process's own clock, how long a heart has stood still."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    def still_for(self, holder: Holder) -> float:
        """Seconds since this holder's heartbeat was first seen as it is now."""
        now = time.monotonic()
        pulse, since = self._seen.get(holder.run_id, ("", now))
        if pulse != holder.pulse:
            since = now
        self._seen[holder.run_id] = holder.pulse, since
        return now - since


def this_host() -> str:
    """This machine, as far as process ids mean the same: a container has its own."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def _newest(names: Iterable[str]) -> dict[str, int]:
    """The highest generation of every run among the files of claims."""
    found: dict[str, int] = {}
    for name in names:
        run_id, _, generation = name.removeprefix("claims/").removesuffix(".json").partition(".")
        if name.endswith(".json") and generation.isdecimal():  # others are somebody else's
            found[run_id] = max(int(generation), found.get(run_id, 0))
    return found


def _name(holder: Holder, kind: str = "json") -> str:
    return f"claims/{holder.run_id}.{holder.generation}.{kind}"


def _content(holder: Holder) -> bytes:
    """Sealed: a name that a flipped bit has changed would be asked after, and waited for, as another's."""
    return sealed(json.dumps({name: value for name, value in asdict(holder).items() if name != "beat"})).encode()
