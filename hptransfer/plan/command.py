"""``python -m hptransfer.plan``: runs, FLOPs, hours and expected regret, before anything is spent."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from hptransfer.base.errors import UsageError
from hptransfer.cli import console, finish, number, parser, selection, table
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import PARAMETRIZATIONS, Parametrization
from hptransfer.plan.cost import Cost, Rate, Stage, cost_of, ladder_cost, total, validation_cost
from hptransfer.plan.hardware import HARDWARE, Speed, given, named, recorded
from hptransfer.plan.simulate import PUBLIC, STUDIES, Expectation, Setting, Shape, expect, shape_of
from hptransfer.runs import RunRecord, Store
from hptransfer.runs.query import runs_of
from hptransfer.search.command import chosen_experiment
from hptransfer.search.studies import make_studies
from hptransfer.search.study import Study
from hptransfer.trainers.ours.data.corpus import identify
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.transfer.command import select
from hptransfer.transfer.forecast import fit_sweep
from hptransfer.transfer.sweep import frozen_ratio, sweep_of
from hptransfer.transfer.theory import theory_drift
from hptransfer.validate.result import BASELINE


@dataclass(frozen=True)
class Series:
    """The studies of one recipe and parametrization, the smallest width first, and a run of it at the target."""

    recipe: str
    parametrization: Parametrization
    studies: tuple[Study, ...]
    target: RunSpec

    def setting(self, experiment: Experiment) -> Setting:
        """What a simulation needs to know."""
        space = self.studies[0].space
        return Setting(
            widths=tuple(study.width for study in self.studies),
            base=experiment.base_width,
            target=experiment.target_width,
            span=math.log(space.lr.high / space.lr.low),
            theory=theory_drift(self.target),
            readout=theory_drift(self.target, "readout"),
            compared=len(space.embedding_lr_ratio.values),
            first_look=self.studies[0].first_look,
            batch=experiment.search.batch,
        )


def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    experiment = chosen_experiment(args)
    records, _ = runs_of(Store(args.store).records().values(), experiment)
    speed, devices = _speed(args, records)
    series = _series(experiment)

    def rate(spec: RunSpec) -> float:
        return speed.of(spec) * devices

    plans = [_stages(one, experiment, rate) for one in series]
    every = [stage for stages in plans for stage in stages]
    whole = total(stage.cost for stage in every)
    console.print(f"experiment {experiment.name}: {experiment.search.trials} trials per width; store {args.store}")
    if records:
        console.print(f"{len(records)} of its runs are in the store: what search and validate find there is not run again")
    table(
        "cost",
        ["optimizer", "parametrization", "stage", "width", "runs", "tokens", "FLOPs", "hours"],
        [*map(_row, every), ["total", "", "", "", *_numbers(whole)]],
    )
    at_once = "1 device" if devices == 1 else f"{devices} devices"
    console.print(
        f"hours: FLOPs / speed of {at_once}, never idle; evaluation and start-up come on top. {speed.words}\n"
        "FLOPs: the model's, forward and backward; the optimizer's own come on top"
    )
    known: dict[tuple[Setting, Shape], list[Expectation]] = {}
    expected = [_expected(one, experiment, records, rate, known) for one in series]
    table(
        f"expected at width {experiment.target_width}: means over {STUDIES} simulated studies",
        ["optimizer", "parametrization", "trials", "search FLOPs", "regret", "80 % interval of LR", "same trials at the target"],
        [row for one in expected for row in _expected_rows(one)],
    )
    for source in dict.fromkeys(one["source"] for one in expected):
        console.print(f"surfaces: {source}")
    if BASELINE not in experiment.optimizers:
        console.print(f"no {BASELINE} in this plan: a compute multiplier needs one that is searched and validated too")
    finish(
        args,
        {
            "experiment": experiment.name,
            "hardware": {"name": speed.hardware, "source": speed.words, "devices": devices},
            "stages": [{**_named(stage), **asdict(stage.cost)} for stage in every],
            "total": asdict(whole),
            "expected": expected,
            "runs_in_store": len(records),
        },
        next_command=_next_command(args),
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser("plan", "Runs, FLOPs, hours and expected regret, before anything is spent.")
    options.add_argument("--optimizer", metavar="NAME[,NAME]", help="recipes (those of the experiment)")
    options.add_argument("--parametrization", metavar=",".join(PARAMETRIZATIONS), help="(the experiment's)")
    options.add_argument("--widths", type=int, nargs="+", metavar="W", help="widths searched (the experiment's)")
    options.add_argument("--trials", type=int, metavar="N", help="finished runs per recipe, parametrization and width")
    speed = options.add_mutually_exclusive_group()
    speed.add_argument("--hardware", metavar="NAME", help=f"{', '.join(HARDWARE)} (that of the runs in the store, else cpu)")
    speed.add_argument("--flops-per-second", type=float, metavar="X", help="model FLOP/s that you measured on one device")
    options.add_argument(
        "--utilization", type=float, default=0.4, metavar="SHARE", help="of the peak that training reaches (0.4)"
    )
    options.add_argument("--devices", type=int, metavar="N", help="devices at once (1; of CPUs the cores of this machine)")
    args = options.parse_args(argv)
    if not 0 < args.utilization <= 1:
        raise UsageError(f"--utilization {number(args.utilization)} is not a share above 0 and up to 1")
    if args.devices is not None and args.devices < 1:
        raise UsageError(f"--devices {args.devices} is not positive")
    if args.flops_per_second is not None and not 0 < args.flops_per_second < float("inf"):
        raise UsageError(f"--flops-per-second {number(args.flops_per_second)} is not a positive number")
    return args


def _speed(args: argparse.Namespace, records: Sequence[RunRecord]) -> tuple[Speed, int]:
    """The speed of one device, and how many there are."""
    if args.flops_per_second is not None:
        speed = given(args.flops_per_second)
    elif args.hardware or not (timed := [record for record in records if record.training_wall_seconds > 0]):
        speed = named(args.hardware or "cpu", args.utilization)
    else:
        speed = recorded(timed)
    return speed, args.devices or ((os.cpu_count() or 1) if speed.per_core else 1)


def _series(experiment: Experiment) -> list[Series]:
    data = identify(experiment.data)
    found = []
    for (recipe, parametrization), members in groupby(
        make_studies(experiment, data).studies, key=lambda study: (study.recipe, study.parametrization)
    ):
        studies = tuple(members)
        middle = _middle(studies[0]).optimizer
        target = experiment.run_spec(data, middle, width=experiment.target_width, parametrization=parametrization)
        found.append(Series(recipe, parametrization, studies, target))
    return found


def _middle(study: Study) -> RunSpec:
    """A run of the study; the others cost the same."""
    space = study.space
    return study.make_run(space.optimizer(space.lr.at(0.5), 0.0, space.embedding_lr_ratio.values[0]), 0)


def _stages(series: Series, experiment: Experiment, rate: Rate) -> list[Stage]:
    """Its searches, its validation, and of the baseline the ladder where there is something to compare with."""
    names, settings = (series.recipe, series.parametrization), experiment.validation
    stages = [Stage(*names, "search", study.width, cost_of(_middle(study), study.trials, rate)) for study in series.studies]
    width = experiment.target_width
    stages.append(Stage(*names, "validation", width, validation_cost(series.target, settings, rate)))
    if series.recipe == BASELINE and len(experiment.optimizers) > 1:
        stages.append(Stage(*names, "ladder", width, ladder_cost(series.target, settings, rate)))
    return stages


def _expected(
    series: Series,
    experiment: Experiment,
    records: Sequence[RunRecord],
    rate: Rate,
    known: dict[tuple[Setting, Shape], list[Expectation]],
) -> dict[str, Any]:
    """Regret and interval for the experiment's trials, half and twice as many; and what these would cost at the target."""
    trials = experiment.search.trials
    budgets = sorted({max(1, trials // 2), trials, 2 * trials})
    key = series.setting(experiment), _shape(series, experiment, records)
    if key not in known:
        known[key] = expect(*key, budgets)
    each = sum(_middle(study).flops for study in series.studies)
    return {
        "optimizer": series.recipe,
        "parametrization": series.parametrization,
        "source": key[1].source,
        "budgets": [{**asdict(one), "search_flops": one.trials * each} for one in known[key]],
        "target_sweep": asdict(cost_of(series.target, trials, rate)) | {"over_search": series.target.flops / each},
    }


def _shape(series: Series, experiment: Experiment, records: Sequence[RunRecord]) -> Shape:
    """The surface's shape by the runs that are there, else by public sweeps."""
    mine, _ = select(records, experiment, series.recipe, series.parametrization)
    if not mine:
        return PUBLIC
    ratio = frozen_ratio(mine)
    used = [record for record in mine if record.spec.optimizer.embedding_lr_ratio == ratio]
    try:
        fit = fit_sweep(sweep_of(used))
    except UsageError:  # too few of them
        return PUBLIC
    return shape_of(fit, f"{series.recipe} under {series.parametrization} by the fit of {len(used)} runs in the store")


def _named(stage: Stage) -> dict[str, Any]:
    return {key: value for key, value in vars(stage).items() if key != "cost"}


def _row(stage: Stage) -> list[Any]:
    return [stage.optimizer, stage.parametrization, stage.stage, stage.width, *_numbers(stage.cost)]


def _numbers(cost: Cost) -> list[str]:
    return [str(cost.runs), f"{cost.tokens:,}", number(cost.flops), f"{cost.hours:.3g}"]


def _expected_rows(expected: dict[str, Any]) -> list[list[str]]:
    sweep = f"{expected['target_sweep']['over_search']:.2g}x the search's FLOPs"
    rows = []
    for one in expected["budgets"]:
        known = one["regret"] is not None
        rows.append(
            [
                expected["optimizer"],
                expected["parametrization"],
                str(one["trials"]),
                number(one["search_flops"]),
                f"{100 * one['regret']:.3f} % +- {100 * one['standard_error']:.3f}" if known else "too few runs",
                f"a factor of {one['interval_factor']:.2f} either way" if known else "-",
                sweep,
            ]
        )
    return rows


def _next_command(args: argparse.Namespace) -> str:
    words = ["python -m hptransfer.search", selection(args)]
    words += [f"--optimizer {args.optimizer}"] if args.optimizer else []
    words += [f"--trials {args.trials}"] if args.trials is not None else []
    return " ".join(words)
