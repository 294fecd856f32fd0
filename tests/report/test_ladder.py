"""AdamW's ladder of horizons, which starts at its prediction or at a probe that won over it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from report.factory import job, record, validated, with_records
from report.pages import OPTIONS

from hptransfer.report.figures import Figure, sections
from hptransfer.report.frames import FRAMES, compute, heldout
from hptransfer.report.results import Results
from hptransfer.report.summary import summarize
from hptransfer.validate.result import TargetRun

MUON = "muon"


def with_winner(results: Results) -> tuple[Results, TargetRun]:
    """A probe of AdamW won over its prediction: run anew with two fresh seeds, from which the ladder starts."""
    validation, _ = validated(results.experiment, "muon")
    probe = next(run for run in validation.baseline_runs if (run.kind, run.factor) == ("lr_probe", 0.5))
    made = [record(job(results.experiment, "adamw", 256, probe.lr, seed=seed)) for seed in (1, 2)]
    losses = tuple(run.loss for run in made)
    again = {"losses": losses, "loss": sum(filter(None, losses)) / 2, "run_ids": tuple(run.run_id for run in made)}
    winner = probe.model_copy(update=again)
    around = [run for run in validation.baseline_runs if run.kind != "horizon"]
    rungs = [run for run in validation.baseline_runs if run.kind == "horizon"]
    edited = validation.model_copy(update={"baseline_runs": (*around, winner, *rungs)})
    found = with_records(results, (*results.records, *made))
    return replace(found, validations=found.validations | {MUON: edited}), winner


def test_a_ladder_starts_at_the_prediction_or_at_the_probe_that_won_over_it(full: Results) -> None:
    validation = full.validations[MUON]
    assert validation.chosen is None
    assert [(run.kind, run.factor) for run in validation.ladder] == [
        ("horizon", 0.5),
        ("predicted", 1.0),
        ("horizon", 2.0),
        ("horizon", 4.0),
    ]
    found, winner = with_winner(full)
    edited = found.validations[MUON]
    assert edited.chosen is winner
    assert [run.kind for run in edited.ladder] == ["horizon", "lr_probe", "horizon", "horizon"] and edited.ladder[1] is winner
    alone = full.validations["adamw"]
    assert (alone.chosen, alone.ladder) == (None, ())


def test_a_winning_probe_is_shown_once_and_in_words(full: Results) -> None:
    found, winner = with_winner(full)
    frame = compute.loss_against_compute(found).filter(optimizer="adamw", width=256)
    assert sorted(frame["kind"]) == ["chosen", "horizon", "horizon", "horizon", "predicted"]
    (row,) = frame.filter(kind="chosen").iter_rows(named=True)
    assert (row["loss"], row["seeds"]) == (winner.loss, 2)
    assert set(heldout.training_curves(found).filter(purpose="the baseline's best, LR x 0.50")["run_id"]) == set(winner.run_ids)


def loss_against_compute(results: Results) -> tuple[Figure, list[dict[str, Any]]]:
    """The figure, and the rows of its dotted line."""
    found = sections({name: make(results) for name, make in FRAMES.items()}, summarize(results, OPTIONS), OPTIONS)
    (figure,) = (figure for section in found for figure in section.figures if figure.name == "loss-against-compute")
    (rows,) = figure.spec()["datasets"].values()
    return figure, [row for row in rows if row.get("rung")]


def test_the_line_of_the_ladder_leaves_a_prediction_that_lost_beside_it(full: Results) -> None:
    figure, rungs = loss_against_compute(full)
    assert [row.get("told", False) for row in rungs] == [False, True, False, False]
    assert "best probe" not in figure.note
    figure, rungs = loss_against_compute(with_winner(full)[0])
    assert [row["kind"] for row in rungs].count("the baseline's ladder, its best probe with fresh seeds") == 1
    assert len(rungs) == 4 and not any(row.get("told") for row in rungs)
    assert figure.note.startswith(
        "The baseline's ladder starts at its best probe, run anew with fresh seeds: it won over the prediction."
    )
