"""Which charts a report has, in reading order, and what is said where one has nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from hptransfer.base.commands import command
from hptransfer.base.refusals import Refusal
from hptransfer.base.words import listing, percent
from hptransfer.experiment.choice import arm_options
from hptransfer.report import figures, numbers
from hptransfer.report.document import Section
from hptransfer.report.frames import Frames
from hptransfer.report.frames.search import NEAR_BEST_LR
from hptransfer.validate.sentences import foretold_sentences
from hptransfer.validate.summary import Answer, Missing


def evidence(
    frames: Frames, answers: Sequence[Answer], where: str, options: Sequence[str], together: Sequence[Sequence[str]]
) -> tuple[Section, ...]:
    """The sections with charts. ``where`` names the held-out cell; ``options`` are appended to the commands that make what is
    missing; ``together`` are the arms whose optima share a chart."""

    def absent(shown: Any, sentence: str, stage: str) -> tuple[Missing, ...]:
        return () if shown else (Missing(sentence=sentence, command=command(stage, *options)),)

    lr, tests = tuple(figures.lr_figures(frames)), tuple(figures.test_figures(frames["regret"], frames["perturbations"]))
    decay, undrawn = figures.weight_decay_figures(frames)
    optima = tuple(figures.optimum_figures(frames["optimum_against_width"], together))
    checks = tuple(figures.coordinate_figures(frames["coordinate_checks"]))
    compute = tuple(figures.compute_figures(frames["loss_against_compute"]))
    saved = tuple(figures.saving_figures(frames["multipliers"], frames["multiplier_over_scale"]))
    training = tuple(figures.training_figures(frames["training_curves"]))
    is_decayed = any("weight_decay" in answer.hyperparameters or not answer.hyperparameters for answer in answers)
    has_runs = frames["lr_curves"]["loss"].is_not_null().any() or not frames["loss_against_compute"].is_empty()
    lost = tuple(
        f"{arm}: its predicted run {part['state'][0]} on some seed. Nothing is compared with it."
        for arm, part in figures.by_arm(frames["regret"].filter(pl.col("kind") == "predicted", pl.col("state") != "complete"))
    )
    refusals = tuple(f"{one.arm}: {one.refusal.text}" for one in answers if one.refusal and one.refusal.code != "alone")
    if all(answer.is_baseline for answer in answers) or len(answers) == 1:
        refusals += (Refusal.of("alone", name=answers[0].arm).text,)
    untested = "prediction has been tested" if frames["regret"].is_empty() else "probe around a prediction has been run"
    found = (
        Section(
            "learning-rate",
            "Loss against learning rate",
            "Every run of the search. Lines are the fitted bowl at its best weight decay: runs with another one lie above. "
            "Thick bars are the learning rates that cannot be told from the best, by two standard deviations of the noise. "
            "Diamonds are the lowest loss of each cell. Faint dots are runs with another embedding LR ratio. At the top, "
            "triangles are runs above the frame, and crosses are runs that diverged.",
            lr,
            missing=absent(lr, "No run at a searched width has completed yet.", "search"),
        ),
        Section(
            "weight-decay",
            "Loss against weight decay",
            "Runs whose learning rate is near the best of their cell. Near: by the fitted bowl it costs them at most "
            f"{percent(NEAR_BEST_LR)} of the loss, or two standard deviations of the noise where that is more. "
            "This cost is taken off. Runs inside the band cannot be told from the best.",
            decay,
            remarks=undrawn,
            missing=absent(
                [*decay, *undrawn] or not is_decayed,
                "Weight decay is shown once a bowl has been fitted to the learning rates.",
                "transfer",
            ),
        ),
        Section(
            "width",
            "The optimum against scale",
            figures.OPTIMA,
            optima,
            missing=absent(optima, "No optimum has been fitted yet.", "transfer"),
        ),
        Section(
            "coordinates",
            "Coordinate check",
            "How the first steps move the activations, against width. Under a right parametrization they do not: the slope is 0. "
            "The band is the tolerance. Bars are the range over seeds. Faint steps are shown but not judged.",
            checks,
            missing=_unchecked(frames["coordinate_checks"], answers, options),
        ),
        Section(
            "held-out",
            f"The test at {where}",
            "The predicted runs, and runs at other hyperparameters, with the same training tokens and batches. The measured "
            "regret is that of a bowl through the probes, whose lowest place need not be one of them.",
            tests,
            tables=tuple(filter(None, [numbers.foretold_table(answers)])),
            remarks=lost + foretold_sentences({one.arm: one.foretold for one in answers if one.foretold}),
            missing=absent([*tests, *lost], f"No {untested} yet.", "validate"),
        ),
        Section(
            "compute",
            "Loss against compute",
            "Final losses only. Solid: the best run of every searched cell. Diamond: the prediction at "
            f"{where}, where nobody tuned. Dotted: the baseline's ladder of horizons there. "
            "The best of several runs looks better than it is, by about the noise. The prediction has no such advantage.",
            compute,
            remarks=("The runs do not say what compute they took.",) if has_runs and not compute else (),
            missing=() if has_runs else absent(compute, "No run has completed yet.", "search"),
        ),
        Section(
            "multiplier",
            "The compute that is saved",
            "How many times the compute the baseline needs for the same final loss.",
            saved,
            remarks=refusals,
            missing=absent([*saved, *refusals], "No multiplier has been measured yet.", "validate"),
        ),
        Section(
            "training",
            "Training curves",
            f"Predicted runs at {where}, and the baseline's ladder of horizons. Compare the dots: they are the final losses.",
            training,
            remarks=("The runs say no losses on the way, or not after how many tokens.",) if tests and not training else (),
            missing=absent([*training, *tests], f"No predicted run at {where} has finished yet.", "validate"),
        ),
    )
    return tuple(filter(None, found))  # a program has no activations to check


def _unchecked(checked: pl.DataFrame, answers: Sequence[Answer], options: Sequence[str]) -> tuple[Missing, ...]:
    """The arms of the experiment without a coordinate check, in one sentence."""
    left = [answer.arm for answer in answers if answer.arm not in set(checked["arm"]) and not answer.is_program]
    if not left:
        return ()
    sentence = f"There is no coordinate check of {listing(left)}."
    return (Missing(sentence=sentence, command=command("coordcheck", *options, *arm_options(left[:1]))),)
