"""The answer of an experiment in one object: what summary.json holds and what the page and the Markdown say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from hptransfer import __version__
from hptransfer.report import text
from hptransfer.report.results import Results, Series, label
from hptransfer.rules.recipes import Role
from hptransfer.spec import DataSpec, Spec
from hptransfer.store import RunRecord
from hptransfer.transfer.prediction import Check, Drift, HoldOut, Hyperparameters, Interval, RoleNumbers
from hptransfer.validate.result import Speedup


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
    """What is known about one optimizer; None and empty where the stage that finds it has not run."""

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

    @property
    def series(self) -> Series:
        return self.optimizer, self.parametrization


class Cost(Spec):
    """What a set of runs cost."""

    runs: int
    wall_seconds: float
    flops: float
    flops_optimizer: float


class Provenance(Spec):
    """Where the numbers come from."""

    hptransfer: str
    versions: dict[str, tuple[str, ...]]
    corpus: DataSpec | None
    runs_on_other_corpora: int  # left out
    devices: dict[str, int]  # runs per device
    last_run_at: str | None
    predictions: dict[str, dict[str, Any]]


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
    runs: dict[str, int]
    cost: dict[str, Cost]
    provenance: Provenance
    missing: tuple[Missing, ...]


def summarize(results: Results, options: str = "") -> Summary:
    """The summary of ``results``; ``options`` are appended to the commands that it names."""
    target, experiment = results.target, results.experiment
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
        optimizers=tuple(_answer(results, series) for series in results.series),
        runs=dict(sorted(Counter(record.state for record in results.records).items())),
        cost={"search": _cost(searched), "held_out": _cost(held_out), "total": _cost(results.records)},
        provenance=_provenance(results),
        missing=tuple(_missing(results, options)),
    )


def _answer(results: Results, series: Series) -> Answer:
    found: dict[str, Any] = {"optimizer": series[0], "parametrization": series[1]}
    if prediction := results.predictions.get(series):
        same = ("hyperparameters", "roles", "drift", "expected_regret", "noise", "budget", "hold_out", "checks")
        found |= {"prediction": prediction.digest} | {name: getattr(prediction, name) for name in same}
    if validation := results.validations.get(series):
        found |= {name: getattr(validation, name) for name in ("regret", "speedup", "refusal")}
        when = "before" if validation.preregistered else "after"
        detail = f"the prediction was written to the store {when} the first run that tests it had finished"
        found["checks"] = (*found["checks"], Check(name="predicted before tested", ok=validation.preregistered, detail=detail))
    return Answer(**found)


def _cost(records: Iterable[RunRecord]) -> Cost:
    records = list(records)
    return Cost(
        runs=len(records),
        wall_seconds=sum(record.training_wall_seconds for record in records),
        flops=sum(record.flops for record in records),
        flops_optimizer=sum(record.flops_optimizer for record in records),
    )


def _provenance(results: Results) -> Provenance:
    versions: dict[str, set[str]] = {}
    for record in results.records:
        for name, version in record.versions.items():
            versions.setdefault(name, set()).add(version)
    return Provenance(
        hptransfer=__version__,
        versions={name: tuple(sorted(found)) for name, found in sorted(versions.items())},
        corpus=results.target.data if results.target else None,
        runs_on_other_corpora=results.left_out,
        devices=dict(Counter(record.device for record in results.records)),
        last_run_at=max((record.finished_at for record in results.records), default=None),
        predictions={label(series): prediction.provenance for series, prediction in results.predictions.items()},
    )


def _missing(results: Results, options: str) -> Iterable[Missing]:
    if not results.records:
        sentence = "The search has not finished a run yet."
        yield Missing(sentence=sentence, command=f"python -m hptransfer.search{options}")
        return
    for series in results.series:
        name, trials = label(series), results.experiment.search.trials
        which = f"{options} --optimizer {series[0]}" + ("" if series[1] == "mup" else f" --parametrization {series[1]}")
        finished = Counter(record.spec.model.width for record in results.swept(series))
        widths = sorted(results.experiment.widths)
        short = [f"{finished[width]} of {trials} runs at width {width}" for width in widths if finished[width] < trials]
        if short:
            yield Missing(sentence=f"{name}: the search has {', '.join(short)}.", command=f"python -m hptransfer.search{which}")
        if series not in results.predictions:
            yield Missing(sentence=f"{name}: there is no prediction yet.", command=f"python -m hptransfer.transfer{which}")
        elif series in results.stale:
            sentence = f"{name}: the validation tested an earlier prediction, so none of it is shown."
            yield Missing(sentence=sentence, command=f"python -m hptransfer.validate{which}")
        elif series not in results.validations:
            sentence = f"{name}: the prediction has not been tested at width {results.experiment.target_width}."
            yield Missing(sentence=sentence, command=f"python -m hptransfer.validate{which}")
