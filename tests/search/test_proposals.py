"""What is proposed stays what it was: run_ids of whole searches, as version 0.1.0 made them (commit 89e35fb); those of
``design``, which asks the fit, as hypotheses that compete make them."""

import json
import math
import random
from pathlib import Path

import pytest
from records import EVERYWHERE, record_of

from hptransfer.runs import Job
from hptransfer.search.studies import make_studies

FROZEN = json.loads((Path(__file__).parent / "proposals.json").read_text())


def loss_of(job: Job) -> float | None:
    """A bowl around lr 0.02 and ratio 4, for shampoo around weight decay 0.002 too, with a ceiling of stability and noise."""
    point = job.point
    recipe, width, lr = point.settings["optimizer"], point["width"], point["lr"]
    decay, ratio = point["weight_decay"], point["embedding_lr_ratio"]
    if lr > (0.05 if recipe == "adamw" else 0.1):
        return None
    noise = 0.004 * random.Random(f"{recipe} {width} {lr} {decay} {ratio} {point.init_seed}").gauss(0, 1)
    v = 0.03 * math.log(decay / 2e-3) ** 2 if recipe == "shampoo" else 0.0
    u = 0.05 * math.log(lr / 0.02) ** 2 + 0.02 * math.log(ratio / 4) ** 2
    return 2 * (width / 16) ** -0.1 * math.exp(u + v + noise)


@pytest.mark.parametrize("sampler", FROZEN)
def test_the_proposals_of_a_search_stay_the_same(experiment, sampler):
    search = experiment.search.model_copy(update={"trials": 12, "sampler": sampler})
    studies, records = make_studies(experiment.model_copy(update={"search": search}), EVERYWHERE), {}
    while jobs := studies.missing(records):
        records[jobs[0].run_id] = record_of(jobs[0], loss_of(jobs[0]))
    found = {
        f"{study.arm.name} {study.cell['width']}": [record.run_id for _, record in study.finished] for study in studies.studies
    }
    assert found == FROZEN[sampler]
