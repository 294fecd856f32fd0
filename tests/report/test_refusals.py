"""Everything that is refused: where the reason comes from, and that it stands on the page in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report.factory import BEST_LR, experiment, prediction, record, spec, validated, write_all
from report.pages import first_screen, words

from hptransfer.experiment import Experiment
from hptransfer.report.markdown import render_markdown
from hptransfer.report.results import Results, load_results, with_refusals
from hptransfer.report.summary import summarize
from hptransfer.runs import Store

MUON = "muon"


def loaded(ours: Experiment) -> Results:
    return with_refusals(load_results(ours, Store("runs"), Path("reports/sample")))


def edited(found: Results, **changes: object) -> Results:
    """With another validation of Muon."""
    validation = found.validations[MUON].model_copy(update=changes)
    return replace(found, validations=found.validations | {MUON: validation})


def test_a_refusal_of_the_validation_is_given_in_its_own_first_screen(full: Results) -> None:
    sentence = "No speedup is claimed: adamw is not tuned at this width; its best probe, LR x 2, is the outermost."
    refused = edited(full, refusal=sentence, speedup=None)
    assert sentence in first_screen(refused)
    assert "1.42x" not in words(refused)
    assert f"\n- muon: {sentence}\n" in render_markdown(summarize(refused), [])


def test_without_adamw_nothing_can_be_compared(folder: Path) -> None:
    ours = experiment(("muon",))
    write_all(folder, ours, tested=False)
    assert "No speedup is claimed: adamw is not among the optimizers of this experiment." in first_screen(loaded(ours))


def test_an_unequal_budget_is_refused_even_where_a_validation_was_made(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    richer = prediction(ours, "adamw").model_copy(update={"budget": {32: 9, 64: 9, 128: 20}})
    Path("predictions/adamw-256.json").write_text(richer.model_dump_json())
    found = loaded(ours)
    assert found.validations[MUON].speedup is None
    equal, more = "9 runs at width 32, 9 runs at width 64", "20 runs at width 128"
    budgets = f"adamw {equal}, {more}; muon {equal}, 9 runs at width 128"
    assert f"No speedup is claimed: the searches had unequal budgets, {budgets}." in first_screen(found)
    assert "1.42x" not in words(found)


def test_a_baseline_that_was_predicted_anew_is_refused(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    newer = spec(ours, "adamw", 256, 0.0123)
    moved = prediction(ours, "adamw").model_copy(update={"spec": newer})
    Path("predictions/adamw-256.json").write_text(moved.model_dump_json())
    expected = "No speedup is claimed: adamw has been predicted anew since muon was compared with it; validate it again."
    assert expected in first_screen(loaded(ours))


@pytest.mark.parametrize(("edge", "factors"), [("lower", (1.3, 2, 3, 4)), ("upper", (0.2, 0.3, 0.4, 0.6))])
def test_an_optimum_on_the_edge_of_its_sweep_says_so_instead_of_a_prediction(
    folder: Path, edge: str, factors: tuple[float, ...]
) -> None:
    ours, store = experiment(("adamw", "muon"), search={"trials": 4}), Store("runs")
    for recipe, chosen in (("adamw", (0.3, 0.6, 1.1, 2.0, 3.0)), ("muon", factors)):
        for width in ours.widths:
            for factor in chosen:
                store.add(record(spec(ours, recipe, width, BEST_LR[recipe] * factor)))
    found = loaded(ours)
    assert set(found.refused) == {MUON}  # AdamW could be predicted, and only has not been
    text = first_screen(found)
    assert f"No prediction: muon at width 32: the best lr is at the {edge} edge of its sweep" in text
    summary = summarize(found)
    (part,) = (part for part in summary.missing if "muon" in part.sentence)
    assert part.sentence == "muon: the search allows no prediction."
    end = {"lower": "low", "upper": "high"}[edge]  # the complete search itself would do nothing
    assert part.command == f"python -m hptransfer.search --set spaces.muon.lr.{end}=... --optimizer muon"
    assert "adamw: there is no prediction yet." in [part.sentence for part in summary.missing]


def test_a_search_that_goes_on_is_not_refused(folder: Path) -> None:
    ours, store = experiment(("muon",), search={"trials": 5}), Store("runs")
    for width in ours.widths:
        for factor in (1.3, 2, 3, 4):
            store.add(record(spec(ours, "muon", width, BEST_LR["muon"] * factor)))
    assert loaded(ours).refused == {}


def test_a_stale_validation_is_not_shown_and_said(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    newer = prediction(ours, "muon").model_copy(update={"expected_regret": 0.5})
    Path("predictions/muon-256.json").write_text(newer.model_dump_json())
    text = first_screen(loaded(ours))
    assert "muon: the validation tested an earlier prediction, so none of it is shown." in text
    assert "1.42x" not in text


def test_a_prediction_that_came_after_its_test_fails_a_check(full: Results) -> None:
    text = first_screen(edited(full, preregistered=False))
    detail = "the prediction was written to the store after the first run that tests it began"
    assert f"Check failed: predicted before tested ({detail})." in text


def test_a_predicted_run_that_diverged_is_said(full: Results) -> None:
    first, *others = full.validations[MUON].runs
    gone = first.model_copy(update={"losses": (first.losses[0], None), "loss": None, "standard_error": None})
    said = first_screen(edited(full, regret=None, runs=(gone, *others)))
    assert "1 of 2 seeds of the predicted run diverged." in said


def test_losses_amid_a_schedule_are_labelled_as_bounds(folder: Path) -> None:
    ours = experiment(target_loss=2.0)
    write_all(folder, ours)
    text = words(loaded(ours))
    assert "passed mid-schedule: at most so many with a schedule of its own" in text
    assert "its schedule has not ended there, so this is a lower bound" in text
    assert "> 1.21x" in text


def test_the_factory_needs_no_refusal(full: Results) -> None:
    assert full.refused == {}
    assert full.validations[MUON] == validated(full.experiment, "muon")[0]
