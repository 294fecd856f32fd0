"""A large cluster is kept busy: an event simulation of the driver, in which a run takes as long as it costs."""

from __future__ import annotations

import heapq

import pytest
from programs import FILES, make_experiment, record_of

from hptransfer.experiment import Experiment
from hptransfer.runs import Job, Record, Store
from hptransfer.search.progress import cost
from hptransfer.search.studies import make_studies

SLOTS = 64


def simulated(experiment: Experiment, slots: int, store: Store | None = None) -> tuple[float, dict[str, Record]]:
    """The share of the slots' time in which they were busy, and the records."""
    inputs = dict.fromkeys((arm.name for arm in experiment.compared), FILES)
    studies, records = make_studies(experiment, inputs, store, slots=lambda: slots), dict[str, Record]()
    now, busy, running = 0.0, 0.0, list[tuple[float, str, Job]]()
    while True:
        flying = {job.run_id for _, _, job in running}
        for job in studies.missing(records):
            if job.run_id not in flying and len(running) < slots:
                heapq.heappush(running, (now + cost(job), job.run_id, job))
                busy += cost(job)
        if not running:
            return busy / (slots * now), records
        now, run_id, done = heapq.heappop(running)
        records[run_id] = record_of(done)


def four_arms(trials: int, batch: int | str) -> Experiment:
    """Four arms and three cells; the widest takes 16 times as long as the smallest."""
    arms = {name: {"trainer.command": f"{make_experiment().trainer.command} --multiplier 1.{name}"} for name in "1234"}
    space = {"lr": {"low": 5e-4, "high": 0.2}}
    return make_experiment(
        arms=arms, baseline="1", spaces=dict.fromkeys(arms, space), search={"trials": trials, "batch": batch, "seed": 1}
    )


@pytest.mark.slow
def test_four_arms_keep_64_slots_busy() -> None:
    """Four at a time leave most of them idle."""
    shares = {batch: simulated(four_arms(64, batch), SLOTS)[0] for batch in (4, "auto")}
    print({batch: f"{share:.0%} busy" for batch, share in shares.items()})
    assert shares["auto"] >= 0.85 > 0.6 > shares[4]


def test_the_batch_is_recorded_and_a_search_on_another_cluster_goes_on_as_it_began(tmp_path) -> None:
    arms = {"1": {}}
    experiment = make_experiment(
        arms=arms, spaces={"1": {"lr": {"low": 5e-4, "high": 0.2}}}, search={"trials": 18, "batch": "auto"}
    )
    store = Store(tmp_path)
    _, large = simulated(experiment, 24, store)
    _, small = simulated(experiment, 2, store)
    assert small.keys() == large.keys()
    _, otherwise = simulated(experiment, 2, Store(tmp_path / "other"))
    assert otherwise.keys() != large.keys()
