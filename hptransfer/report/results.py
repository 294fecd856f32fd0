"""Everything that a report is made from: the experiment with its runs, predictions and validations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from hptransfer.base.config import read_json
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment
from hptransfer.report.coordinates import CHECKS, CoordinateCheck, read_coordinate_checks
from hptransfer.report.refusals import no_prediction, unfair
from hptransfer.runs import RunRecord, Store
from hptransfer.runs.query import makes, of_series, runs_of
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction
from hptransfer.validate.result import BASELINE, Validation

Series = tuple[str, str]  # optimizer, parametrization


@dataclass(frozen=True)
class Results:
    """An experiment, the records that belong to it, and what was concluded. ``stale`` are validations of predictions
    that have been replaced since: nothing of them is reported. ``refused`` says why a series whose search is complete has no
    prediction. ``left_out`` counts runs on other versions of the corpus."""

    experiment: Experiment
    records: tuple[RunRecord, ...]
    predictions: dict[Series, Prediction]
    validations: dict[Series, Validation]
    stale: tuple[Series, ...] = ()
    left_out: int = 0
    refused: dict[Series, str] = field(default_factory=dict)
    coordinate_checks: tuple[CoordinateCheck, ...] = ()

    @property
    def series(self) -> tuple[Series, ...]:
        """Every (optimizer, parametrization) of the experiment, in its order."""
        return _all_series(self.experiment)

    @property
    def target(self) -> RunSpec | None:
        """A run at the held-out width, for its scale; None before the first run has finished, which says what the data are."""
        if not self.records:
            return None
        spec = self.records[0].spec
        width = self.experiment.target_width
        return self.experiment.run_spec(spec.data, spec.optimizer, width=width, parametrization=spec.parametrization)

    def swept(self, series: Series) -> tuple[RunRecord, ...]:
        """The records of one series at the searched widths."""
        return tuple(
            record
            for record in self.records
            if record.spec.model.width in self.experiment.widths and of_series(record.spec, *series)
        )


def label(series: Series) -> str:
    """How a series is called on the page: the optimizer alone under muP."""
    optimizer, parametrization = series
    return optimizer if parametrization == "mup" else f"{optimizer} ({parametrization})"


def load_results(
    experiment: Experiment, store: Store, output: Path, predictions: Sequence[str] = (), *, allow_empty: bool = False
) -> Results:
    """The results of ``experiment``, without what its searches refuse. Without ``predictions`` the default files that the
    experiment made are read.

    Validations are looked for in ``output``. Raises UsageError when the store holds no run of the experiment, unless
    ``allow_empty``: a page that follows a search waits for the first one.
    """
    records = store.records() if allow_empty else store.require_records()
    known = {recipe for recipe, _ in _all_series(experiment)}
    ours, left_out = runs_of((record for record in records.values() if record.spec.optimizer.recipe in known), experiment)
    if not ours and not allow_empty:
        raise UsageError(
            f"store {store.location} holds {len(records)} runs and none of experiment {experiment.name}; "
            "run `python -m hptransfer.search` with the same --experiment and --set first"
        )
    ours.sort(key=lambda record: (record.finished_at, record.run_id))
    defaults = [default_path(*series, experiment.target_width) for series in _all_series(experiment)]
    files = [Path(file) for file in predictions] or [path for path in defaults if path.is_file()]
    predicted: dict[Series, Prediction] = {}
    for file in files:
        prediction = read_prediction(file)
        if not predictions and not _makes(experiment, prediction):
            continue  # of another experiment with the same held-out width, whose file has the same name
        _require_ours(experiment, prediction, file)
        predicted[prediction.optimizer, prediction.parametrization] = prediction
    validations, stale = {}, []
    for path in (output / f"validation-{default.stem}.json" for default in defaults):
        if not path.is_file():
            continue
        validation = read_json(Validation, path, "python -m hptransfer.validate")
        series = validation.optimizer, validation.parametrization
        if series not in predicted and (content := store.prediction(validation.prediction)):
            with suppress(ValidationError):  # written by another version
                if _makes(experiment, tested := Prediction.model_validate(content)):
                    predicted[series] = tested  # its file is gone: the store has what was tested
        if series in predicted and predicted[series].digest == validation.prediction:
            validations[series] = validation
        else:
            stale.append(series)
    for series, validation in validations.items():
        if reason := unfair(validation, predicted[series], predicted.get((BASELINE, series[1]))):
            validations[series] = validation.model_copy(update={"speedup": None, "refusal": reason})
    checks = read_coordinate_checks(CHECKS, experiment)
    return Results(experiment, tuple(ours), predicted, validations, tuple(stale), left_out, {}, checks)


def with_refusals(results: Results) -> Results:
    """The same with what its complete searches refuse. Takes a fit for every series that has no prediction."""
    experiment = results.experiment
    refused: dict[Series, str] = {
        (recipe, parametrization): reason
        for parametrization in experiment.parametrizations
        for recipe in experiment.optimizers
        if (recipe, parametrization) not in results.predictions
        and (reason := no_prediction(experiment, results.records, recipe, parametrization))
    }
    return replace(results, refused=refused)


def _all_series(experiment: Experiment) -> tuple[Series, ...]:
    return tuple((o, p) for p in experiment.parametrizations for o in experiment.optimizers)


def _require_ours(experiment: Experiment, prediction: Prediction, file: Path) -> None:
    if prediction.target.width != experiment.target_width:
        raise UsageError(
            f"{file} predicts width {prediction.target.width}; experiment {experiment.name} holds out {experiment.target_width}"
        )
    if prediction.optimizer not in experiment.optimizers or prediction.parametrization not in experiment.parametrizations:
        name = label((prediction.optimizer, prediction.parametrization))
        raise UsageError(f"{file} is for {name}, which experiment {experiment.name} does not have")

    if not _makes(experiment, prediction):
        raise UsageError(f"{file} was made by another experiment than {experiment.name} as it is set here")


def _makes(experiment: Experiment, prediction: Prediction) -> bool:
    """Whether the predicted run is one of the experiment's, and was predicted from the widths that it searches."""
    return makes(experiment, prediction.spec) and set(prediction.budget) == set(experiment.widths)
