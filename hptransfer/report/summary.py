"""The answer of an experiment in one object: what summary.json holds and what the page and the Markdown say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from hptransfer.optimizers.recipe import Role
from hptransfer.report import text
from hptransfer.report.overhead import Overhead, TokensToLoss, overhead, tokens_to_target
from hptransfer.report.pairs import Pair, pair_of, pairs
from hptransfer.report.provenance import Cost, Provenance
from hptransfer.report.results import Results, Series, label
from hptransfer.report.verdicts import Verdict, against_verdict, prediction_verdict, speed_verdict
from hptransfer.trainers.ours.spec import Spec
from hptransfer.transfer.prediction import Check, Drift, HoldOut, Hyperparameters, Interval, RoleNumbers
from hptransfer.validate.result import BASELINE, Speedup

NO_PREDICTION = Verdict(text="No prediction yet.")
ALONE = Verdict(text=f"{BASELINE} is alone in this experiment: there is no other optimizer whose saving could be measured.")
NOT_TESTED = Verdict(text="The prediction has not been tested yet.")


class Scale(Spec):
    """The scale at which the report speaks. None: known with the first run, which says what the data are."""

    target_width: int
    depth: int
    parameters: int | None
    tokens: int | None
    batch_tokens: int
    context: int
    base_width: int
    widths: tuple[int, ...]

    @property
    def words(self) -> str:
        """The size of the run that the report speaks about."""
        if self.parameters is None or self.tokens is None:
            return f"{self.depth} layers, batches of {text.count(self.batch_tokens)} tokens"
        size = f"{text.count(self.parameters)} parameters, {self.depth} layers"
        return f"{size}, {text.count(self.tokens)} training tokens in batches of {text.count(self.batch_tokens)}"


class Answer(Spec):
    """What is known about one optimizer; None and empty where the stage that finds it has not run, or refused.

    ``no_prediction``: why its complete search allows none. ``speed``, ``quality`` and ``against`` are the verdicts on its
    compute multiplier, on its prediction, and on the prediction against transfers without a fit.
    """

    optimizer: str
    parametrization: str
    prediction: str | None = None  # digest
    hyperparameters: Hyperparameters | None = None
    roles: dict[Role, RoleNumbers] = Field({})
    drift: Drift | None = None
    expected_regret: float | None = None
    noise: float | None = None
    budget: dict[int, int] = Field({})  # finished runs per searched width
    hold_out: HoldOut | None = None
    checks: tuple[Check, ...] = ()
    regret: Interval | None = None
    speedup: Speedup | None = None
    refusal: str | None = None
    no_prediction: str | None = None
    speed: Verdict | None = None
    quality: Verdict | None = None
    against: Verdict | None = None
    overhead: Overhead | None = None
    target_loss: TokensToLoss | None = None

    @property
    def name(self) -> str:
        return label(self.series)

    @property
    def series(self) -> Series:
        return self.optimizer, self.parametrization

    @property
    def saving(self) -> Verdict:
        """What is said of the optimizer's speed, or why nothing can be."""
        if self.no_prediction:
            return Verdict(text=self.no_prediction, tone="bad")
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
        """All that was found of the optimizer, by its name, in the order of reading."""
        found = [] if self.saving in (NOT_TESTED, NO_PREDICTION) else [self.saving]
        said = (verdict.text for verdict in (*found, *self.judgement, *self.failures))
        return tuple(words if words.startswith(f"{self.name} ") else f"{self.name}: {words}" for words in said)


class Missing(Spec):
    """Something that an unfinished experiment lacks, in one sentence, and the command that makes it."""

    sentence: str
    command: str


class Summary(Spec):
    """summary.json."""

    experiment: str
    description: str
    scale: Scale
    optimizers: tuple[Answer, ...]
    pairs: tuple[Pair, ...]
    runs: dict[str, int]
    cost: dict[str, Cost]
    provenance: Provenance
    missing: tuple[Missing, ...]


def summarize(results: Results, options: str = "") -> Summary:
    """The summary of ``results``; ``options`` are appended to the commands that it names."""
    target, experiment, compared = results.target, results.experiment, pairs(results)
    held_out = [record for record in results.records if record.spec.model.width == experiment.target_width]
    searched = [record for record in results.records if record.spec.model.width != experiment.target_width]
    return Summary(
        experiment=experiment.name,
        description=experiment.description,
        scale=Scale(
            target_width=experiment.target_width,
            depth=experiment.model.depth,
            parameters=target.model.parameters() if target else None,
            tokens=target.tokens if target else None,
            batch_tokens=experiment.batch_sequences * experiment.model.context,
            context=experiment.model.context,
            base_width=experiment.base_width,
            widths=tuple(sorted(experiment.widths)),
        ),
        optimizers=tuple(_answer(results, series, compared) for series in results.series),
        pairs=compared,
        runs=dict(sorted(Counter(record.state for record in results.records).items())),
        cost={"search": Cost.of(searched), "held_out": Cost.of(held_out), "total": Cost.of(results.records)},
        provenance=Provenance.of(results),
        missing=tuple(_missing(results, options)),
    )


def _answer(results: Results, series: Series, compared: Sequence[Pair]) -> Answer:
    found: dict[str, Any] = {"optimizer": series[0], "parametrization": series[1]}
    found |= {"overhead": overhead(results, series), "target_loss": tokens_to_target(results, series)}
    if prediction := results.predictions.get(series):
        same = ("hyperparameters", "roles", "drift", "expected_regret", "noise", "budget", "hold_out", "checks")
        found |= {"prediction": prediction.digest} | {name: getattr(prediction, name) for name in same}
    if validation := results.validations.get(series):
        found |= {name: getattr(validation, name) for name in ("regret", "speedup", "refusal")}
        when = "before" if validation.preregistered else "after"
        detail = f"the prediction was written to the store {when} the first run that tests it began"
        found["checks"] = (*found["checks"], Check(name="predicted before tested", ok=validation.preregistered, detail=detail))
        found |= {"quality": prediction_verdict(validation), "against": against_verdict(validation)}
    return Answer(**found, no_prediction=results.refused.get(series), speed=_speed(results, series, compared))


def _speed(results: Results, series: Series, compared: Sequence[Pair]) -> Verdict | None:
    """The verdict on a multiplier, or why there is none; None where it has not been measured."""
    if series[0] == BASELINE and series in results.predictions:
        is_alone = set(results.experiment.optimizers) == {BASELINE}
        return ALONE if is_alone else Verdict(text="The baseline that the others are measured against.")
    validation, name = results.validations.get(series), label(series)
    if validation and validation.refusal:
        return Verdict(text=validation.refusal, tone="bad")
    if validation and validation.speedup:
        pair = pair_of(compared, name, label((BASELINE, series[1])))
        return speed_verdict(name, validation.width, validation.speedup.compute_multiplier, pair)
    if BASELINE not in results.experiment.optimizers:
        return Verdict(text=f"No speedup is claimed: {BASELINE} is not among the optimizers of this experiment.", tone="bad")
    return None


def _missing(results: Results, options: str) -> Iterable[Missing]:
    """What is missing, optimizers that miss the same together."""
    if not results.records:
        sentence = "The search has not finished a run yet."
        yield Missing(sentence=sentence, command=f"python -m hptransfer.search{options}")
        return
    groups: dict[tuple[str, str, str], list[Series]] = {}
    for series in results.series:
        for stage, lack in _lacks(results, series):
            groups.setdefault((stage, lack, series[1]), []).append(series)
    for (stage, lack, parametrization), members in groups.items():
        which = f" --optimizer {','.join(optimizer for optimizer, _ in members)}"
        which += "" if parametrization == "mup" else f" --parametrization {parametrization}"
        names = text.listing([label(series) for series in members])
        yield Missing(sentence=f"{names}: {lack}.", command=f"python -m hptransfer.{stage}{options}{which}")


def _lacks(results: Results, series: Series) -> Iterable[tuple[str, str]]:
    """What one optimizer lacks, and the stage that makes it."""
    trials, finished = results.experiment.search.trials, Counter(record.spec.model.width for record in results.swept(series))
    widths = sorted(results.experiment.widths)
    short = [f"{finished[width]} of {trials} runs at width {width}" for width in widths if finished[width] < trials]
    if short:
        yield "search", f"the search has {', '.join(short)}"
    if series in results.refused:
        yield _remedy(results.refused[series]), "the search allows no prediction"
    elif series not in results.predictions:
        yield "transfer", "there is no prediction yet"
    elif series in results.stale:
        yield "validate", "the validation tested an earlier prediction, so none of it is shown"
    elif series not in results.validations:
        yield "validate", f"the prediction has not been tested at width {results.experiment.target_width}"


def _remedy(reason: str) -> str:
    """The stage that helps a search which is complete, with the option that the refusal names."""
    if "--force" in reason:
        return "transfer --force"
    if found := re.search(r"--set [^\s)]+", reason):
        return f"search {found.group()}"
    return "search --trials N" if "--trials" in reason else "search"
