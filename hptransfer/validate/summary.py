"""The answer of an experiment in one object: what summary.json holds, and what every form of the report says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from hptransfer.base.commands import command
from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.base.words import count, listing
from hptransfer.experiment.arm import BASELINE, Arm
from hptransfer.experiment.choice import arm_options
from hptransfer.experiment.membership import by_cell
from hptransfer.transfer.axes import cell_words
from hptransfer.transfer.prediction import Check, Drift, Estimate, HoldOut, RoleNumbers
from hptransfer.validate.clipping import Clipping, clipping
from hptransfer.validate.overhead import Overhead, TokensToLoss, overhead, tokens_to_target
from hptransfer.validate.pairs import Pair, pair_of, pairs
from hptransfer.validate.provenance import Expense, Provenance
from hptransfer.validate.result import Foretold, Speedup, Survival
from hptransfer.validate.results import Results
from hptransfer.validate.sentences import Verdict, against_verdict, prediction_verdict, speed_verdict, survival_verdict

SIZES = {
    "parameters": "{} parameters",
    "depth": "{} layers",
    "tokens": "{} training tokens",
    "batch_tokens": "batches of {} tokens",
}


class Scale(Frozen):
    """The scale at which the report speaks, and what was searched: ``scales`` and ``target`` beside the widths, as the experiment
    names them. None: known with the first run, which says what the data are."""

    target_width: int
    depth: int | None
    parameters: int | None
    tokens: int | None
    batch_tokens: int | None
    context: int | None
    base_width: int
    widths: tuple[int, ...]
    scales: dict[str, tuple[int, ...]] = Field({})
    target: dict[str, int] = Field({})

    @property
    def where(self) -> str:
        """The held-out cell."""
        return cell_words({"width": self.target_width, **self.target})

    @property
    def searched(self) -> str:
        """The values that were searched, scale by scale."""
        return ", ".join(f"{name} {listing(values)}" for name, values in {"width": self.widths, **self.scales}.items())

    @property
    def words(self) -> str:
        """The size of the run that the report speaks about."""
        known = [form.format(count(value)) for name, form in SIZES.items() if (value := getattr(self, name)) is not None]
        return ", ".join(known) or "its sizes are not known"


class Answer(Frozen):
    """What is known about one arm; None and empty where the stage that finds it has not run, or refused.

    ``baseline``: the arm that it is measured against, which may be itself. ``hyperparameters`` in base coordinates, and the
    final ``weight_decay`` at the target. ``loss``: of the predicted run, the mean over its seeds, nats per token.
    ``no_prediction``: why its complete search allows none; ``refusal``: why there is no speedup. ``speed``, ``survives``,
    ``quality`` and ``against`` are the verdicts on its compute multiplier, on whether that survives scale, on its prediction,
    and on the prediction against transfers without a fit.
    """

    arm: str
    optimizer: str | None
    colour: str = ""
    is_program: bool = False
    parametrization: str
    baseline: str | None = None
    prediction: str | None = None  # digest
    hyperparameters: dict[str, Estimate] = Field({})
    weight_decay: Estimate | None = None
    roles: dict[str, RoleNumbers] = Field({})
    drifts: tuple[Drift, ...] = ()
    expected_regret: float | None = None
    noise: float | None = None
    budget: dict[str, int] = Field({})  # finished runs per searched cell
    hold_out: HoldOut | None = None
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    loss: float | None = None
    foretold: Foretold | None = None
    regret: Interval | None = None
    speedup: Speedup | None = None
    refusal: Refusal | None = None
    survival: Survival | None = None
    no_prediction: Refusal | None = None
    speed: Verdict | None = None
    survives: Verdict | None = None
    quality: Verdict | None = None
    against: Verdict | None = None
    overhead: Overhead | None = None
    target_loss: TokensToLoss | None = None

    @property
    def is_baseline(self) -> bool:
        return self.arm == self.baseline

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All that was found of the arm, in the order of reading: its saving, or why none can be told; whether that survives
        scale; how good the prediction is; and the checks that it does not pass."""
        found = self.speed or Verdict(
            text="The prediction has not been tested yet." if self.hyperparameters else "No prediction yet."
        )
        if self.no_prediction:
            found = Verdict(text=f"No prediction: {self.no_prediction.text}.", tone="bad")
        failed = (check for check in self.checks if not check.ok)
        failures = (Verdict(text=f"Check failed: {check.name} ({check.detail}).", tone="bad") for check in failed)
        return found, *filter(None, (self.survives, self.quality, self.against)), *failures


class Missing(Frozen):
    """Something that an unfinished experiment lacks, in one sentence, and the command that makes it."""

    sentence: str
    command: str


class Summary(Frozen):
    """summary.json."""

    experiment: str
    description: str
    scale: Scale
    arms: tuple[Answer, ...]
    pairs: tuple[Pair, ...]
    clipping: tuple[Clipping, ...]
    runs: dict[str, int]
    cost: dict[str, Expense]
    provenance: Provenance
    missing: tuple[Missing, ...]


def summarize(results: Results, options: Sequence[str] = ()) -> Summary:
    """The summary of ``results``; ``options`` are appended to the commands that it names."""
    target, experiment, compared, records = results.target, results.experiment, pairs(results), results.records
    own = {record.run_id for runs in results.members.searched.values() for record in runs}
    model = None if experiment.trainer else experiment.model
    scales = target.point.scales if target else {}
    known = {name: experiment.target.get(name) or experiment.smallest(name) for name in ("depth", "batch_tokens")}
    return Summary(
        experiment=experiment.name,
        description=experiment.description,
        scale=Scale(
            target_width=experiment.target_width,
            depth=known["depth"],
            parameters=target.parameters if target else None,
            tokens=scales.get("tokens"),
            batch_tokens=scales.get("batch_tokens") or known["batch_tokens"],
            context=model and model.context,
            base_width=experiment.base_width,
            widths=tuple(sorted(experiment.widths)),
            scales={name: tuple(sorted(values)) for name, values in experiment.scales.items()},
            target=experiment.target,
        ),
        arms=tuple(_answer(results, arm, compared) for arm in results.arms),
        pairs=compared,
        clipping=clipping(results),
        runs=dict(sorted(Counter(record.state for record in records).items())),
        cost={
            "search": Expense.of(record for record in records if record.run_id in own),
            "held_out": Expense.of(record for record in records if record.run_id not in own),
            "total": Expense.of(records),
        },
        provenance=Provenance.of(results),
        missing=tuple(_missing(results, options)),
    )


def _answer(results: Results, arm: Arm, compared: Sequence[Pair]) -> Answer:
    name = arm.name
    found: dict[str, Any] = {"arm": name, "optimizer": arm.optimizer, "parametrization": arm.parametrization}
    found |= {"colour": arm.colour, "is_program": results.experiment.under(arm).trainer is not None}
    found |= {"baseline": results.baseline(name), "no_prediction": results.refused.get(name)}
    found |= {"overhead": overhead(results, name), "target_loss": tokens_to_target(results, name)}
    if prediction := results.predictions.get(name):
        values = ("hyperparameters", "weight_decay", "roles", "expected_regret", "noise")
        grounds = ("drifts", "budget", "hold_out", "checks", "notes")
        found |= {"prediction": prediction.digest} | {part: getattr(prediction, part) for part in (*values, *grounds)}
    if validation := results.validations.get(name):
        found |= {part: getattr(validation, part) for part in ("regret", "speedup", "refusal", "survival", "foretold")}
        found["loss"] = validation.predicted and validation.predicted.loss
        when = "before" if validation.preregistered else "after"
        detail = f"the prediction was written to the store {when} the first run that tests it began"
        found["checks"] = (*found["checks"], Check(name="predicted before tested", ok=validation.preregistered, detail=detail))
        found |= {"quality": prediction_verdict(validation), "against": against_verdict(validation)}
        found |= {"survives": survival_verdict(validation.survival) if validation.survival else None}
    return Answer(**found, speed=_speed(results, name, compared))


def _speed(results: Results, arm: str, compared: Sequence[Pair]) -> Verdict | None:
    """The verdict on a multiplier, or why there is none; None where it has not been measured."""
    baseline, validation = results.baseline(arm), results.validations.get(arm)
    if arm in results.predictions and is_alone(results):
        return Verdict(text=Refusal.of("alone", name=arm).text)
    if arm == baseline and arm in results.predictions:
        return Verdict(text="The baseline that the others are measured against.")
    if validation and validation.refusal:
        return Verdict(text=validation.refusal.text, tone="bad")
    if validation and validation.speedup and baseline:
        other = results.experiment.arm(baseline)
        word = "AdamW" if other == Arm.of(BASELINE, other.parametrization) else baseline
        where = cell_words(results.experiment.target_cell)
        return speed_verdict(arm, word, where, validation.speedup, pair_of(compared, arm, baseline))
    if baseline is None:
        kind = results.experiment.arm(arm).parametrization
        several = [one.name for one in results.arms if (one.optimizer, one.parametrization) == (BASELINE, kind)]
        if several:
            return Verdict(text=Refusal.of("several_baselines", baseline=BASELINE, arms=listing(several)).text, tone="bad")
        return Verdict(text=Refusal.of("baseline_not_compared", baseline=BASELINE).text, tone="bad")
    return None


def is_alone(results: Results) -> bool:
    """Whether there is nothing to compare: one arm, or arms each of which is a baseline of its own."""
    return len(results.arms) == 1 or all(results.baseline(arm.name) == arm.name for arm in results.arms)


def _missing(results: Results, options: Sequence[str]) -> Iterable[Missing]:
    """What is missing, arms that miss the same together."""
    if not results.records:
        yield Missing(sentence="The search has not finished a run yet.", command=command("search", *options))
        return
    groups: dict[tuple[str, str], list[str]] = {}
    for arm in results.arms:
        for lack in _lacks(results, arm):
            groups.setdefault(lack, []).append(arm.name)
    for (remedy, what), arms in groups.items():
        sentence, words = f"{listing(arms)}: {what}.", (*remedy.split(), *options, *arm_options(arms))
        yield Missing(sentence=sentence, command=command(*words))


def _lacks(results: Results, arm: Arm) -> Iterable[tuple[str, str]]:
    """What one arm lacks: the stage that makes it with its own options, and what it is."""
    trials, cells = results.experiment.search.trials, results.experiment.searched_cells
    finished = zip(cells, by_cell(results.searched(arm.name), cells), strict=True)
    short = [f"{len(runs)} of {trials} runs at {cell_words(cell)}" for cell, runs in finished if len(runs) < trials]
    if short:
        yield "search", f"the search has {', '.join(short)}"
    if refused := results.refused.get(arm.name):
        yield refused.remedy(results.experiment.space_name(arm)) or "search", "the search allows no prediction"
    elif arm.name not in results.predictions:
        yield "transfer", "there is no prediction yet"
    elif arm.name not in results.validations:
        yield "validate", f"the prediction has not been tested at {cell_words(results.experiment.target_cell)}"
