"""What validation runs: the predicted runs under Ray Train, everything around them as trials."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hptransfer.experiment import Experiment, Resources
from hptransfer.runs import Record, Store
from hptransfer.trainers import resolve, trainer_of
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.protocol import Together, at_searched_scales
from hptransfer.validate.result import Validation
from hptransfer.validate.standing import begun, protocols, validations


def run_validations(
    experiment: Experiment,
    predictions: Mapping[str, Prediction],
    asked: Container[str],
    store: Store,
    *,
    workers: int = 1,
    survival: bool = False,
) -> dict[str, Validation]:
    """Run what the predictions of the arms that are ``asked`` for need at the target, and their baselines', with ``survival`` at
    the searched scales too, and say what came of all ``predictions``, by arm.

    Each prediction is in the store before its first run starts. The predicted run of the first seed is a Ray Train run;
    replicates, probes, transfers and the baseline's other horizons are trials.
    """
    records = store.records()
    for every in protocols(experiment, predictions, resolve):
        names = {name for name in every.predictions if name in asked}
        if not names:
            continue
        # With the arms that have run already: the baseline's horizons are for all of them.
        protocol = every.of({*names, every.baseline, *begun(every, records)})
        for prediction in protocol.predictions.values():
            store.register_prediction(prediction.run.run_id, prediction.stored())
        whole = Together((protocol, *(at_searched_scales(protocol) if survival else ())))
        if whole.missing(records):
            _train(whole, store, records, workers, experiment.resources)
    return validations(experiment, predictions, records, resolve, store.registered_at)


def _train(
    protocol: Together,
    store: Store,
    records: MutableMapping[str, Record],
    workers: int,
    resources: Resources,
) -> None:
    from hptransfer.search.cluster import cluster, require_slots
    from hptransfer.search.progress import Progress, cost
    from hptransfer.search.tuner import run_trials
    from hptransfer.trainers.ours.launch import Layout, launch

    planned = protocol.planned(records)
    for job in {str(job.point.settings.get("depends")): job for job in planned}.values():
        trainer_of(job.point).prepare(job, Path.cwd())
    jobs = [prediction.run for prediction in protocol.protocols[0].predictions.values()]
    # A program starts what workers it has by itself, and is a trial here.
    predicted = [job for job in jobs if job.run_id not in records and job.point.settings["trainer"] == "ours"]
    progress = Progress(
        len(planned),
        sum(map(cost, planned)),
        lambda record: protocol.arm(record.point),
        lambda record: f"({record.point.scales.get('tokens', '?')} tokens)",
    )
    # The pool outside: an interrupt ends Ray first, and with it what the pool's threads wait for.
    with ThreadPoolExecutor(max(1, len(predicted))) as pool, cluster(store):
        # Workers of one run do not share a GPU, as trials may.
        each = resources.model_copy(update={"gpus": math.ceil(resources.gpus)})
        layout = Layout(workers, each)
        if predicted:
            require_slots(each, workers)
        for record in pool.map(lambda job: launch(job, store, layout), predicted):
            records[record.run_id] = record
            progress.finished(record)
        run_trials(protocol, store, records, progress, resources=resources)
