"""Everything that is refused: where the reason comes from, and that it stands on the page in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report.factory import BEST_LR, at_lr, experiment, job, record, results, sound, with_validation, write_all
from report.pages import document_of, first_screen, words

from hptransfer.base.refusals import Refusal
from hptransfer.experiment import Experiment
from hptransfer.report.render import markdown
from hptransfer.runs import Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.prediction import Prediction, write_prediction
from hptransfer.validate.results import Results, load_results
from hptransfer.validate.summary import summarize

MUON = "muon"


def loaded(ours: Experiment) -> Results:
    return load_results(ours, Store("runs"), resolve)


def put(told: Prediction) -> None:
    """AdamW's prediction file."""
    write_prediction(told, Path("predictions/sample/adamw-256.json"))


def test_a_refusal_of_the_validation_is_given_in_its_own_first_screen(full: Results) -> None:
    refusal = Refusal.of("baseline_not_tuned", baseline="adamw", probe="LR x 2")
    sentence = "No speedup is claimed: adamw is not tuned at this width; its best probe, LR x 2, is the outermost."
    refused = with_validation(full, refusal=refusal, speedup=None)
    assert sentence in first_screen(refused)
    assert "1.42x" not in words(refused)
    assert f"\n- muon: {sentence}\n" in markdown(document_of(refused))


@pytest.mark.parametrize(
    ("optimizers", "code"), [(("muon", "shampoo"), "baseline_not_compared"), (("muon",), "alone")], ids=["no adamw", "alone"]
)
def test_without_a_baseline_nothing_is_compared(folder: Path, optimizers: tuple[str, ...], code: str) -> None:
    ours = experiment(optimizers)
    write_all(folder, ours, tested=False)
    assert Refusal.of(code, baseline="adamw", name="muon").text in first_screen(loaded(ours))


def test_with_two_arms_of_adamw_it_is_said_that_the_baseline_is_open() -> None:
    two = {"calm": {"optimizer": "adamw", "options.beta2": 0.99}}
    said = first_screen(replace(results(experiment(), tested=False), experiment=experiment(arms=two)))
    assert Refusal.of("several_baselines", baseline="adamw", arms="adamw and calm").text in said


def test_an_unequal_budget_is_refused_although_all_has_run(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    richer = sound(ours, "adamw").model_copy(update={"budget": {"width 32": 9, "width 64": 9, "width 128": 20}})
    put(richer)
    found = loaded(ours)
    assert found.validations[MUON].speedup is None
    equal, more = "9 runs at width 32, 9 runs at width 64", "20 runs at width 128"
    budgets = f"adamw {equal}, {more}; muon {equal}, 9 runs at width 128"
    assert f"No speedup is claimed: the searches had unequal budgets, {budgets}." in first_screen(found)
    assert "saves compute" not in words(found)


def test_against_a_baseline_that_has_changed_nothing_is_claimed_until_it_is_tested_again(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    assert "muon saves compute" in first_screen(loaded(ours))
    put(at_lr(sound(ours, "adamw"), 0.0123))  # predicted anew
    found = loaded(ours)
    assert found.predictions["adamw"].lr.value == 0.0123 and found.validations == {}
    assert "saves compute" not in first_screen(found)
    put(sound(ours, "adamw"))
    Store("runs").add(record(job(ours, "adamw", 64, BEST_LR["adamw"] * 0.5)))  # searched further
    text = first_screen(loaded(ours))
    assert "adamw and muon: the prediction has not been tested at width 256." in text and "saves compute" not in text


@pytest.mark.parametrize(("edge", "factors"), [("lower", (1.3, 2, 3, 4)), ("upper", (0.2, 0.3, 0.4, 0.6))])
def test_an_optimum_on_the_edge_of_its_sweep_says_so_instead_of_a_prediction(
    folder: Path, edge: str, factors: tuple[float, ...]
) -> None:
    ours, store = experiment(("adamw", "muon"), search={"trials": 4}), Store("runs")
    for recipe, chosen in (("adamw", (0.3, 0.6, 1.1, 2.0, 3.0)), ("muon", factors)):
        for width in ours.widths:
            for factor in chosen:
                store.add(record(job(ours, recipe, width, BEST_LR[recipe] * factor)))
    found = loaded(ours)
    assert set(found.refused) == {MUON} and set(found.predictions) == {"adamw"}
    text = first_screen(found)
    assert f"No prediction: muon at width 32: the best lr is at the {edge} edge of its sweep" in text
    summary = summarize(found)
    (part,) = (part for part in summary.missing if "muon" in part.sentence)
    assert part.sentence == "muon: the search allows no prediction."
    end = {"lower": "low", "upper": "high"}[edge]  # the complete search itself would do nothing
    assert part.command == f"hptransfer search --set spaces.muon.lr.{end}=... --optimizer muon"
    assert "adamw: the prediction has not been tested at width 256." in [part.sentence for part in summary.missing]
    assert summary.arms[1].no_prediction == Refusal.of(
        f"{edge}_edge", **{**found.refused[MUON].values, "name": "muon", "cell": "width 32", "hyperparameter": "lr"}
    )


def test_a_search_that_goes_on_is_not_refused(folder: Path) -> None:
    ours, store = experiment(("muon",), search={"trials": 5}), Store("runs")
    for width in ours.widths:
        for factor in (1.3, 2, 3, 4):
            store.add(record(job(ours, "muon", width, BEST_LR["muon"] * factor)))
    assert loaded(ours).refused == {}


def test_a_prediction_that_came_after_its_test_fails_a_check(full: Results) -> None:
    text = first_screen(with_validation(full, preregistered=False))
    assert "Check failed: predicted before tested" in text and "after the first run that tests it began" in text


def test_a_predicted_run_that_diverged_is_said(full: Results) -> None:
    first, *others = full.validations[MUON].runs
    gone = first.model_copy(update={"losses": (first.losses[0], None), "loss": None, "standard_error": None})
    assert "1 of 2 seeds" in first_screen(with_validation(full, regret=None, runs=(gone, *others)))


def test_losses_amid_a_schedule_are_labelled_as_bounds() -> None:
    text = words(results(experiment(target_loss=2.0)))
    assert "passed mid-schedule: at most so many" in text
    assert "so this is a lower bound" in text and "> 1.21x" in text


def test_the_factory_needs_no_refusal(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    found = loaded(ours)
    assert found.refused == {} and found.validations[MUON].speedup is not None
