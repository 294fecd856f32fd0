"""On the default corpus recipes learn more than letter frequencies, and more at width 64 than at width 32."""

from __future__ import annotations

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from hptransfer.experiment import DataChoice, load_experiment
from hptransfer.experiment.arm import Arm
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.loop import train
from hptransfer.trainers.ours.points import spec_of
from hptransfer.trainers.ours.spec import RunSpec

pytestmark = pytest.mark.slow

# Base LR and embedding/readout ratio near the optimum at width 32 (dev/LOG.md), the same at both widths.
TUNED = {"adamw": (0.012, 16.0), "muon": (0.04, 4.0), "shampoo": (0.04, 4.0), "soap": (0.012, 4.0)}
SEEDS = 3


def final_loss(spec: RunSpec) -> float:
    record = train(spec, load_corpus(DataChoice()))
    assert record.loss is not None, record.outcome.reason
    return record.loss


def test_recipes_beat_the_unigram_entropy_and_width_32() -> None:
    corpus = load_corpus(DataChoice())
    experiment = load_experiment("quickstart", ["horizon.tokens=262144", "schedule.warmup_tokens=26214"])
    specs = [
        spec_of(
            experiment.point(
                Arm.of(recipe, "mup"), corpus.spec, width=width, lr=lr, weight_decay=0.0, embedding_lr_ratio=ratio, seed=seed
            )
        )
        for recipe, (lr, ratio) in TUNED.items()
        for width in (32, 64)
        for seed in range(SEEDS)
    ]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        losses = np.array(list(pool.map(final_loss, specs))).reshape(len(TUNED), 2, SEEDS)
    counts = np.bincount(corpus.val[0], minlength=256)
    share = counts[counts > 0] / counts.sum()
    unigram = -float((share * np.log(share)).sum())
    mean, error = losses.mean(-1), losses.std(-1, ddof=1) / math.sqrt(SEEDS)
    for i, recipe in enumerate(TUNED):
        print(f"{recipe:8} width 32 {mean[i, 0]:.4f} +- {error[i, 0]:.4f}, width 64 {mean[i, 1]:.4f} +- {error[i, 1]:.4f}")
    assert (mean[:, 1] < unigram).all()
    assert (mean[:, 0] - mean[:, 1] > 2 * np.hypot(error[:, 0], error[:, 1])).all()
