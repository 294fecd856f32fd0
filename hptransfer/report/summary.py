"""The answer of an experiment in one object: what summary.json holds and what the page and the Markdown say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import BASELINE, Arm
from hptransfer.experiment.choice import arm_options
from hptransfer.report import text
from hptransfer.report.overhead import Overhead, TokensToLoss, overhead, tokens_to_target
from hptransfer.report.pairs import Pair, pair_of, pairs
from hptransfer.report.palette import colour
from hptransfer.report.provenance import Expense, Provenance
from hptransfer.report.results import Results
from hptransfer.report.verdicts import Verdict, against_verdict, prediction_verdict, speed_verdict, survival_verdict
from hptransfer.runs import Job
from hptransfer.transfer.prediction import Check, Drift, Estimate, HoldOut, RoleNumbers
from hptransfer.validate.result import Speedup, Survival

NO_PREDICTION = Verdict(text="No prediction yet.")
NOT_TESTED = Verdict(text="The prediction has not been tested yet.")


class Scale(Frozen):
    """The scale at which the report speaks. None: known with the first run, which says what the data are."""

    target_width: int
    depth: int | None
    parameters: int | None
    tokens: int | None
    batch_tokens: int | None
    context: int | None
    base_width: int
    widths: tuple[int, ...]

    @property
    def words(self) -> str:
        """The size of the run that the report speaks about."""
        known = [
            (self.parameters, "{} parameters"),
            (self.depth, "{} layers"),
            (self.tokens, "{} training tokens"),
            (self.batch_tokens, "batches of {} tokens"),
        ]
        return (
            ", ".join(form.format(text.count(value)) for value, form in known if value is not None) or "its sizes are not known"
        )


class Answer(Frozen):
    """What is known about one arm; None and empty where the stage that finds it has not run, or refused.

    ``baseline``: the arm that it is measured against, which may be itself. ``hyperparameters`` in base coordinates, and the final
    ``weight_decay`` at the target. ``no_prediction``: why its complete search allows none; ``refusal``: why there is no speedup.
    ``speed``, ``survives``, ``quality`` and ``against`` are the verdicts on its compute multiplier, on whether that survives
    scale, on its prediction, and on the prediction against transfers without a fit.
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
    drift: Drift | None = None
    expected_regret: float | None = None
    noise: float | None = None
    budget: dict[str, int] = Field({})  # finished runs per searched cell
    hold_out: HoldOut | None = None
    checks: tuple[Check, ...] = ()
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
    def saving(self) -> Verdict:
        """What is said of the arm's speed, or why nothing can be."""
        if self.no_prediction:
            return Verdict(text=text.no_prediction(self.no_prediction), tone="bad")
        return self.speed or (NOT_TESTED if self.hyperparameters else NO_PREDICTION)

    @property
    def judgement(self) -> tuple[Verdict, ...]:
        """What is said of the prediction: of its quality first, then against transfers without a fit."""
        return tuple(verdict for verdict in (self.quality, self.against) if verdict)

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The checks that the prediction does not pass."""
        failed = (check for check in self.checks if not check.ok)
        return tuple(Verdict(text=f"Check failed: {check.name} ({check.detail}).", tone="bad") for check in failed)

    @property
    def statements(self) -> tuple[str, ...]:
        """All that was found of the arm, by its name, in the order of reading."""
        found = [] if self.saving in (NOT_TESTED, NO_PREDICTION) else [self.saving]
        found += [self.survives] if self.survives else []
        said = (verdict.text for verdict in (*found, *self.judgement, *self.failures))
        return tuple(words if words.startswith(f"{self.arm} ") else f"{self.arm}: {words}" for words in said)


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
    runs: dict[str, int]
    cost: dict[str, Expense]
    provenance: Provenance
    missing: tuple[Missing, ...]


def summarize(results: Results, options: str = "") -> Summary:
    """The summary of ``results``; ``options`` are appended to the commands that it names."""
    target, experiment, compared = results.target, results.experiment, pairs(results)
    records, depth = results.records, None if experiment.trainer else experiment.model.depth
    own = {record.run_id for runs in results.members.searched.values() for record in runs}
    searched = [record for record in records if record.run_id in own]
    held_out = [record for record in records if record.run_id not in own]
    return Summary(
        experiment=experiment.name,
        description=experiment.description,
        scale=Scale(
            target_width=experiment.target_width,
            depth=depth,
            parameters=target.parameters if target else None,
            tokens=_scale(target, "tokens"),
            batch_tokens=_scale(target, "batch_tokens") or _batch(experiment),
            context=None if experiment.trainer else experiment.model.context,
            base_width=experiment.base_width,
            widths=tuple(sorted(experiment.widths)),
        ),
        arms=tuple(_answer(results, arm, compared) for arm in results.arms),
        pairs=compared,
        runs=dict(sorted(Counter(record.state for record in records).items())),
        cost={"search": Expense.of(searched), "held_out": Expense.of(held_out), "total": Expense.of(records)},
        provenance=Provenance.of(results),
        missing=tuple(_missing(results, options)),
    )


def _batch(experiment: Experiment) -> int | None:
    sequences = experiment.batch_sequences
    return sequences * experiment.model.context if sequences is not None and not experiment.trainer else None


def _scale(target: Job | None, name: str) -> int | None:
    return None if target is None or name not in target.point.scales else int(target.point[name])


def _answer(results: Results, arm: Arm, compared: Sequence[Pair]) -> Answer:
    name = arm.name
    found: dict[str, Any] = {"arm": name, "optimizer": arm.optimizer, "parametrization": arm.parametrization}
    found |= {"colour": colour(arm), "is_program": results.experiment.under(arm).trainer is not None}
    found |= {"baseline": results.baseline(name), "no_prediction": results.refused.get(name)}
    found |= {"overhead": overhead(results, name), "target_loss": tokens_to_target(results, name)}
    if prediction := results.predictions.get(name):
        same = ("hyperparameters", "weight_decay", "roles", "drift", "expected_regret", "noise", "budget", "hold_out", "checks")
        found |= {"prediction": prediction.digest} | {part: getattr(prediction, part) for part in same}
    if validation := results.validations.get(name):
        found |= {part: getattr(validation, part) for part in ("regret", "speedup", "refusal", "survival")}
        if validation.survival:
            found["survives"] = survival_verdict(validation.survival)
        when = "before" if validation.preregistered else "after"
        detail = f"the prediction was written to the store {when} the first run that tests it began"
        found["checks"] = (*found["checks"], Check(name="predicted before tested", ok=validation.preregistered, detail=detail))
        found |= {"quality": prediction_verdict(validation), "against": against_verdict(validation)}
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
    if validation and validation.speedup:
        pair = pair_of(compared, arm, baseline) if baseline else None
        assert baseline is not None
        word = text.baseline_word(results.experiment.arm(baseline))
        return speed_verdict(arm, word, validation.width, validation.speedup, pair)
    if baseline is None:
        return Verdict(text=_no_baseline(results, arm).text, tone="bad")
    return None


def is_alone(results: Results) -> bool:
    """Whether there is nothing to compare: one arm, or arms each of which is a baseline of its own."""
    return len(results.arms) == 1 or all(results.baseline(arm.name) == arm.name for arm in results.arms)


def _no_baseline(results: Results, arm: str) -> Refusal:
    kind = results.experiment.arm(arm).parametrization
    several = [one.name for one in results.arms if (one.optimizer, one.parametrization) == (BASELINE, kind)]
    if several:
        return Refusal.of("several_baselines", baseline=BASELINE, arms=text.listing(several))
    return Refusal.of("baseline_not_compared", baseline=BASELINE)


def _missing(results: Results, options: str) -> Iterable[Missing]:
    """What is missing, arms that miss the same together."""
    if not results.records:
        sentence = "The search has not finished a run yet."
        yield Missing(sentence=sentence, command=f"python -m hptransfer.search{options}")
        return
    groups: dict[tuple[str, str], list[Arm]] = {}
    for arm in results.arms:
        for stage, lack in _lacks(results, arm):
            groups.setdefault((stage, lack), []).append(arm)
    for (stage, lack), arms in groups.items():
        command = f"python -m hptransfer.{stage}{options} {arm_options(arm.name for arm in arms)}"
        yield Missing(sentence=f"{text.listing([arm.name for arm in arms])}: {lack}.", command=command)


def _lacks(results: Results, arm: Arm) -> Iterable[tuple[str, str]]:
    """What one arm lacks, and the stage that makes it."""
    trials, finished = results.experiment.search.trials, Counter(run.point["width"] for run in results.searched(arm.name))
    widths = sorted(results.experiment.widths)
    short = [f"{finished[width]} of {trials} runs at width {width}" for width in widths if finished[width] < trials]
    if short:
        yield "search", f"the search has {', '.join(short)}"
    if arm.name in results.refused:
        yield results.refused[arm.name].remedy(results.experiment.space_name(arm)) or "search", "the search allows no prediction"
    elif arm.name not in results.predictions:
        yield "transfer", "there is no prediction yet"
    elif arm.name not in results.validations:
        yield "validate", f"the prediction has not been tested at width {results.experiment.target_width}"
