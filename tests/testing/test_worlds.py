"""The worlds are what they say: their truth is the truth of their tables, and each kind is hard in its own way."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from hptransfer.testing.worlds import KINDS, World, draw
from hptransfer.transfer.cost import LOST

SEEDS = range(12)
worlds = pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in KINDS for seed in SEEDS])


def cells(world: World) -> list[tuple[float, pl.DataFrame]]:
    """Each cell's true ln best LR, with its runs by LR."""
    keys = ["group", *world.scales]
    runs = world.table.partition_by(keys, as_dict=True)
    return [(row["ln_lr"], runs[tuple(row[key] for key in keys)].sort("lr")) for row in world.optima.to_dicts()]


def optima(world: World, group: str) -> np.ndarray:
    return world.optima.filter(pl.col("group") == group)["ln_lr"].to_numpy()


def slope(world: World, group: str) -> float:
    """Of the true optima with the first scale."""
    x = np.log(world.optima.filter(pl.col("group") == group)[world.scales[0]].to_numpy())
    return float(np.polyfit(x, optima(world, group), 1)[0])


@worlds
def test_losses_without_noise_fall_to_the_optimum_and_rise_from_it(kind: str, seed: int) -> None:
    for best, runs in cells(draw(kind, seed, noisy=False)):
        ln_lr, loss = runs["lr"].log().to_numpy(), runs["loss"].fill_null(math.inf).to_numpy()
        below, above = loss[ln_lr <= best], loss[ln_lr >= best]
        assert len(below) and len(above)
        assert np.all(np.diff(below) < 0)
        rise = np.diff(above[np.isfinite(above)])
        assert np.all(rise > 0) or kind == "cliff"  # beyond a cliff all losses are the same


@worlds
def test_the_named_groups_losses_are_those_of_the_bowl_by_which_regret_counts(kind: str, seed: int) -> None:
    world = draw(kind, seed, noisy=False)
    for best, runs in cells(world):
        if runs["group"][0] != world.group:
            continue
        excess = world.bowl.excess(runs["lr"].log().to_numpy() - best)
        loss, known = runs["loss"].to_numpy(), np.isfinite(excess)
        assert np.ptp(np.log(loss[known]) - excess[known]) < 1e-12


@worlds
def test_regret_is_none_at_the_truth_and_grows_on_both_sides_up_to_the_cap(kind: str, seed: int) -> None:
    world = draw(kind, seed)
    assert world.regret(world.best) == 0
    for side in (-1, 1):
        regrets = [world.regret(world.best + side * distance) for distance in (0.05, 0.1, 8.0)]
        assert 0 < regrets[0] < regrets[1] < regrets[2] == pytest.approx(LOST)
    u = -0.5
    assert world.regret(world.best + u) == pytest.approx(math.exp(world.bowl.curvature * u**2 * (1 + 0.05 * u**2)) - 1)


@worlds
def test_the_target_lies_beyond_all_that_is_searched(kind: str, seed: int) -> None:
    world = draw(kind, seed)
    assert set(world.at) == set(world.scales)
    assert all(2 <= world.at[scale] / world.table[scale].max() <= 32 for scale in world.scales)
    assert world.group in world.table["group"].to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_world_and_another_seed_another(kind: str) -> None:
    first, again, other = draw(kind, 1), draw(kind, 1), draw(kind, 2)
    assert first.table.equals(again.table) and first.optima.equals(again.optima)
    assert (first.best, first.bowl, first.at) == (again.best, again.bowl, again.at)
    assert not first.table.equals(other.table) and first.best != other.best


@pytest.mark.parametrize("kind", KINDS)
def test_noise_moves_the_losses_and_nothing_else(kind: str) -> None:
    noisy, quiet = draw(kind, 3), draw(kind, 3, noisy=False)
    assert noisy.table.drop("loss").equals(quiet.table.drop("loss")) and noisy.best == quiet.best
    assert noisy.table["loss"].is_null().equals(quiet.table["loss"].is_null())
    spread = (noisy.table["loss"].log() - quiet.table["loss"].log()).std()
    assert 0.0003 < spread < 0.02


def test_cliff() -> None:
    """Runs explode from one distance above the optimum on, in some worlds to nothing and in others to a finite loss; so does a
    prediction."""
    finite = set()
    for seed in SEEDS:
        world = draw("cliff", seed, noisy=False)
        assert 0.15 <= world.bowl.cliff <= 1
        assert world.regret(world.best + 1.001 * world.bowl.cliff) == pytest.approx(LOST)
        assert world.regret(world.best + 0.99 * world.bowl.cliff) < LOST
        for best, runs in cells(world):
            exploded = runs.filter(pl.col("lr").log() >= best + world.bowl.cliff)["loss"]
            if len(exploded):
                finite.add(exploded.null_count() == 0)
                assert exploded.null_count() or exploded.min() > 1.15 * runs["loss"].min()
    assert finite == {True, False}
    assert all(math.isinf(draw(kind, 0).bowl.cliff) for kind in KINDS if kind != "cliff")


def test_two_cells() -> None:
    for seed in SEEDS:
        world = draw("two_cells", seed)
        runs = [runs for _, runs in cells(world)]
        assert len(runs) == 2 and all(5 <= len(one) <= 9 for one in runs)
        assert all(np.allclose(np.diff(np.log2(one["lr"].to_numpy())), 1) for one in runs)
        assert world.at["width"] / world.table["width"].max() >= 4


def test_saturation() -> None:
    """The best LR rises with the batch ever more slowly: little of it is left where the critical batch is passed."""
    rises = []
    for seed in range(60):
        world = draw("saturation", seed)
        steps = np.diff(np.append(optima(world, "g0"), world.best))
        rises.append((steps[0], steps[-1] / round(math.log2(world.at["batch_tokens"] / world.table["batch_tokens"].max()))))
    first, last = np.array(rises).T
    assert np.mean(first > last) > 0.8
    assert np.quantile(last, 0.25) < 0.1 and np.quantile(first, 0.75) > 0.4


@pytest.mark.parametrize("kind", ["odd_sibling", "ordinary_sibling"])
def test_siblings(kind: str) -> None:
    """The named group is by far the farthest from the median exponent, or another one is."""
    farthest = []
    for seed in range(40):
        world = draw(kind, seed)
        groups = world.optima["group"].unique(maintain_order=True).to_list()
        assert 4 <= len(groups) <= 8
        assert all(2 <= len(optima(world, group)) <= 3 for group in groups)
        exponents = np.array([slope(world, group) for group in groups])
        away = np.abs(exponents - np.median(exponents))
        farthest.append(groups[int(np.argmax(away))] == world.group)
    assert np.mean(farthest) > 0.9 if kind == "odd_sibling" else np.mean(farthest) < 0.1


def test_wander() -> None:
    """Optima keep to a line in some worlds and leave it in others, the target's among them."""
    off = []
    for seed in range(60):
        world = draw("wander", seed)
        x = np.log(np.append(world.optima["width"].to_numpy(), world.at["width"]))
        y = np.append(optima(world, "g0"), world.best)
        assert 3 <= len(world.optima) <= 6
        off.append(float(np.sqrt(np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2) / (len(x) - 2))))
    assert np.quantile(off, 0.2) < 0.1 and np.quantile(off, 0.8) > 0.2
    assert max(off) < 1.0


def test_axes() -> None:
    """A star, of which no cell moves along two axes, or a cube; the exponents of published rules are found again."""
    cell_counts = set()
    for seed in SEEDS:
        world = draw("axes", seed)
        assert world.scales == ("width", "tokens", "batch_tokens")
        x = np.log(world.optima.select(world.scales).to_numpy())
        x = np.vstack([x, np.log([world.at[scale] for scale in world.scales])]) - x[0]
        cell_counts.add(len(world.optima))
        moved = np.sum(x[:-1] > 0, axis=1)
        assert moved.max() == (1 if len(world.optima) == 7 else 3)
        y = np.append(optima(world, "g0"), world.best)
        design = np.column_stack([np.ones(len(x)), x])
        width, tokens, batch = np.linalg.lstsq(design, y, rcond=None)[0][1:]
        assert -1.15 < width < 0.15 and -0.5 < tokens < 0.25 and -0.15 < batch < 0.75
        assert np.std(y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) < 0.15
    assert cell_counts == {7, 8}


def test_worlds_need_no_torch() -> None:
    code = "import sys; from hptransfer.testing import worlds; worlds.draw('cliff', 0); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
