from __future__ import annotations

from dataclasses import replace

import pytest
from report.factory import constant

from hptransfer.base.refusals import Refusal
from hptransfer.validate.pairs import pair_of, pairs
from hptransfer.validate.results import Results
from hptransfer.validate.significance import Sample, equivalent_steps, loss_exponent, p_lower, seeds_needed

MUON = "muon"


def test_two_predicted_runs_are_compared_by_their_means_and_noise(full: Results) -> None:
    (pair,) = pairs(full)
    losses = {arm: validation.runs[0].loss or 0.0 for arm, validation in full.validations.items()}
    assert (pair.lower, pair.higher) == ("muon", "adamw") and losses["muon"] < losses["adamw"]
    assert pair.difference == pytest.approx(losses["adamw"] - losses["muon"])
    assert pair.relative == pytest.approx(pair.difference / losses["muon"])
    one, other = (Sample(losses[name], 0.001 * losses[name], 2, 5) for name in ("muon", "adamw"))
    assert pair.p_value == pytest.approx(p_lower(one, other))
    assert pair.seeds == seeds_needed(pair.difference, one.sd, other.sd)
    assert pair.runs == (2, 2)
    assert pair_of([pair], "adamw", "muon") is pair and pair_of([pair], "adamw", "soap") is None


@pytest.mark.parametrize("change", [{"sd": 0.0}, {"freedom": 0}])
def test_without_noise_nothing_is_compared(full: Results, change: dict[str, float]) -> None:
    validation = full.validations[MUON]
    silent = validation.model_copy(update={"noise": validation.noise.model_copy(update=change)})
    assert pairs(replace(full, validations=full.validations | {MUON: silent})) == ()


def test_a_seed_that_diverged_has_no_mean(full: Results) -> None:
    validation = full.validations[MUON]
    first, *others = validation.runs
    lost = first.model_copy(update={"loss": None, "losses": (1.5, None)})
    edited = validation.model_copy(update={"runs": (lost, *others)})
    assert pairs(replace(full, validations=full.validations | {MUON: edited})) == ()


def test_a_loss_amid_a_schedule_is_not_compared_with_an_annealed_one(full: Results) -> None:
    told = full.predictions[MUON]
    assert pairs(replace(full, predictions=full.predictions | {MUON: constant(told)})) == ()


def test_a_difference_is_worth_tokens_of_adamw(full: Results) -> None:
    (pair,) = pairs(full)
    assert pair.tokens == pytest.approx((1.62 / 1.55) ** (1 / 0.06), rel=0.1)  # the truth, but for the jitter of the losses
    ladder = full.validations[MUON].ladder
    exponent = loss_exponent([run.tokens for run in ladder], [run.loss or 0.0 for run in ladder])
    higher, lower = (full.validations[name].runs[0].loss or 0.0 for name in ("adamw", "muon"))
    assert pair.tokens == pytest.approx(equivalent_steps(higher, lower, exponent))


def test_tokens_need_two_annealed_horizons_and_a_multiplier_that_is_not_refused(full: Results) -> None:
    def tokens(**changes: object) -> float | None:
        edited = full.validations[MUON].model_copy(update=changes)
        (pair,) = pairs(replace(full, validations=full.validations | {MUON: edited}))
        return pair.tokens

    runs = full.validations[MUON].baseline_runs
    assert tokens(baseline_runs=runs) is not None
    assert tokens(baseline_runs=tuple(run for run in runs if run.kind != "horizon")) is None
    assert tokens(baseline_runs=tuple(run for run in runs if run.factor != 4.0)) is None  # none as low as muon's loss
    assert tokens(speedup=None, refusal=Refusal.of("diverged", name="muon")) is None
    (pair,) = pairs(replace(full, predictions={arm: constant(told) for arm, told in full.predictions.items()}))
    assert pair.tokens is None


def test_equal_losses_have_no_number_of_seeds(full: Results) -> None:
    same = full.validations[MUON].model_copy(update={"arm": "adamw", "optimizer": "adamw"})
    (pair,) = pairs(replace(full, validations={"adamw": same, MUON: full.validations[MUON]}))
    assert pair.difference == 0 and pair.seeds is None and pair.p_value == pytest.approx(0.5)
