"""Two gloo workers and one: the same run."""

from __future__ import annotations

import json
import statistics

import pytest
import torch
from tiny import tiny_corpus, tiny_spec
from torch import multiprocessing
from trainers.ours.two_workers import LONG, RESUMED, curve, interrupted, long_spec, long_worker, resumed, spec_of, worker

from hptransfer.optimizers import RECIPES
from hptransfer.runs import Store
from hptransfer.trainers.ours.loop import train

CORPUS = tiny_corpus()


@pytest.fixture(scope="module")
def one() -> dict[str, list[float]]:
    """Every recipe on one worker."""
    torch.set_num_threads(1)
    return {recipe: curve(train(spec_of(recipe), CORPUS)) for recipe in RECIPES.names()}


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_workers_reproduce_one(strategy: str, one, tmp_path) -> None:
    """20 steps in float64 to 1e-8 at every step, on both workers; with accumulated parts; from a checkpoint that one worker
    left, and the other way round."""
    for recipe in RESUMED:
        interrupted(spec_of(recipe), Store(tmp_path / "one" / recipe), 12)
    multiprocessing.spawn(worker, args=(str(tmp_path), strategy), nprocs=2)
    narrow = train(tiny_spec("sf-normuon", precision="bfloat16"), CORPUS).loss
    for rank in (0, 1):
        two = json.loads((tmp_path / f"{rank}.json").read_text())
        assert two["curves"].keys() == one.keys()
        for recipe, expected in one.items():
            assert two["curves"][recipe] == pytest.approx(expected, rel=1e-8), recipe
        assert two["accumulated"] == pytest.approx(one["shampoo"], rel=1e-8)
        for recipe in RESUMED:
            assert two["resumed"][recipe]["first"] == 12
            assert two["resumed"][recipe]["curve"] == pytest.approx(one[recipe], rel=1e-8), recipe
        assert two["narrow"] == pytest.approx(narrow, rel=0.02)
        assert "7 is not a multiple of 2 workers" in two["refusal"]
    for recipe in RESUMED:
        found = resumed(recipe, str(tmp_path / "two"))
        assert found["first"] == 12
        assert found["curve"] == pytest.approx(one[recipe], rel=1e-8), recipe


@pytest.mark.slow
def test_two_workers_stay_within_the_noise_of_seeds_in_float32(tmp_path) -> None:
    """200 steps: rounding differs, and no more than two standard deviations over seeds."""
    multiprocessing.spawn(long_worker, args=(str(tmp_path),), nprocs=2)
    two = json.loads((tmp_path / "long.json").read_text())
    for recipe in LONG:
        seeds = [train(long_spec(recipe, seed), CORPUS).loss for seed in range(5)]
        noise = statistics.stdev(seeds)
        for strategy in ("ddp", "fsdp"):
            difference = abs(two[f"{strategy} {recipe}"] - seeds[0])
            print(f"{strategy} {recipe}: {difference:.1e} of a noise of {noise:.1e}")
            assert difference < 2 * noise
