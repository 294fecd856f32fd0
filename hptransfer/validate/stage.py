"""What validation runs: the predicted runs under Ray Train, everything around them as trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor

from hptransfer.experiment import Experiment, Resources
from hptransfer.runs import RunRecord, Store
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.protocol import Protocol
from hptransfer.validate.result import Validation
from hptransfer.validate.verdict import verdict


def validate(
    experiment: Experiment, predictions: Mapping[str, Prediction], store: Store, *, workers: int = 1
) -> list[Validation]:
    """Run what the predictions need at the target and say what came of it, one `Validation` per prediction.

    Each prediction's digest is in the store before its first run starts. The predicted run of the first seed is a Ray Train
    run; replicates, probes, transfers and the baseline's other horizons are trials.
    """
    for prediction in predictions.values():
        store.register_prediction(prediction.digest, prediction.model_dump(mode="json"))
    protocol = Protocol(predictions, experiment.validation)
    records = store.records()
    if protocol.missing(records):
        _train(protocol, store, records, workers, experiment.resources)
    return [verdict(name, protocol, records, store.registered_at(prediction.digest)) for name, prediction in predictions.items()]


def _train(
    protocol: Protocol,
    store: Store,
    records: MutableMapping[str, RunRecord],
    workers: int,
    resources: Resources,
) -> None:
    from hptransfer.search.cluster import cluster, require_slots
    from hptransfer.search.progress import Progress
    from hptransfer.search.tuner import run_trials
    from hptransfer.trainers.ours.launch import Layout, launch

    planned = protocol.planned(records)
    predicted = [spec for prediction in protocol.predictions.values() if (spec := prediction.spec).run_id not in records]
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
        run_trials(protocol, store, records, progress, resources=resources)
