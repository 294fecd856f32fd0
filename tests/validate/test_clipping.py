"""Clipping in made-up experiments whose truth is known, from the records on; nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import DATA, record_of

from hptransfer.experiment import Experiment
from hptransfer.report import clipping as page
from hptransfer.runs import Job, Record, Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.clipping import Clipping, Helps, clipping, finding
from hptransfer.validate.protocol import at_searched_scales
from hptransfer.validate.results import Results, load_results
from hptransfer.validate.significance import LossDifference, Sample, difference
from hptransfer.validate.standing import protocols
from hptransfer.validate.summary import summarize

LRS = (0.002, 0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048)
BEST_LR, NOISE = 0.014, 0.002
SHARES = {None: None, 4.0: 0.0, 1.0: 0.1, 0.25: 1.0}  # of steps clipped, by threshold


def experiment(**changes: object) -> Experiment:
    fields = {
        "name": "clipped",
        "model": {"depth": 1, "head_dim": 8, "context": 16},
        "base_width": 16,
        "widths": [16, 32],
        "target_width": 64,
        "horizon": {"policy": "tokens", "tokens": 4096},
        "batch_sequences": 4,
        "arms": {
            "unclipped": {"optimizer": "adamw"},
            "clip-4": {"optimizer": "adamw", "options.clip_norm": 4},
            "clip-1": {"optimizer": "adamw", "options.clip_norm": 1},
            "clip-0.25": {"optimizer": "adamw", "options.clip_norm": 0.25},
        },
        "baseline": "unclipped",
        "search": {"trials": len(LRS)},
        "validation": {"seeds": 3, "probe_octaves": [], "ladder": [0.5, 2]},
    }
    return Experiment.model_validate(fields | changes)


class World:
    """Records of an experiment in which each threshold moves the loss by a known share, at every width."""

    def __init__(self, folder: Path, effects: Mapping[float, float], noise: float = NOISE, **changes: object) -> None:
        self.experiment, self.effects, self.noise = experiment(**changes), effects, noise
        self.store = Store(folder / "runs")
        for arm in self.experiment.compared:
            for width in self.experiment.widths:
                for lr in LRS:
                    point = self.experiment.point(arm, DATA, width=width, lr=lr, weight_decay=0.001)
                    self.store.add(self.record(resolve(point)))

    def record(self, job: Job) -> Record:
        """Of a run; one of a norm unbounded, or bounded by 4, diverges at the highest LR."""
        point = job.point
        threshold, lr = point.settings["options"]["clip_norm"], point["lr"]
        if lr > 0.04 and threshold in (None, 4.0):
            return record_of(job, None, metrics=self.metrics(threshold), training_wall_seconds=10.0)
        loss = 2.0 * (64 / point["width"]) ** 0.05 * (4096 / point["tokens"]) ** 0.1
        loss *= math.exp(0.02 * math.log(lr / BEST_LR) ** 2) * (1 + self.effects.get(threshold, 0.0))
        draw = np.random.default_rng(int(job.run_id, 16)).standard_normal()
        return record_of(job, loss * (1 + self.noise * draw), metrics=self.metrics(threshold), training_wall_seconds=10.0)

    @staticmethod
    def metrics(threshold: float | None) -> dict[str, float]:
        share = SHARES[threshold]
        return {"clipping_wall_seconds": 0.2} | ({} if share is None else {"clipped_share": share})

    def results(self) -> Results:
        return load_results(self.experiment, self.store, resolve)

    def validate(self) -> None:
        """Run whatever the predictions ask for, at the target and at the searched widths."""
        for protocol in protocols(self.experiment, self.results().predictions, resolve):
            for one in (protocol, *at_searched_scales(protocol)):
                while missing := one.missing(self.store.records()):
                    for job in missing:
                        self.store.add(self.record(job))


def study(results: Results) -> Clipping:
    (found,) = clipping(results)
    return found


EFFECTS = {4.0: 0.0, 1.0: -0.05, 0.25: 0.05}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("searched"), EFFECTS)


@pytest.fixture(scope="module")
def searched(world: World) -> Results:
    return world.results()


def test_of_a_search_alone_the_bowls_are_compared(searched: Results) -> None:
    found = study(searched)
    assert found.unclipped == "unclipped"
    none, *others = (one.finding for one in found.verdicts)
    assert none in ("no_difference", "cannot_tell") and others == ["helps", "hurts"]
    for one in found.verdicts:
        assert one.difference.value == pytest.approx(EFFECTS[one.threshold], abs=2 * NOISE)
        assert one.noise == pytest.approx(NOISE, rel=0.8)
    assert [one.scales["width"] for one in found.searched] == [16] * 4 + [32] * 4
    assert not found.held_out
    for one in found.searched:
        assert one.lr == pytest.approx(BEST_LR, rel=0.4)


def test_a_row_says_which_steps_were_clipped_what_the_norm_took_and_where_runs_diverge(searched: Results) -> None:
    for one in study(searched).searched:
        share = SHARES[one.threshold]
        assert (one.share, one.least, one.most) == (share, share, share)
        assert one.time == pytest.approx(0.02)
        assert one.diverged_from == (LRS[-1] if one.threshold in (None, 4.0) else None)
        assert (one.difference is None) == (one.threshold is None)


def test_seeds_at_the_optima_count_too(tmp_path: Path) -> None:
    """Those of other horizons do not."""
    world = World(tmp_path, EFFECTS, validation={"seeds": 8, "probe_octaves": [], "ladder": [0.5]})
    world.validate()
    found = study(world.results())
    assert [one.scales["width"] for one in found.held_out] == [64] * 4
    for one in (*found.searched, *found.held_out):
        lost = one.threshold in (None, 4.0)
        assert one.runs == (8 if one.scales["width"] == 64 else 16 - lost)
        true = 2.0 * (64 / one.scales["width"]) ** 0.05 * (1 + EFFECTS.get(one.threshold, 0.0))
        assert one.loss == pytest.approx(true, rel=3 * NOISE)
        assert NOISE * true / 5 < one.standard_error < NOISE * true / 1.5
    none, *others = (one.finding for one in found.verdicts)
    assert none in ("no_difference", "cannot_tell") and others == ["helps", "hurts"]


def test_effects_below_the_noise_are_not_called(tmp_path: Path) -> None:
    world = World(tmp_path, {1.0: -0.0002, 0.25: 0.0002}, noise=0.005)
    assert not {"helps", "hurts"} & {one.finding for one in study(world.results()).verdicts}


def test_arms_that_differ_in_more_than_their_threshold_are_not_compared(tmp_path: Path) -> None:
    arms = {"adamw": {"optimizer": "adamw"}, "muon": {"optimizer": "muon", "options.clip_norm": 1}}
    world = World(tmp_path, {}, arms=arms, baseline="adamw")
    assert clipping(world.results()) == () and not page.section(())


def test_an_arm_without_a_search_is_left_out_and_no_verdict_is_against_nothing(searched: Results) -> None:
    left = replace(searched, predictions={name: told for name, told in searched.predictions.items() if name != "clip-1"})
    assert [one.arm for one in study(left).verdicts] == ["clip-4", "clip-0.25"]
    runs = {name: () if name == "unclipped" else found for name, found in searched.members.searched.items()}
    assert clipping(replace(searched, members=replace(searched.members, searched=runs))) == ()


def test_the_page_has_a_section_and_the_summary_its_numbers(searched: Results) -> None:
    summary = summarize(searched)
    assert summary.clipping == clipping(searched)
    verdicts, cells = page.section(summary.clipping).tables
    assert [row[:3] for row in verdicts.rows] == [
        ("clip-4", "4.00", page.FINDINGS["cannot_tell"]),
        ("clip-1", "1.00", "helps"),
        ("clip-0.25", "0.250", "hurts"),
    ]
    clipped = [dict(zip(cells.columns, row, strict=True)) for row in cells.rows]
    assert {row["steps clipped"] for row in clipped if row["arm"] == "clip-1"} == {"10 %"}
    assert {row["steps clipped"] for row in clipped if row["arm"] == "unclipped"} == {"-"}
    assert {row["of training time"] for row in clipped} == {"2.0 %"}


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-0.01, 0.001, "helps"),
        (0.01, 0.001, "hurts"),
        (0.0005, 0.0005, "no_difference"),
        (-0.001, 0.004, "cannot_tell"),
        (-0.01, 0.009, "cannot_tell"),
    ],
)
def test_what_a_difference_says(value: float, error: float, expected: Helps) -> None:
    assert finding(LossDifference(value, error, 12), noise=0.002, level=0.05 / 3) == expected


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_the_interval_of_a_difference_holds_the_truth_and_no_help_is_called_by_luck(cells: int) -> None:
    """Losses of three seeds with noises that are estimated from them; 2,000 experiments."""
    rng, true, sd, level = np.random.default_rng(cells), 0.003, 0.004, 0.05
    holds = called = 0
    for _ in range(2000):

        def sample(mean: float) -> Sample:
            losses = mean * (1 + sd * rng.standard_normal(6))
            return Sample(losses[:3].mean(), losses.std(ddof=1), 3, 5)

        found = difference([(sample(2.0 / width * (1 + true)), sample(2.0 / width)) for width in range(1, cells + 1)])
        low, high = found.interval.low, found.interval.high
        holds += low <= true <= high
        none = difference([(sample(2.0), sample(2.0)) for _ in range(cells)])
        called += finding(none, sd, level) in ("helps", "hurts")
    assert 0.77 < holds / 2000 < 0.87
    assert called / 2000 < 2 * level + 0.02


def test_cells_that_disagree_beyond_their_noise_widen_the_interval() -> None:
    def sample(mean: float) -> Sample:
        return Sample(mean, 0.002, 1, math.inf)

    alike = difference([(sample(2.02), sample(2.0)), (sample(2.02), sample(2.0))])
    apart = difference([(sample(2.04), sample(2.0)), (sample(2.00), sample(2.0))])
    assert apart.value == pytest.approx(alike.value, rel=0.01) and apart.error > 3 * alike.error
