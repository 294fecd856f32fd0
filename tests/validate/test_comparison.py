"""What comparing two experiments gives: ratios with their intervals, what is judged, and what is not compared."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from report.factory import experiment, prediction, results
from scipy import stats

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment import Experiment
from hptransfer.transfer.prediction import Estimate, Prediction
from hptransfer.validate.comparison import (
    HeldOutLoss,
    agreement,
    comparison_of,
    differing,
    findings,
    loss_ratio,
    paired,
    quantity,
)
from hptransfer.validate.results import Results

OTHER = {"name": "other", "batch_sequences": 32}


def interval(value: float, low: float | None, high: float | None) -> Interval:
    return Interval(value=value, low=low, high=high)


def found(made: Experiment) -> Results:
    """What the reports of one experiment would show, without files."""
    return results(made)


@pytest.fixture
def both() -> tuple[Results, Results]:
    return found(experiment()), found(experiment(("muon", "adamw", "soap"), **OTHER))


def test_a_ratio_adds_relative_errors_in_quadrature() -> None:
    ratio = quantity(interval(2, 2 / math.exp(0.3), 2 * math.exp(0.1)), interval(4, 4 / math.exp(0.4), 4 * math.exp(0.2)))
    assert ratio is not None
    assert ratio.ratio.value == pytest.approx(2)
    assert ratio.ratio.low == pytest.approx(2 * math.exp(-math.hypot(0.4, 0.1)))  # B's lower end, A's upper
    assert ratio.ratio.high == pytest.approx(2 * math.exp(math.hypot(0.2, 0.3)))
    assert ratio.agreement == "differ"


def test_a_ratio_is_open_where_an_interval_is() -> None:
    ratio = quantity(interval(2, None, 3), interval(3, 2.5, None))
    assert ratio is not None
    assert ratio.ratio.low is not None and ratio.ratio.high is None
    assert quantity(interval(0.0, None, None), interval(3, 2.5, None)) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.9, 1.2, "agree"),
        (1.01, 1.2, "differ"),
        (0.5, 0.99, "differ"),
        (None, 0.99, "differ"),
        (1.01, None, "differ"),
        (None, 1.2, "unknown"),
        (0.9, None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_agreement(low: float | None, high: float | None, verdict: str) -> None:
    assert agreement(interval(1.1, low, high)) == verdict


def test_only_settings_that_differ_are_listed_by_dotted_name() -> None:
    a = experiment(spaces={"muon": {"lr": {"low": 0.01}}})
    b = experiment(batch_sequences=32, widths=[32, 64], schedule={"shape": "cosine", "warmup_tokens": 65_536}, name="b")
    assert {setting.name: (setting.a, setting.b) for setting in differing(a, b)} == {
        "widths": ("[32, 64, 128]", "[32, 64]"),
        "batch_sequences": ("64", "32"),
        "schedule.shape": ("linear", "cosine"),
        "spaces.muon.lr.low": ("0.01", None),
    }


def test_optimizers_are_paired_and_the_others_named(both: tuple[Results, Results]) -> None:
    comparison = comparison_of(*both, ("sample", "other"))
    assert [pairing.name for pairing in comparison.arms] == ["adamw", "muon"]
    assert (comparison.only_a, comparison.only_b) == ((), ("soap",))
    muon = comparison.arms[1]
    assert muon.lr is not None and muon.lr.ratio.value == pytest.approx(1) and muon.lr.agreement == "agree"
    assert muon.hidden_lr is None  # the same coordinates
    assert muon.weight_decay is not None and muon.weight_decay.agreement == "unknown"
    assert muon.notes == (f"Weight decay of both: {both[0].predictions['muon'].weight_decay.words}.",)
    assert set(muon.multipliers) == {"tokens", "flops", "flops_with_optimizer", "wall_clock"}


def test_arms_are_paired_by_name_and_a_recipe_under_other_parametrizations_by_itself() -> None:
    mine = {"mine": {"optimizer": "muon", "options.momentum": 0.9}}
    a, b = experiment(arms=mine), experiment(("soap", "muon"), arms=mine, parametrizations=["mup", "sp"])
    assert paired(a, b) == [("muon", "muon"), ("mine", "mine")]
    sp = experiment(("adamw", "muon"), parametrizations=["sp"])
    assert paired(a, sp) == [("adamw", "adamw-sp"), ("muon", "muon-sp")]
    assert paired(experiment(("adamw",)), experiment(("soap",))) == []


def test_sp_is_compared_with_mup_also_in_final_numbers() -> None:
    mup, sp = experiment(("muon",)), experiment(("muon",), name="sp", parametrizations=["sp"])
    told = prediction(sp, "muon", "sp")
    theirs = Results(sp, predictions={"muon-sp": told})
    (pairing,) = comparison_of(found(mup), theirs, ("mup", "sp")).arms
    assert pairing.name == "muon against muon-sp"
    assert pairing.hidden_lr is not None and pairing.hidden_lr.b.value == told.roles["hidden"].lr
    assert pairing.missing == ("sp has not tested its prediction for muon-sp yet.",)


def test_a_refusal_reaches_the_comparison(both: tuple[Results, Results]) -> None:
    a, b = both
    edge = {"name": "muon", "cell": "width 32", "hyperparameter": "lr", "end": 0.1}
    no_prediction, no_speedup = Refusal.of("upper_edge", **edge), Refusal.of("diverged", name="muon")
    told, sentence = f"No prediction: {no_prediction.text}.", no_speedup.text
    muon = "muon"
    refused = a.validations[muon].model_copy(update={"refusal": no_speedup, "speedup": None})
    a = replace(a, validations=a.validations | {muon: refused})
    others = {arm: prediction for arm, prediction in b.predictions.items() if arm != muon}
    b = replace(b, predictions=others, validations={}, refused={muon: no_prediction})
    comparison = comparison_of(a, b, ("sample", "other"))
    assert comparison.arms[1].missing == (f"sample: {sentence}", f"other: {told}")
    assert f"muon: sample: {sentence}" in findings(comparison)


def test_with_other_base_widths_the_final_learning_rates_are_judged() -> None:
    a, b = experiment(("adamw",)), experiment(("adamw",), name="wide", base_width=64)
    (pairing,) = (comparison := comparison_of(found(a), found(b), ("sample", "wide"))).arms
    assert pairing.lr is not None and pairing.lr.ratio.value == pytest.approx(1) and pairing.lr.agreement == "not judged"
    assert pairing.hidden_lr is not None and pairing.hidden_lr.ratio.value == pytest.approx(2)
    (judged,) = (sentence for sentence in findings(comparison) if "learning rates" in sentence)
    assert judged.startswith("adamw: the predicted learning rates of hidden matrices differ: wide's over sample's is 2.00x")


def test_what_the_rules_alone_change_is_not_judged() -> None:
    a, b = experiment(("adamw",)), experiment(("adamw",), name="large", target_width=512)
    known = [
        replace(one, predictions={s: _with_decay_interval(p) for s, p in one.predictions.items()}) for one in map(found, (a, b))
    ]
    (pairing,) = (comparison := comparison_of(*known, ("sample", "large"))).arms
    assert pairing.hidden_lr is None  # one base: the base values are compared
    assert pairing.lr is not None and pairing.lr.agreement == "agree"
    assert pairing.weight_decay is not None and pairing.weight_decay.ratio.value == pytest.approx(0.5)
    assert pairing.weight_decay.agreement == "not judged"
    assert "Final values are not judged: from one held-out run to the other the rules alone change them." in pairing.notes
    assert not any("weight decay" in sentence for sentence in findings(comparison))


def _with_decay_interval(told: Prediction) -> Prediction:
    """With a weight decay that the runs told."""
    decay = told.hyperparameters["weight_decay"]
    known = Estimate(value=decay.value, low=decay.value / 1.1, high=decay.value * 1.1)
    return told.model_copy(update={"hyperparameters": told.hyperparameters | {"weight_decay": known}})


def test_a_weight_decay_that_the_runs_told_needs_no_note(both: tuple[Results, Results]) -> None:
    known = [replace(one, predictions={s: _with_decay_interval(p) for s, p in one.predictions.items()}) for one in both]
    comparison = comparison_of(known[0], known[1], ("sample", "other"))
    assert comparison.arms[1].notes == ()
    assert any("muon: the predicted weight decays agree" in sentence for sentence in findings(comparison))


def test_losses_amid_a_schedule_are_not_ranked_with_annealed_ones() -> None:
    a, b = (
        experiment(("adamw",), name=name, schedule={"shape": shape}) for name, shape in (("fast", "linear"), ("flat", "constant"))
    )
    comparison = comparison_of(found(a), found(b), ("fast", "flat"))
    amid = "those of adamw of flat end in mid-schedule (constant), the others annealed."
    assert comparison.not_comparable == f"Losses at the held-out width are not compared: {amid}"
    assert comparison.arms[0].loss is None
    same = comparison_of(
        found(b), found(experiment(("adamw",), name="c", batch_sequences=32, schedule={"shape": "constant"})), ("b", "c")
    )
    assert same.not_comparable is None


def test_the_interval_of_a_difference_takes_welchs_freedom() -> None:
    sure, unsure = (
        HeldOutLoss(
            experiment=e,
            arm="muon",
            optimizer="muon",
            parametrization="mup",
            width=256,
            tokens=1,
            loss=2.0,
            standard_error=se,
            freedom=f,
            seeds=2,
        )
        for e, se, f in (("a", 1e-9, 100), ("b", 0.01, 1))
    )
    change = loss_ratio(sure, unsure)  # of one degree of freedom, as all of the noise is in b
    assert change.high == pytest.approx(float(stats.t.ppf(0.9, 1)) * 0.01 / 2.0, rel=1e-3)


def test_losses_are_ranked_over_both_experiments(both: tuple[Results, Results]) -> None:
    comparison = comparison_of(*both, ("sample", "other"))
    assert comparison.not_comparable is None
    losses = [run.loss for run in comparison.held_out]
    assert losses == sorted(losses) and len(losses) == 5
    assert findings(comparison)[0].startswith("Lowest loss at the held-out width: soap of other, ")
    first, second = comparison.held_out[:2]
    change = loss_ratio(first, second)
    assert change.low is not None and change.low < change.value == second.loss / first.loss - 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evaluation": {"tokens": 4096}}, "differ in validation tokens (65536 and 4096)."),
        ({"model": {"depth": 3, "head_dim": 16, "context": 64}}, "differ in context (128 and 64)."),
    ],
)
def test_losses_of_other_texts_are_not_compared(changes: dict[str, object], says: str) -> None:
    comparison = comparison_of(found(experiment()), found(experiment(**OTHER | changes)), ("sample", "other"))
    assert comparison.not_comparable == f"Losses at the held-out width are not compared: sample and other {says}"
    assert all(pairing.loss is None for pairing in comparison.arms)
    assert findings(comparison)[0] == comparison.not_comparable


def test_another_version_of_the_corpus_is_another_text(both: tuple[Results, Results]) -> None:
    a, b = both
    assert a.members.corpus is not None
    data = a.members.corpus.model_copy(update={"sha256": "cd" * 32, "tokenizer": "bpe"})
    reason = comparison_of(
        a, replace(b, members=replace(b.members, inputs=dict.fromkeys(b.members.inputs, data))), ("sample", "other")
    ).not_comparable
    assert reason is not None and "tokenizer (bytes and bpe) and version of the corpus (abababababab and cdcdcdcdcdcd)" in reason


def test_what_must_be_known_to_read_the_numbers_is_said(both: tuple[Results, Results]) -> None:
    a, b = both
    assert comparison_of(a, b, ("sample", "other")).caveats == ()
    held_out = {"muon": (*b.members.held_out["muon"], *a.records[:7])}
    shared = replace(b, members=replace(b.members, held_out=b.members.held_out | held_out))
    assert "7 runs are in both" in comparison_of(a, shared, ("sample", "other")).caveats[0]
    wider = found(experiment(widths=[32, 64, 128], target_width=512, **OTHER))
    assert (
        "width 256, 2.49 M parameters, 2.10 M tokens; other width 512" in comparison_of(a, wider, ("sample", "other")).caveats[0]
    )
