"""Runs under Ray Tune: one Tuner over all studies, function trainables in reused actors, one thread per trial."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from hptransfer.search.cluster import total_cpus  # first: it settles Ray's environment

from ray import tune  # isort: skip
from ray.tune.search import Searcher  # isort: skip

from hptransfer.errors import CheckFailed
from hptransfer.search.progress import Progress
from hptransfer.spec import RunSpec
from hptransfer.store import RunRecord, Store


class RunSource(Protocol):
    """What decides which runs come next."""

    def missing(self, records: Mapping[str, RunRecord]) -> Iterable[RunSpec]:
        """Runs that could start now and have no record yet. Empty with none in flight: all is done."""
        ...


def run_trials(source: RunSource, store: Store, records: dict[str, RunRecord], progress: Progress) -> None:
    """Train everything that ``source`` asks for, as many at once as there are CPUs; each record goes to the store at once
    and into ``records``. Raises CheckFailed when a trial fails: what had finished is kept, and the same command goes on."""
    if not list(source.missing(records)):
        return
    searcher = _Searcher(source, store, records, progress)
    # Tune's own state is disposable: whatever matters is in the store by the time Tune hears of it.
    with tempfile.TemporaryDirectory(prefix="hptransfer-tune-", ignore_cleanup_errors=True) as folder:
        tuner = tune.Tuner(
            tune.with_resources(_trial, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=total_cpus(),
                reuse_actors=True,
                metric="loss",
                mode="min",
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, failure_config=tune.FailureConfig(max_failures=1)),
        )
        tuner.fit()
    if searcher.failed is not None:
        raise CheckFailed(f"{searcher.failed}; what finished is in {store.location}, and the same command goes on")


class _Searcher(Searcher):  # type: ignore[misc]
    """Hands the source's runs to Tune, and the finished records back."""

    def __init__(self, source: RunSource, store: Store, records: dict[str, RunRecord], progress: Progress) -> None:
        super().__init__(metric="loss", mode="min")
        self._source, self._store, self._records, self._progress = source, store, records, progress
        self._in_flight: dict[str, RunSpec] = {}
        self.failed: str | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        flying = {spec.run_id for spec in self._in_flight.values()}
        if self.failed is None:
            for spec in self._source.missing(self._records):
                if spec.run_id not in flying:
                    self._in_flight[trial_id] = spec
                    return {"spec": spec.model_dump_json(), "store": self._store.uri}
        return None if flying else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        spec = self._in_flight.pop(trial_id)
        record = self._store.get(spec.run_id)
        if error or record is None:
            self.failed = f"run {spec.run_id} failed: {(result or {}).get('error', 'its process died twice')}"
            return
        self._records[spec.run_id] = record
        self._progress.finished(record)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def _trial(config: dict[str, Any]) -> dict[str, Any]:
    """One run in a Tune actor."""
    from hptransfer.data.corpus import open_corpus
    from hptransfer.train import train

    spec = RunSpec.model_validate_json(config["spec"])
    # Tune wants a finite number; nobody reads it, the record says all.
    outcome: dict[str, Any] = {"loss": sys.float_info.max}
    try:
        train(spec, open_corpus(spec.data), store=Store(config["store"]))
    except Exception as error:  # said in one line by the driver, instead of twice as a stack trace by Ray
        outcome["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return outcome
