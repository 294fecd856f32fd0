"""Validation where other scales than the width were searched."""

from __future__ import annotations

import math
import random

import pytest
from records import DATA, record_of
from synthetic import make_experiment

from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import REPEATED_SEED, members
from hptransfer.runs import Job, Record
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.protocol import Together, at_searched_scales
from hptransfer.validate.standing import Standing, protocols, standing

TOKENS = 131_072
SETTINGS = {"scales": {"tokens": [TOKENS, 2 * TOKENS, 4 * TOKENS]}, "target": {"tokens": 8 * TOKENS}, "search": {"trials": 8}}
EXPERIMENTS = {
    "tokens alone": make_experiment(**SETTINGS, widths=[64], target_width=64),
    "width and tokens": make_experiment(**SETTINGS),
}


def loss(job: Job) -> float:
    """The best LR goes as tokens^-0.3; Muon needs 1 / 1.4 of the tokens."""
    tokens, faster = job.point["tokens"], 1.4 if job.point.settings["optimizer"] == "muon" else 1.0
    u = math.log(job.point["lr"] / (0.01 * (tokens / TOKENS) ** -0.3))
    noise = 0.0005 * random.Random(job.run_id).gauss(0, 1)
    return 2.0 * (tokens * faster / TOKENS) ** -0.1 * math.exp(0.03 * u**2 + noise)


def searched(experiment: Experiment) -> list[Record]:
    """Eight LRs in every cell of every arm."""
    points = [
        experiment.point(arm, DATA, **cell, lr=0.01 * 2.0 ** (octave / 2), weight_decay=1e-3, embedding_lr_ratio=1.0, seed=0)
        for arm in experiment.compared
        for cell in experiment.searched_cells
        for octave in range(-6, 5)
    ]
    return [record_of(job, loss(job)) for job in map(resolve, points)]


def stands(experiment: Experiment, records: list[Record]) -> Standing:
    return standing(experiment, members(records, experiment, resolve), resolve, (), lambda run_id: None)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_whole_way_from_searches_to_survival(name: str) -> None:
    experiment = EXPERIMENTS[name]
    records = searched(experiment)
    predictions = stands(experiment, records).predictions
    drift = predictions["adamw"].exponent("lr", "tokens")
    assert -0.35 < drift < -0.15
    (protocol,) = protocols(experiment, predictions, resolve)
    whole, held_out = Together((protocol, *at_searched_scales(protocol))), dict[str, Record]()
    assert len(whole.protocols) == 1 + len(experiment.searched_cells)
    while jobs := whole.missing(held_out):
        held_out |= {job.run_id: record_of(job, loss(job)) for job in jobs}
    after = stands(experiment, [*records, *held_out.values()])
    # Runs of the ladder at horizons that were searched are none of the search: the predictions are what they were.
    assert [told.digest for told in after.predictions.values()] == [told.digest for told in predictions.values()]
    found = after.validations["muon"]
    assert found.survival is not None and len(found.survival.scales) == len(whole.protocols)
    multiplier = found.speedup.compute_multiplier["tokens"]
    assert multiplier.low <= 1.4 <= multiplier.high or multiplier.value == pytest.approx(1.4, rel=0.05)
    first, *others = found.ladder
    assert others
    for rung in others:
        assert rung.lr == pytest.approx(first.lr * (rung.tokens / first.tokens) ** drift)
    repeated = [record for record in held_out.values() if record.point["tokens"] <= 4 * TOKENS and record.point["width"] <= 128]
    if name == "tokens alone":
        assert repeated and all(record.point.init_seed >= REPEATED_SEED for record in repeated)
