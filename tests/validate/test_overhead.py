from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from report.factory import changed, edited, experiment, results

from hptransfer.runs import Record
from hptransfer.runs.curves import tokens_to_loss
from hptransfer.validate.overhead import overhead, predicted_runs, tokens_to_target
from hptransfer.validate.results import Results

ADAMW, MUON = "adamw", "muon"


def test_the_optimizers_share_is_that_of_its_predicted_runs(full: Results) -> None:
    runs = predicted_runs(full, MUON)
    assert len(runs) == 2 and {run.point.init_seed for run in runs} == {0, 1}
    spent, baseline = overhead(full, MUON), overhead(full, ADAMW)
    assert spent is not None and baseline is not None
    assert spent.time_share == pytest.approx(0.1)
    assert spent.flops_share == pytest.approx(0.04 / 1.04)
    assert spent.seconds_per_token == pytest.approx(185 / 2_097_152)
    assert spent.against_baseline == pytest.approx(185 / 160)
    assert baseline.against_baseline == 1.0
    assert spent.state_bytes_per_parameter == pytest.approx(1e7 / (runs[0].job.parameters or 0))


def test_wall_clock_on_another_machine_is_not_compared(full: Results) -> None:
    ids = {run.run_id for run in predicted_runs(full, MUON)}
    moved = edited(full, lambda run: changed(run, device="another") if run.run_id in ids else run)
    spent = overhead(moved, MUON)
    assert spent is not None and spent.against_baseline is None


def test_the_time_per_token_is_that_of_every_run_at_the_width(full: Results) -> None:
    """As the multiplier on wall-clock has it: the geometric mean over the probes too, and AdamW's over its ladder too."""
    whole = overhead(full, MUON)
    horizons = {i for arm in full.validations[MUON].baseline_runs if arm.kind == "horizon" for i in arm.run_ids}
    probes = {i for arm in full.validations[MUON].runs if arm.kind == "lr_probe" for i in arm.run_ids}
    assert horizons and probes and whole is not None and whole.against_baseline is not None
    for slower, direction in ((horizons, -1), (probes, 1)):
        doubled = edited(full, partial(_slower, slower))
        spent = overhead(doubled, MUON)
        assert spent is not None and spent.against_baseline is not None
        assert direction * (spent.against_baseline - whole.against_baseline) > 0.01


def _slower(which: set[str], run: Record) -> Record:
    return changed(run, training_wall_seconds=2 * (run.outcome.training_wall_seconds or 0)) if run.run_id in which else run


def test_a_cost_that_is_unknown_is_not_taken_for_nothing(full: Results) -> None:
    assert overhead(edited(full, lambda run: changed(run, flops_optimizer=None)), MUON) is None
    spent = overhead(edited(full, lambda run: changed(run, optimizer_state_bytes=None)), MUON)
    assert spent is not None and spent.state_bytes is spent.state_bytes_per_parameter is None
    assert spent.time_share == pytest.approx(0.1)


def test_nothing_is_said_before_a_predicted_run(unfinished: Results) -> None:
    assert overhead(unfinished, MUON) is None


def test_tokens_to_a_target_loss_are_the_mean_over_seeds() -> None:
    found = results(experiment(target_loss=2.0))
    reached = tokens_to_target(found, MUON)
    expected = [tokens_to_loss(run.outcome.curve, 2.0) for run in predicted_runs(found, MUON)]
    assert reached is not None and reached.tokens == pytest.approx(sum(filter(None, expected)) / 2)
    assert reached.mid_schedule and reached.trained == 2_097_152


def test_a_target_loss_that_one_seed_misses_is_not_reached() -> None:
    found = results(experiment(target_loss=2.0))
    first, second = predicted_runs(found, MUON)
    worst, best = sorted((first.outcome.curve[-1].val or 0, second.outcome.curve[-1].val or 0), reverse=True)
    between = found.experiment.model_copy(update={"target_loss": (worst + best) / 2})
    missed = tokens_to_target(replace(found, experiment=between), MUON)
    assert worst > best and missed is not None and missed.tokens is None and not missed.mid_schedule


def test_a_seed_that_diverged_did_not_reach_the_target() -> None:
    found = results(experiment(target_loss=2.0))
    lost = predicted_runs(found, MUON)[1].run_id
    without = edited(found, lambda run: changed(run, state="diverged", loss=None) if run.run_id == lost else run)
    missed = tokens_to_target(without, MUON)
    assert missed is not None and missed.tokens is None and missed.trained == 2_097_152


def test_without_a_target_loss_there_are_no_tokens_to_it(full: Results) -> None:
    assert tokens_to_target(full, MUON) is None
