"""What the library does, as functions: the home of those public names (see `hptransfer`) that are not classes.

None of them trains: they read finished runs, from a table or a store, on a laptop as well. Training is the commands' work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

from hptransfer.backtest.splits import STORE_GROUP, Backtest, Hold, backtest_intake
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.membership import Members, members
from hptransfer.export.canonical import canonical
from hptransfer.export.hosts import HOSTS
from hptransfer.runs import Store
from hptransfer.runs.sources.intake import Intake, intake
from hptransfer.runs.sources.meanings import Asked, Columns
from hptransfer.runs.sources.reading import Table, read_rows
from hptransfer.trainers import resolve
from hptransfer.transfer import decision
from hptransfer.transfer.frame import intake_of_records
from hptransfer.transfer.group import run_ids
from hptransfer.transfer.prediction import Prediction, read_prediction
from hptransfer.transfer.table import groups_of
from hptransfer.transfer.target import arm_group, arm_target, bare_job, provenance, table_target
from hptransfer.validate.result import Validation
from hptransfer.validate.standing import given_predictions, known_predictions, standing

Names = str | Sequence[str]  # one name, or several


@overload
def predict(
    runs: Table,
    at: Mapping[str, float] | None = None,
    *,
    scale: Names | None = None,
    hp: Names | None = None,
    loss: str | None = "loss",
    maximize: bool = False,
    where: str | None = None,
    force: bool = False,
) -> Prediction: ...


@overload
def predict(
    runs: Store,
    at: Mapping[str, float] | None = None,
    *,
    experiment: Experiment | str | Path,
    arm: str | None = None,
    force: bool = False,
) -> Prediction: ...


def predict(
    runs: Table | Store,
    at: Mapping[str, float] | None = None,
    *,
    scale: Names | None = None,
    hp: Names | None = None,
    loss: str | None = "loss",
    maximize: bool = False,
    where: str | None = None,
    experiment: Experiment | str | Path | None = None,
    arm: str | None = None,
    force: bool = False,
) -> Prediction:
    """Predict the best learning rate, or other hyperparameters, of a large run from finished small ones.

    All runs, at all scales, are fitted at once: the logarithm of the loss is a skewed bowl in the logarithm of each
    hyperparameter, whose optimum moves with the scales as a power law and wanders about it. The answer has an 80 % interval that
    widens with the noise between seeds, with disagreement among scales and with extrapolation.

    From a table
        ``runs`` has the runs of one recipe, trained in one way: a file (CSV, Excel, Parquet, JSON), the folder, storage or
        address of a tracker (W&B, Optuna, Ray Tune, MLflow, TensorBoard), a frame of polars, pandas or Arrow, rows as dicts, or
        columns by name. Nothing is known but its columns:

        - ``scale``: the columns that say how large a run is (those that ``at`` names, else that of a usual
          name: ``width``, ``d_model``, ...); at least two values.
        - ``hp``: the columns that are predicted, in whatever units they have; the learning rate first
          (``lr``, ``learning_rate``, ... where it is not said). Values of a column
          named ``log2_...``, ``log10_...`` or ``ln_...`` are logarithms already.
        - ``loss``: the column of final losses, in nats per token or any other positive unit. Missing, nan or infinite: that run
          diverged, which bounds the optimum from above. ``None``: every row is an optimum that somebody found.
        - ``maximize``: the highest value of that column is the best, as of an accuracy; its rest is fitted.
        - ``where``: an SQL condition; only rows for which it holds count.

    From a store
        ``runs`` is a `Store` of hptransfer's own runs, ``experiment`` an `Experiment`, its name or its YAML file, and ``arm``
        which of its arms (needed where it has several). Scaling rules then say what to expect of the optimum, weight decay is
        predicted where the loss depends on it, and the prediction holds the whole run to be trained (``prediction.job``).

    Parameters
        ``at``: the scales of the run to predict for, as ``{"width": 4096}``. Of a table each scale; without it, the optima
        of the swept scales and how they drift are all that is said. Of a store what differs from the experiment's held-out
        run, among ``width``, ``depth``, ``tokens`` and ``batch_tokens``.
        ``force``: predict although a precondition of transfer fails; ``prediction.checks`` says which.

    Returns
        A `Prediction`. ``prediction.lr`` (or ``prediction.hyperparameters[name]``) has ``value``, ``low`` and ``high``;
        ``prediction.expected_regret`` is how much higher the loss there is expected to be than the lowest, as a share of it.
        The order of the rows does not matter, and the same rows give the same prediction.

    Raises
        `Refused` where the runs do not allow a prediction: too few of them, an optimum on the edge of its sweep, schedules or
        corpora that differ, a target too far from the runs. It says what to do. `UsageError`, one line, for a
        column, file, experiment or arm that is not there, and for values that are no numbers.

    Examples
        A sweep whose best learning rate is 0.01 at width 64 and falls with the root of the width, so that it is 0.0025 at 1024:

        >>> import math
        >>> import hptransfer
        >>> runs = [
        ...     {"width": width, "lr": 0.01 * 2**octave, "loss": 3 + 0.02 * (octave + math.log2(width / 64) / 2) ** 2}
        ...     for width in (64, 128, 256)
        ...     for octave in range(-4, 4)
        ... ]
        >>> lr = hptransfer.predict(runs, {"width": 1024}).lr
        >>> f"{lr.value:.4f}, or {lr.low:.4f} to {lr.high:.4f}"
        '0.0025, or 0.0020 to 0.0033'

        An arm of an experiment, at another width than the experiment's own:

        >>> store = hptransfer.Store("runs")
        >>> hptransfer.predict(store, {"width": 256}, experiment="quickstart", arm="shampoo").weight_decay
    """
    if isinstance(runs, Store):
        if experiment is None:
            raise UsageError("predict from a store needs experiment: whose runs are meant")
        return _of_arm(runs, _experiment(experiment), arm, dict(at or {}), force)
    if experiment is not None or arm is not None:
        raise UsageError("experiment and arm are of a store; runs is a table: open a store with hptransfer.Store(...)")
    found = _taken_in(runs, (), scale if scale is not None else [*at] if at else None, hp, loss, maximize, where)
    (group,) = groups_of(found).values()
    target = table_target(found.columns, at) if at else None
    return decision.predict_group(group, target, bare_job, force=force, provenance=provenance(table=found.place))


def backtest(
    runs: Table | Store,
    *,
    hold_out: str | None = None,
    leave_one_out: str | None = None,
    nested: bool = False,
    group: Names = (),
    scale: Names | None = None,
    hp: Names | None = None,
    loss: str = "loss",
    maximize: bool = False,
    where: str | None = None,
    rules: Mapping[str, Mapping[str, str]] | None = None,
) -> Backtest:
    """Hold a part of your own sweeps out, predict it from the rest, and see how right that is and how sure one may be.

    ``runs`` is a table with one row for each finished run (a CSV, TSV, Parquet or JSONL file, a frame of polars, pandas or
    Arrow, rows as dicts, or columns by name), or a `Store`. Every held-out cell (a width, say) needs a sweep of its own: its
    lowest loss is what a prediction is held against. Beside hptransfer's prediction stand three simple rules: ``base`` keeps
    the best run of the smallest scale, ``last`` that of the largest, ``powerlaw`` is the line through each cell's parabola.

    Parameters
        What is held out, one of: ``hold_out``, an SQL condition as ``"width > 512"``; ``leave_one_out``, a column each of whose
        values is held out in turn; ``nested``, every split of the first scale into smaller and larger. Without any of them the
        largest value of the first scale is held out.
        ``group``: the columns that tell apart what no fit may mix (of a store optimizer, parametrization, corpus, schedule,
        depth, horizon and batch_tokens). ``scale``: the columns of scale. ``hp``: one or two columns to predict; values of
        ``log2_...``, ``log10_...`` and ``ln_...`` are logarithms already. ``loss``: the final loss, in any positive unit;
        missing or nan: diverged. ``maximize``: the highest value is the best, as of an accuracy. ``where``: an SQL
        condition on the rows.
        ``rules``: published laws to compare with, by name; of each hyperparameter SQL over the scales, as
        ``{"steplaw": {"lr": "1.79 * pow(N, -0.713) * pow(D, 0.307)"}}``.

    Returns
        A `Backtest`: ``regret`` by rule (loss at the prediction over the cell's lowest, minus 1), ``calibration`` (which share
        of the optima the 80 % interval held), ``splits`` with every cell, ``as_dict()`` for JSON.

    Raises
        `UsageError`, one line, where a column is missing, a value is no number, or no group has two scales to fit and one to
        predict.

    Example
        A sweep whose best learning rate falls with the root of the width, which ``last`` does not know of:

        >>> import math
        >>> import hptransfer
        >>> runs = [
        ...     {"width": width, "lr": 0.01 * 2**octave, "loss": 3 + 0.02 * (octave + math.log2(width / 64) / 2) ** 2}
        ...     for width in (64, 128, 256, 1024)
        ...     for octave in range(-4, 4)
        ... ]
        >>> found = hptransfer.backtest(runs, hold_out="width = 1024")
        >>> [f"{rule} {100 * found.regret[rule]['robust_mean_regret']:.2f} %" for rule in ("last", "hptransfer")]
        ['last 0.67 %', 'hptransfer 0.00 %']
        >>> found.calibration["coverage_80"]
        1.0

    Regret is interpolated as in PCHIP (Fritsch and Carlson 1980); the interval score is that of Gneiting and Raftery (2007).
    """
    if sum((hold_out is not None, leave_one_out is not None, nested)) > 1:
        raise UsageError("hold_out, leave_one_out and nested are three ways to hold out; choose one")
    hold = Hold(rows=hold_out, each=leave_one_out, nested=nested)
    if isinstance(runs, Store):
        columns = Columns(_names(group) or STORE_GROUP, _names(scale or "width"), _names(hp or "lr"), loss)
        found = intake_of_records(runs.require_records().values(), f"store {runs.location}", columns, where)
    else:
        found = _taken_in(runs, group, scale, hp, loss, maximize, where)
    return backtest_intake(found, hold, rules)


def validate(
    experiment: Experiment | str | Path, store: Store | str | Path = "runs", *, predictions: Sequence[str | Path] = ()
) -> dict[str, Validation]:
    """What the runs at the held-out width say of an experiment's predictions: their regret, and the compute that each arm saves.

    It trains nothing: the runs are those that ``hptransfer validate`` has made, which makes what is missing of them.

    ``experiment``: an `Experiment`, its name or its YAML file. ``store``: a `Store`, its folder or its URI. ``predictions``:
    prediction files that count in the place of what the searched runs give.

    Returns the `Validation` of each arm, by its name: ``regret`` (the loss at the prediction over the lowest around it, minus
    1), ``speedup.compute_multiplier`` (the baseline's compute to the same loss over the compute spent, by ``"tokens"``,
    ``"flops"``, ``"flops_with_optimizer"`` and ``"wall_clock"``), ``refusal`` (why no speedup is claimed) and ``survival`` (how
    the multiplier moves with scale), each with an interval of 80 % unless it says otherwise. Arms whose prediction is refused, or
    whose runs at the held-out width are not all there, are left out.

    Raises `UsageError`, one line, where the store has no runs, or a file is no prediction of this experiment.

    >>> hptransfer.validate("quickstart", "runs")["shampoo"].speedup.compute_multiplier["flops"].value

    The multiplier over a ladder of the baseline's horizons follows arXiv 2512.05620, section 4.
    """
    experiment, store = _experiment(experiment), _store(store)
    found = _members(experiment, store)
    given = given_predictions([str(file) for file in predictions], experiment, resolve)
    known = known_predictions(experiment, store)
    return standing(experiment, found, resolve, known, store.registered_at, given.values()).validations


def build_report(
    experiment: Experiment | str | Path,
    store: Store | str | Path = "runs",
    folder: str | Path | None = None,
    *,
    predictions: Sequence[str | Path] = (),
) -> Path:
    """Write the report of an experiment: one offline page (``index.html``), Markdown, tables as CSV, figures as SVG and
    ``summary.json``, and return their folder.

    ``experiment``: an `Experiment`, its name or its YAML file. ``store``: a `Store`, its folder or its URI. ``folder``: where it
    is written, ``reports/<experiment>`` by default; an earlier report there is replaced, and nothing else is touched.
    ``predictions``: prediction files that count in the place of what the searched runs give.

    What is not there yet, of searches, predictions or validations, is named on the page with the command that makes it. Raises
    `UsageError`, one line, where the store has no run of the experiment, or the folder cannot be written or holds a report of
    another kind.

    >>> hptransfer.build_report("quickstart", "runs") / "index.html"
    PosixPath('reports/quickstart/index.html')
    """
    from hptransfer.report.build import build, require_folder, write
    from hptransfer.validate.results import load_results

    name = str(experiment) if not isinstance(experiment, Experiment) else experiment.name
    experiment, store = _experiment(experiment), _store(store)
    folder = Path("reports") / experiment.name if folder is None else Path(folder)
    require_folder(folder, "report.md")
    results = load_results(experiment, store, resolve, [str(file) for file in predictions])
    _, _, files = build(results, f"--experiment {name} --store {store.location}")
    write(folder, files)
    return folder


def export(prediction: Prediction | str | Path, target: str = "json") -> dict[str, str]:
    """The predicted run in the form that a production trainer reads: the text of its files, by name.

    ``prediction``: a `Prediction` that has a target, or the file of one. ``target``: a host by name, as ``hptransfer export
    --list`` lists them. ``"json"`` is hptransfer's own record: final learning rate, independent weight decay and epsilon of every
    weight, the model, the schedule and the data, with each number's meaning spelt out, so that nothing is left to scale; of a
    table's or a program's prediction what is known, with what is not under ``unknown``. Any other host's files hold numbers from
    which the scaling that the host itself applies is taken out.

    Raises `UsageError`, one line, for an unknown host, for a file that is no prediction, and where the host cannot do what was
    predicted.

    >>> hptransfer.export("predictions/quickstart/shampoo-128.json")["run.json"]
    >>> hptransfer.export("predictions/quickstart/adamw-128.json", "torch")["hptransfer_optimizer.py"]
    """
    record = canonical(prediction if isinstance(prediction, Prediction) else read_prediction(prediction))
    host = HOSTS.get(target)
    if (why := host.refuse(record)) is not None:
        raise UsageError(f"{record.name} cannot be exported to {target}: {why}")
    return host.render(record)


def _of_arm(store: Store, experiment: Experiment, arm: str | None, at: dict[str, float], force: bool) -> Prediction:
    """The prediction of an arm of an experiment, from its searched runs."""
    if "width" in at:
        experiment = experiment.at({"width": at.pop("width")})
    names = [one.name for one in experiment.compared]
    if arm is None and len(names) > 1:
        raise UsageError(f"experiment {experiment.name} has several arms; name one with arm: {', '.join(names)}")
    name = experiment.arm(arm or names[0]).name
    found = _members(experiment, store)
    group = arm_group(name, found, experiment.searched_cells, f"{name} of experiment {experiment.name}")
    target = arm_target(experiment, name, found, resolve, at)
    source = provenance(experiment=experiment.name, store=store.location, run_ids=run_ids(group))
    return decision.predict_group(group, target, resolve, force=force, provenance=source)


def _members(experiment: Experiment, store: Store) -> Members:
    return members(store.require_records().values(), experiment, resolve)


def _experiment(given: Experiment | str | Path) -> Experiment:
    return given if isinstance(given, Experiment) else load_experiment(str(given))


def _store(given: Store | str | Path) -> Store:
    return given if isinstance(given, Store) else Store(given)


def _taken_in(
    table: Table, group: Names, scale: Names | None, hp: Names | None, loss: str | None, maximize: bool, where: str | None
) -> Intake:
    """The runs of a table; what is not said of its columns is found by usual names."""
    rows = read_rows(table, text=_names(group)).where(where)
    scales, hps = (None if names is None else _names(names) for names in (scale, hp))
    named = None if loss == "loss" and loss not in rows.frame.columns else loss or ""
    return intake(rows, Asked(_names(group), scales, hps, named), maximize=maximize or None)


def _names(given: Names) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
