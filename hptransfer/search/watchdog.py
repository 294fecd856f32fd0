"""The watchdog of a search: who trains what, whose heart stands still, and what to do about it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ray.tune import Callback
from ray.tune.experiment import Trial

from hptransfer.base.files import StoreUnreachable
from hptransfer.runs import Claims, Holder, Store, Watch
from hptransfer.search.cluster import is_dead, kill

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
DOUBT_SECONDS = 15.0  # a heart that stands still for this long is asked after
NODE_DIED = "its node has died"  # in Ray's words of why an actor died


class Watchdog(Callback):  # type: ignore[misc]
    """Looks at the store's claims every few seconds. Runs of this session that make no step for ``hang_seconds`` are killed,
    and started again; runs of other commands are left to them as long as they live."""

    def __init__(self, store: Store, session: str, hang_seconds: float, in_flight: Callable[[], Mapping[str, object]]) -> None:
        self._claims, self._session, self._hang_seconds, self._in_flight = Claims(store), session, hang_seconds, in_flight
        self._watch = Watch()
        self._others: dict[str, Holder] = {}
        self._due = 0.0
        self._killed: set[str] = set()
        self._said: set[str] = set()
        self.dead: dict[str, str] = {}  # runs whose owner is known to be dead, with its last pulse
        self.hung: set[str] = set()  # runs that were killed
        self.deaths: dict[str, list[str]] = {}  # why a run's processes died, but for those that went with their node

    def on_step_begin(self, iteration: int, trials: list[object], **info: object) -> None:
        """Tune's hook, several times a second while trials run."""
        self.tick()

    def on_trial_error(self, iteration: int, trials: list[object], trial: Trial, **info: object) -> None:
        """Tune's hook: a process has died. That its node went is not held against the run, as Ray does with preempted nodes."""
        if "run_id" not in trial.config:
            return  # it only waited
        failures = Path(trial.error_file).read_text()  # each with a line before it; Tune has not synced them to where it looks
        words = " ".join(failures.rpartition("Failure # ")[2].partition("\n")[2].split())
        if NODE_DIED not in words:
            _, found, detail = words.partition("Worker exit detail: ")
            why = (detail if found else words).split(" There are some")[0].rstrip(". ")[:200]
            self.deaths.setdefault(trial.config["run_id"], []).append(why)

    def tick(self) -> None:
        """Look if it is time."""
        if time.monotonic() >= self._due:
            self.look()

    def look(self) -> None:
        """Look now."""
        self._due = time.monotonic() + LOOK_SECONDS
        doubted = min(self._hang_seconds, DOUBT_SECONDS)
        try:
            held = self._claims.held(lambda holder: self._watch.still_for(holder) > doubted)
        except StoreUnreachable:  # away for a while; nobody is judged by that
            return
        self._others, self.dead = {}, {}
        flying = self._in_flight()
        for run_id, holder in held.items():
            still = self._watch.still_for(holder)
            if holder.session == self._session:
                if run_id in flying and still > self._hang_seconds and holder.token not in self._killed:
                    self._killed.add(holder.token)
                    self.hung.add(run_id)
                    words = "run %s has made no step for %.0f s: killed, it goes on from its checkpoint"
                    _LOG.warning(words, run_id, still)
                    kill(holder)
            elif still > self._hang_seconds or ((holder.is_dead or still > DOUBT_SECONDS) and is_dead(holder)):
                self.dead[run_id] = holder.pulse
            else:
                self._others[run_id] = holder

    def elsewhere(self, run_id: str) -> bool:
        """Whether another command trains this run; said once for each of them."""
        holder = self._others.get(run_id)
        if holder is not None and holder.session not in self._said:
            self._said.add(holder.session)
            where = f"process {holder.pid} on {holder.host.partition(' ')[0]}"
            _LOG.info(f"another command on this store ({where}) trains some of these runs; their records are taken as they come")
        return holder is not None
