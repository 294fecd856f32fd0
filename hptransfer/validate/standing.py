"""What stands for an experiment: of every arm its prediction, or why there is none, and its validation. A function of the runs in
the store and of the experiment; files of predictions only save the work. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refusal, Refused
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.membership import Members, Resolve, by_cell, inputs_of
from hptransfer.runs import Job, Point, Store
from hptransfer.transfer.axes import cell_words
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group, group_of_arm, run_ids, too_few_runs
from hptransfer.transfer.prediction import Prediction, default_path, prediction_of, read_prediction
from hptransfer.validate.configurations import Records
from hptransfer.validate.protocol import Protocol, at_searched_scales
from hptransfer.validate.result import Validation
from hptransfer.validate.verdict import verdict


@dataclass(frozen=True)
class Standing:
    """By arm. An arm that has neither a prediction nor a refusal is not searched to the end. One without a validation has runs
    left to do at the held-out width, or its baseline has."""

    predictions: dict[str, Prediction]
    refused: dict[str, Refusal]
    validations: dict[str, Validation]


def standing(
    experiment: Experiment,
    found: Members,
    resolve: Resolve,
    cached: Iterable[Prediction],
    registered_at: Callable[[str], str | None],
    given: Iterable[Prediction] = (),
    *,
    anew: bool = True,
) -> Standing:
    """What stands, for every arm of the experiment, of its runs ``found``.

    ``cached``: predictions that may be current, and then are not made again. ``registered_at``: when a prediction of a run was
    written to the store. ``given``: predictions that count in the place of their arms' own. Without ``anew`` nothing is
    fitted: of a complete search without a current prediction nothing is said.
    """
    known, named = list(cached), {prediction.name: prediction for prediction in given}
    predictions, refused = {}, {}
    for arm in experiment.compared:
        told = named.get(arm.name) or _prediction(experiment, arm, found, resolve, known, anew)
        if isinstance(told, Prediction):
            predictions[arm.name] = told
        elif told:
            refused[arm.name] = told
    parts = (found.held_out, found.repeated)
    records = {record.run_id: record for part in parts for runs in part.values() for record in runs}
    return Standing(predictions, refused, validations(experiment, predictions, records, resolve, registered_at))


def validations(
    experiment: Experiment,
    predictions: Mapping[str, Prediction],
    records: Records,
    resolve: Resolve,
    registered_at: Callable[[str], str | None],
) -> dict[str, Validation]:
    """The validations of all predictions whose runs, and whose baseline's, are there; in the order of the predictions."""
    found = {}
    for protocol in protocols(experiment, predictions, resolve):
        tested = _tested(protocol, records)
        together = at_searched_scales(tested)
        for name, prediction in tested.predictions.items():
            # As they were run, with all arms; alone with the baseline where another arm has runs left.
            done = _finished(together, records) or _finished(at_searched_scales(tested.of((name, tested.baseline))), records)
            found[name] = verdict(name, tested, records, registered_at(prediction.run.run_id), searched=done)
    return {name: found[name] for name in predictions if name in found}


def _finished(searched: list[Protocol], records: Records) -> list[Protocol]:
    """The searched scales, where everything has run at all of them; else none."""
    return [] if any(one.missing(records) for one in searched) else searched


def protocols(experiment: Experiment, predictions: Mapping[str, Prediction], resolve: Resolve) -> list[Protocol]:
    """What is run for the predictions: arms with the same baseline are validated together."""
    groups: dict[str | None, dict[str, Prediction]] = {}
    for name, prediction in predictions.items():
        baseline = experiment.baseline_of(experiment.arm(name))
        groups.setdefault(baseline.name if baseline else None, {})[name] = prediction
    return [Protocol(group, experiment.validation, baseline, resolve) for baseline, group in groups.items()]


def begun(protocol: Protocol, records: Records) -> list[str]:
    """The arms around whose predictions everything has run."""
    return [name for name in protocol.predictions if not any(one.missing(records) for one in protocol.around(name, records))]


def known_predictions(experiment: Experiment, store: Store) -> list[Prediction]:
    """The predictions of the experiment's default files, and those that the store has; not what other versions wrote."""
    found = []
    for arm in experiment.compared:
        try:
            found.append(read_prediction(default_path(experiment.name, arm.name, **experiment.target_cell)))
        except UsageError:
            continue
    for content in store.registered_predictions():
        with suppress(UsageError):
            found.append(prediction_of(content, "a registered prediction"))
    return found


def given_predictions(files: Sequence[str], experiment: Experiment, resolve: Resolve) -> dict[str, Prediction]:
    """Prediction files that a user names, by arm. Raises UsageError for one that is not of the experiment at its target,
    where its horizon is free, and for two of one arm."""
    found: dict[str, Prediction] = {}
    for file in files:
        prediction = read_prediction(file)
        if prediction.name in found:
            raise UsageError(f"--predictions has two of {prediction.name}")
        if not _is_of(prediction, experiment, resolve):
            where = f"experiment {experiment.name} at {cell_words(experiment.target_cell)}"
            raise UsageError(f"{file}, for {prediction.name}, is no prediction of {where}")
        found[prediction.name] = prediction
    return found


def _prediction(
    experiment: Experiment, arm: Arm, found: Members, resolve: Resolve, cached: Sequence[Prediction], anew: bool
) -> Prediction | Refusal | None:
    """That of an arm: a cached one that is current, or, of a complete search and ``anew``, a new one or why there is none."""
    group = group_of_arm(arm.name, found.searched.get(arm.name, ()))
    if not group.records:
        return None
    target = resolve(experiment.target_point(arm, found.inputs[arm.name]))
    for prediction in cached:
        if _is_current(prediction, group, target):
            return prediction
    cells = experiment.searched_cells
    if not anew or any(len(runs) < experiment.search.trials for runs in by_cell(group.records, cells)):
        return None
    if lack := too_few_runs(group, cells, arm.name):
        return lack
    try:
        provenance = {"experiment": experiment.name, "run_ids": run_ids(group)}
        return predict_group(group, target, resolve, provenance=provenance)
    except Refused as error:
        return error.refusal


def _is_current(prediction: Prediction, group: Group, target: Job) -> bool:
    """Whether a prediction is for that target, and rests on the very runs of the group."""
    return (
        (prediction.name, prediction.provenance.get("run_ids")) == (group.name, run_ids(group))
        and prediction.job is not None
        and _place(prediction.point) == _place(target.point)
    )


def _is_of(prediction: Prediction, experiment: Experiment, resolve: Resolve) -> bool:
    """Whether a prediction is for the held-out run of one of the experiment's arms, at any horizon."""
    arm = next((arm for arm in experiment.compared if arm.name == prediction.name), None)
    inputs = inputs_of(prediction.point) if prediction.job else None
    if arm is None or inputs is None or not experiment.reads(arm, inputs):
        return False
    target = resolve(experiment.target_point(arm, inputs)).point
    return _place(prediction.point, "tokens", "horizon") == _place(target, "tokens", "horizon")


def _place(point: Point, *free: str) -> dict[str, Any]:
    """The scales and settings of a point but those that are ``free``."""
    return {name: value for name, value in (point.scales | point.settings).items() if name not in free}


def _tested(protocol: Protocol, records: Records) -> Protocol:
    """The arms of a protocol whose runs are all there: together those that nothing is left to do for; while the baseline has
    horizons left, those that need none of them. None while the baseline itself is not run."""
    names, baseline = begun(protocol, records), protocol.yardstick
    if baseline is not None and baseline not in names:
        return protocol.of(())
    together = protocol.of(names)
    if not together.missing(records):
        return together
    return protocol.of([name for name in names if not protocol.of((name, baseline)).missing(records)])
