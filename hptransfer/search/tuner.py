"""Runs under Ray Tune: one Tuner over all studies, function trainables in reused actors, as many as the resources allow."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, MutableMapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from hptransfer.base.errors import CheckFailed, HptransferError, in_words
from hptransfer.base.files import patiently
from hptransfer.base.plugins import load_plugins, loaded_plugins
from hptransfer.base.processes import umask
from hptransfer.base.scratch import scratch
from hptransfer.experiment import Resources
from hptransfer.runs import Claim, ClaimLost, Claims, CurvePoint, Job, Record, Store
from hptransfer.runs.claims import BEAT_SECONDS
from hptransfer.search.cluster import require_slots, slots, this_node
from hptransfer.search.gate import Gate, wait
from hptransfer.search.profile import Profile
from hptransfer.search.progress import Progress
from hptransfer.search.watchdog import LOOK_SECONDS, Watchdog
from hptransfer.trainers import Place, trainer_of

_LOG = logging.getLogger(__name__)

# Of a run whose process dies or hangs; it goes on from its checkpoint each time, as a trial of its own. Tune's own restarts
# end a trial whose death is reported twice, as that of a node may be.
RESTARTS = 2

# Tune hands the driver's credentials on in its actors' runtime_env, which Ray writes to its logs. On this machine actors have the
# environment anyway; nodes of a cluster have one of their own.
class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if re.search("KEY|SECRET|TOKEN", name)}


class RunSource(Protocol):
    """What decides which runs come next."""

    def missing(self, records: Mapping[str, Record]) -> Iterable[Job]:
        """Runs that could start now and have no record yet. Empty with none in flight: all is done."""
        ...


def run_trials(
    source: RunSource,
    store: Store,
    records: MutableMapping[str, Record],
    progress: Progress,
    *,
    resources: Resources,
    profile: Profile | None = None,
) -> None:
    """Train everything that ``source`` asks for, as many at once as fit; each record goes to the store at once and into
    ``records``. Runs that another command on the store trains meanwhile are left to it, and their records taken.

    Raises UsageError when a trial can never fit, CheckFailed when a trial fails, and whatever ``source`` raises: what had
    finished is kept, and the same command goes on.
    """
    if not list(source.missing(records)):
        return
    require_slots(resources)
    searcher = _Searcher(source, store, records, progress, resources, profile or Profile())
    # Tune's own state is disposable: whatever matters is in the store by the time Tune hears of it.
    with scratch() as folder:
        tuner = tune.Tuner(
            tune.with_resources(_trial, {name.lower(): value for name, value in resources.demand().items()}),
            tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True, metric="loss", mode="min"),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[searcher.watchdog]),
        )
        logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # lists trials whose runs later ones have trained
        tuner.fit()
    if searcher.failed:
        raise searcher.failed


class _Searcher(Searcher):  # type: ignore[misc]
    """Hands the source's runs to Tune, and the finished records back."""

    def __init__(
        self,
        source: RunSource,
        store: Store,
        records: MutableMapping[str, Record],
        progress: Progress,
        resources: Resources,
        profile: Profile,
    ) -> None:
        super().__init__(metric="loss", mode="min")
        self._source, self._store, self._records, self._progress = source, store, records, progress
        self._resources, self._profile = resources, profile
        self._address = store.uri, store.files.settle()
        self._session = uuid.uuid4().hex[:12]
        self._in_flight: dict[str, Job] = {}
        self._trials: dict[str, str] = {}  # run_id by trial
        self._room = 0  # trials that fit side by side, as of the last look
        self._asked = 0.0  # when the source was last asked in vain; 0: ask again
        self._waits = False  # for what another command trains, or for a node
        self._gate = Gate()
        self.watchdog = Watchdog(store, self._session, resources.hang_seconds, lambda: self._in_flight)
        self.watchdog.look()
        self.failed: HptransferError | None = None  # why nothing starts any more

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        job = self._next() if self.failed is None else None
        self._profile.waiting(0 if job else max(0, self._room - len(self._in_flight)))
        if job is None and (self._in_flight or (self._waits and self.failed is None)):
            return self._gate.hold(trial_id)
        if job is None:
            self._gate.open()
            return str(Searcher.FINISHED)
        self._gate.started()
        self._in_flight[job.run_id] = job
        self._trials[trial_id] = job.run_id
        return {
            "run_id": job.run_id,
            "job": job.model_dump_json(),
            "plugins": loaded_plugins(),
            "store": self._address,
            "session": self._session,
            "dead": self.watchdog.dead.get(job.run_id, ""),
            "threads": self._resources.threads,
            "gpus": self._resources.gpus,
            "hang_seconds": self._resources.hang_seconds,
            "folder": os.getcwd(),
            "umask": umask(),
            "beat_seconds": min(BEAT_SECONDS, self._resources.hang_seconds / 10),
        }

    def _next(self) -> Job | None:
        """The next run to start, or None while there is no room for one or none to start."""
        if self._asked and time.monotonic() - self._asked < LOOK_SECONDS:  # Tune asks ten times a second
            return None
        self._room = slots(self._resources)
        if len(self._in_flight) >= self._room:
            if not self._room and not self._waits:
                _LOG.warning("no node of the cluster has room for a trial any more; the search waits for one")
            self._waits, self._asked = not self._room, time.monotonic()
            return None
        self.watchdog.tick()  # with no trial in flight Tune does nothing but ask
        try:
            return self._found()
        except HptransferError as error:  # said once what runs has ended; out of here Tune would end with its stack
            self.failed = error
            return None

    def _found(self) -> Job | None:
        """The first missing run that nobody trains. Takes what another command has finished."""
        found = True
        while found:
            found = self._waits = False
            with self._profile.proposing():
                missing = self._source.missing(self._records)
            for job in missing:
                if job.run_id in self._in_flight:
                    continue
                if (record := patiently(partial(self._store.get, job.run_id))) is not None:  # another command was quicker
                    self._take(record)
                    found = True
                elif self.watchdog.elsewhere(job.run_id):
                    self._waits = True
                elif len(deaths := self.watchdog.deaths.get(job.run_id, [])) > RESTARTS:
                    hung = job.run_id in self.watchdog.hung
                    why = f"made no step for {self._resources.hang_seconds:g} s" if hung else deaths[-1]
                    self._fail(job.run_id, f"its process died {len(deaths)} times; {why}")
                    return None
                else:
                    return job
        self._asked = time.monotonic()
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id not in self._trials:
            self._gate.left(trial_id)
            return
        run_id, self._asked = self._trials.pop(trial_id), 0.0
        del self._in_flight[run_id]
        outcome = result or {}
        self._profile.trial(outcome)
        if error:
            return  # its process has died; the run is still missing, and starts again
        self._gate.ended()
        if "error" in outcome:
            self._fail(run_id, outcome["error"])
        elif outcome.get("elsewhere"):
            self.watchdog.look()
        else:
            self._hear(run_id)

    def _hear(self, run_id: str) -> None:
        """Take the record that a trial has left in the store."""
        try:
            record = patiently(partial(self._store.get, run_id))
        except HptransferError as error:  # out of here too
            self._fail(run_id, str(error))
            return
        if record is None:
            self._fail(run_id, "its record is not in the store")
        else:
            self._take(record)

    def _fail(self, run_id: str, why: str) -> None:
        """Start nothing more because of a run; the first one is said."""
        words = f"run {run_id} failed: {why}; what finished is in {self._store.location}, and the same command goes on"
        self.failed = self.failed or CheckFailed(words)

    def _take(self, record: Record) -> None:
        self._records[record.run_id] = record
        self._progress.finished(record)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its configuration before it begins, and nobody reads that."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


@cache
def _store(uri: str, identity: str | None) -> Store:
    """An actor's store: what has been gathered there is read once for all of its trials."""
    return Store(uri, identity)


def _trial(config: dict[str, Any]) -> dict[str, Any]:
    """One run in a Tune actor."""
    # Tune wants a finite number; nobody reads it, the record says all.
    outcome: dict[str, Any] = {"loss": sys.float_info.max}
    if "gate" in config:
        wait(config)
        return outcome
    store, began = _store(*config["store"]), time.monotonic()
    outcome |= {"pid": os.getpid()}
    os.umask(config["umask"])  # Ray's own is tighter: a store is for whom the command's user lets in
    try:
        load_plugins(config["plugins"])
        job, folder = Job.model_validate_json(config["job"]), Path(config["folder"])
        trainer = trainer_of(job.point)
        trainer.prepare(job, folder)  # before the claim, whose heart does not beat while text is tokenized
        owner = {name: config[name] for name in ("session", "dead", "beat_seconds")}
        claim = Claims(store).take(config["run_id"], node=this_node(), what=job.title, **owner)
        if claim is None:
            return outcome | {"elsewhere": True}
        with claim:
            record = patiently(partial(store.get, config["run_id"]))  # it may have finished until the claim was ours
            if record is None:

                def say(point: CurvePoint, claim: Claim = claim) -> None:
                    claim.say(f"step {point.step}" if point.val is None else f"step {point.step}, loss {point.val:.4f}")

                place = Place(store, claim, say, config["threads"], config["gpus"], config["hang_seconds"], folder)
                record = trainer.train(job, place)
                took = record.outcome
                outcome |= {"training": took.training_wall_seconds or 0.0, "evaluation": took.evaluation_wall_seconds or 0.0}
    except ClaimLost:
        return outcome | {"elsewhere": True}
    except HptransferError as error:
        outcome["error"] = str(error)
    except Exception as error:  # said in one line by the driver, instead of twice as a stack trace by Ray
        outcome["error"] = in_words(error)
    return outcome | {"seconds": time.monotonic() - began}
