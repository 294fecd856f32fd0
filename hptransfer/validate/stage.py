"""What validation runs: the predicted runs under Ray Train, everything around them as trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor

from hptransfer.experiment import Experiment, Resources, ValidationSettings
from hptransfer.spec import RunSpec
from hptransfer.store import RunRecord, Store
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.arms import Arm, ladder_arm
from hptransfer.validate.result import Validation
from hptransfer.validate.verdict import BASELINE, Entry, verdict


def validate(
    experiment: Experiment, predictions: Mapping[str, Prediction], store: Store, *, workers: int = 1
) -> list[Validation]:
    """Run what the predictions need at the target and say what came of it, one `Validation` per prediction.

    Each prediction's digest is in the store before its first run starts. The predicted run of the first seed is a Ray Train
    run; replicates, probes and the baseline's longer horizons are trials.
    """
    for prediction in predictions.values():
        store.register_prediction(prediction.digest, prediction.model_dump(mode="json"))
    entries = {name: Entry.of(prediction, experiment.validation) for name, prediction in predictions.items()}
    records = store.records()
    ladder = Ladder(entries, experiment.validation)
    if ladder.missing(records):
        _train(entries, ladder, store, records, workers, experiment.resources)
    return [
        verdict(entry, entries.get(BASELINE), ladder.rungs, records, store.registered_at(entry.prediction.digest))
        for entry in entries.values()
    ]


class Ladder:
    """Everything at the target as a source of runs; the baseline's horizons follow once its probes are in, one by one until
    its losses bracket every challenger's."""

    def __init__(self, entries: Mapping[str, Entry], settings: ValidationSettings) -> None:
        self._entries, self._settings = entries, settings
        self.rungs: list[Arm] = []

    @property
    def _challengers(self) -> list[Entry]:
        """Who the baseline climbs for: nobody where there is no baseline."""
        return [entry for name, entry in self._entries.items() if name != BASELINE and BASELINE in self._entries]

    def planned(self, records: Mapping[str, RunRecord]) -> list[RunSpec]:
        """What is left to run, if the baseline climbs all the way."""
        arms = [arm for entry in self._entries.values() for arm in entry.arms]
        if self._challengers:
            start = self._entries[BASELINE].arms[0]
            arms += [ladder_arm(start, horizon, self._settings.seeds) for horizon in self._settings.ladder]
        return _missing(arms, records)

    def missing(self, records: Mapping[str, RunRecord]) -> list[RunSpec]:
        around = _missing((arm for entry in self._entries.values() for arm in entry.arms), records)
        if around or not self._challengers:
            return around
        best = self._entries[BASELINE].best(records)
        wanted = min(entry.arms[0].mean(records) for entry in self._challengers)
        self.rungs = []
        reached = best.mean(records)
        for horizon in self._settings.ladder:
            if reached <= wanted:
                break
            self.rungs.append(ladder_arm(best, horizon, self._settings.seeds))
            if left := _missing(self.rungs, records):
                return left
            reached = self.rungs[-1].mean(records)
        return []


def _train(
    entries: Mapping[str, Entry],
    ladder: Ladder,
    store: Store,
    records: MutableMapping[str, RunRecord],
    workers: int,
    resources: Resources,
) -> None:
    from hptransfer.search.cluster import cluster, require_slots
    from hptransfer.search.progress import Progress
    from hptransfer.search.tuner import run_trials
    from hptransfer.train.launch import Layout, launch

    planned = ladder.planned(records)
    predicted = [spec for entry in entries.values() if (spec := entry.arms[0].specs[0]).run_id not in records]
    progress = Progress(len(planned), sum(spec.flops for spec in planned), lambda record: f"({record.spec.tokens} tokens)")
    # The pool outside: an interrupt ends Ray first, and with it what the pool's threads wait for.
    with ThreadPoolExecutor(max(1, len(predicted))) as pool, cluster(store):
        # Workers of one run do not share a GPU, as trials may.
        each = resources.model_copy(update={"gpus": math.ceil(resources.gpus)})
        layout = Layout(workers, each)
        require_slots(each, workers)
        for record in pool.map(lambda spec: launch(spec, store, layout), predicted):
            records[record.run_id] = record
            progress.finished(record)
        run_trials(ladder, store, records, progress, resources=resources)


def _missing(arms: Iterable[Arm], records: Mapping[str, RunRecord]) -> list[RunSpec]:
    return [spec for arm in arms for spec in arm.specs if spec.run_id not in records]
