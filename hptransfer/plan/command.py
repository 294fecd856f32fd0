"""``python -m hptransfer.plan``: runs, FLOPs, hours and expected regret, before anything is spent."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hptransfer.base.errors import UsageError
from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refused
from hptransfer.cli import console, finish, number, parser, selection, table
from hptransfer.experiment import Experiment
from hptransfer.experiment.experiment import BASELINE, Arm
from hptransfer.experiment.membership import Members, members
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.plan.cost import Cost, Rate, Stage, cost_of, ladder_cost, total, validation_cost
from hptransfer.plan.hardware import HARDWARE, Speed, given, named, recorded
from hptransfer.plan.simulate import PUBLIC, STUDIES, Expectation, Setting, Shape, expect, shape_of
from hptransfer.runs import Job, Record, Store
from hptransfer.search.command import chosen_experiment
from hptransfer.search.studies import Studies, make_studies
from hptransfer.search.study import Study
from hptransfer.trainers.ours.data.corpus import identify
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.group import Group, fit_group


@dataclass(frozen=True)
class Series:
    """The studies of one arm, the smallest cell first, with a run of each, and a run of the arm at the target."""

    arm: Arm
    studies: tuple[Study, ...]
    runs: tuple[Job, ...]
    target: Job

    def setting(self, experiment: Experiment) -> Setting:
        """What a simulation needs to know."""
        space = experiment.space(self.arm)
        return Setting(
            widths=tuple(int(run.point["width"]) for run in self.runs),
            base=experiment.base_width,
            target=experiment.target_width,
            span=math.log(space.lr.high / space.lr.low),
            theory=self.target.exponents["hidden"],
            readout=self.target.exponents["readout"],
            compared=len(space.embedding_lr_ratio.values),
            first_look=self.studies[0].first_look,
            batch=experiment.search.batch,
        )


def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    experiment = chosen_experiment(args)
    found = members(Store(args.store).records().values(), experiment, resolve)
    records = found.records
    speed, devices = _speed(args, records)
    series = _series(experiment)

    def rate(job: Job) -> float:
        return speed.of(job) * devices

    plans = [_stages(one, experiment, rate) for one in series]
    every = [stage for stages in plans for stage in stages]
    whole = total(stage.cost for stage in every)
    console.print(f"experiment {experiment.name}: {experiment.search.trials} trials per width; store {args.store}")
    if records:
        console.print(f"{len(records)} of its runs are in the store: what search and validate find there is not run again")
    table(
        "cost",
        ["arm", "stage", "width", "runs", "tokens", "FLOPs", "hours"],
        [*map(_row, every), ["total", "", "", *_numbers(whole)]],
    )
    at_once = "1 device" if devices == 1 else f"{devices} devices"
    console.print(
        f"hours: FLOPs / speed of {at_once}, never idle; evaluation and start-up come on top. {speed.words}\n"
        "FLOPs: the model's, forward and backward; the optimizer's own come on top"
    )
    known: dict[tuple[Setting, Shape], list[Expectation]] = {}
    expected = [_expected(one, experiment, found, rate, known) for one in series]
    table(
        f"expected at width {experiment.target_width}: means over {STUDIES} simulated studies",
        ["arm", "trials", "search FLOPs", "regret", "80 % interval of LR", "same trials at the target"],
        [row for one in expected for row in _expected_rows(one)],
    )
    for source in dict.fromkeys(one["source"] for one in expected):
        console.print(f"surfaces: {source}")
    if not any(arm.optimizer == BASELINE for arm in experiment.compared):
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


def _speed(args: argparse.Namespace, records: Sequence[Record]) -> tuple[Speed, int]:
    """The speed of one device, and how many there are."""
    if args.flops_per_second is not None:
        speed = given(args.flops_per_second)
    elif args.hardware or not (timed := [record for record in records if (record.outcome.training_wall_seconds or 0) > 0]):
        speed = named(args.hardware or "cpu", args.utilization)
    else:
        speed = recorded(timed)
    return speed, args.devices or ((os.cpu_count() or 1) if speed.per_core else 1)


def _series(experiment: Experiment) -> list[Series]:
    data = identify(experiment.data)
    studies = make_studies(experiment, data)
    return [_one_series(arm, experiment, data, studies) for arm in experiment.compared]


def _one_series(arm: Arm, experiment: Experiment, data: DataSpec, studies: Studies) -> Series:
    """With runs in the middle of the searched range; all of a cell cost the same."""
    own = tuple(study for study in studies.studies if study.arm.name == arm.name)
    space = experiment.space(arm)
    tuned = {"lr": space.lr.at(0.5), "weight_decay": 0.0, "embedding_lr_ratio": space.embedding_lr_ratio.values[0]}

    def run(width: int) -> Job:
        return resolve(experiment.point(arm, data, width=width).at(**tuned))

    return Series(arm, own, tuple(run(width) for width in sorted(experiment.widths)), run(experiment.target_width))


def _stages(series: Series, experiment: Experiment, rate: Rate) -> list[Stage]:
    """Its searches, its validation, and of the baseline the ladder where there is something to compare with."""
    name, settings, trials = series.arm.name, experiment.validation, experiment.search.trials
    stages = [Stage(name, "search", run.point["width"], cost_of(run, trials, rate)) for run in series.runs]
    width = experiment.target_width
    stages.append(Stage(name, "validation", width, validation_cost(series.target, settings, rate)))
    challengers = [arm for arm in experiment.compared if experiment.baseline(arm) == series.arm and arm != series.arm]
    if challengers:
        stages.append(Stage(name, "ladder", width, ladder_cost(series.target, settings, rate, resolve)))
    return stages


def _expected(
    series: Series,
    experiment: Experiment,
    found: Members,
    rate: Rate,
    known: dict[tuple[Setting, Shape], list[Expectation]],
) -> dict[str, Any]:
    """Regret and interval for the experiment's trials, half and twice as many; and what these would cost at the target."""
    trials = experiment.search.trials
    budgets = sorted({max(1, trials // 2), trials, 2 * trials})
    key = series.setting(experiment), _shape(series, found)
    if key not in known:
        known[key] = expect(*key, budgets)
    each = sum(run.flops or 0.0 for run in series.runs)
    return {
        "arm": series.arm.name,
        "source": key[1].source,
        "budgets": [{**asdict(one), "search_flops": one.trials * each} for one in known[key]],
        "target_sweep": asdict(cost_of(series.target, trials, rate)) | {"over_search": (series.target.flops or 0.0) / each},
    }


def _shape(series: Series, found: Members) -> Shape:
    """The surface's shape by the runs that are there, else by public sweeps."""
    mine = found.searched.get(series.arm.name, ())
    if not mine:
        return PUBLIC
    group = Group(series.arm.name, mine, scales=("width",))
    try:
        fitted = fit_group(group, None)
    except Refused:  # too few of them
        return PUBLIC
    if fitted.fit is None or fitted.notes:
        return PUBLIC
    return shape_of(fitted.rich or fitted.fit, f"{series.arm.name} by the fit of {len(group.used)} runs in the store")


def _named(stage: Stage) -> dict[str, Any]:
    return {key: value for key, value in vars(stage).items() if key != "cost"}


def _row(stage: Stage) -> list[Any]:
    return [stage.arm, stage.stage, stage.width, *_numbers(stage.cost)]


def _numbers(cost: Cost) -> list[str]:
    return [str(cost.runs), f"{cost.tokens:,}", number(cost.flops), f"{cost.hours:.3g}"]


def _expected_rows(expected: dict[str, Any]) -> list[list[str]]:
    sweep = f"{expected['target_sweep']['over_search']:.2g}x the search's FLOPs"
    rows = []
    for one in expected["budgets"]:
        known = one["regret"] is not None
        rows.append(
            [
                expected["arm"],
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
