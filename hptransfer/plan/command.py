"""``hptransfer plan``: runs, FLOPs, hours and expected regret, before anything is spent."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any

from hptransfer.base.commands import command
from hptransfer.base.refusals import Refused
from hptransfer.cli import console, finish, number, refuse_unheeded, selection, table
from hptransfer.experiment import Experiment, SearchSettings
from hptransfer.experiment.arm import BASELINE, Arm, Inputs
from hptransfer.experiment.choice import arm_options
from hptransfer.experiment.membership import Members, by_cell, members
from hptransfer.experiment.space import SearchSpace
from hptransfer.plan.cost import Cost, PlanLine, Rate, cost_of, ladder_cost, plus, survival_cost, total, validation_cost
from hptransfer.plan.hardware import Speed, given, named, recorded
from hptransfer.plan.simulate import PUBLIC, Expectation, Scenario, SurfaceShape, expect, shape_of, studies_of
from hptransfer.runs import Job, Record, Store
from hptransfer.search.choice import chosen_search
from hptransfer.search.studies import make_studies
from hptransfer.search.study import LEAST_BATCH, Study
from hptransfer.trainers import inputs_of_arms, resolve
from hptransfer.transfer.checks import one_cell_words
from hptransfer.transfer.group import fit_group
from hptransfer.transfer.target import arm_group
from hptransfer.validate.protocol import Together, at_searched_scales
from hptransfer.validate.standing import known_predictions, protocols, standing
from hptransfer.validate.survival import to_tell

UTILIZATION = 0.4  # of a device's peak, unless it is said


@dataclass(frozen=True)
class Planned:
    """An arm, with a run of it in each searched cell, the smallest first, and one at the target: others cost the same."""

    arm: Arm
    space: SearchSpace
    first_look: int
    searched: tuple[Job, ...]
    target: Job

    def scenario(self, search: SearchSettings) -> Scenario:
        """What a simulation needs to know: it is of the widths alone. In coordinates that are a program's own, the optimum may
        move as anything between an Adam of muP and one of sp would."""
        exponents = self.target.exponents or {"hidden": 0.0, "readout": -1.0}
        return Scenario(
            widths=tuple(sorted({int(job.point["width"]) for job in self.searched})),
            base=self.target.point.settings["base"]["width"],
            target=int(self.target.point["width"]),
            span=math.log(self.space.lr.high / self.space.lr.low),
            theory=exponents["hidden"],
            readout=exponents["readout"],
            compared=len(self.space.embedding_lr_ratio.values),
            first_look=self.first_look,
            batch=search.batch if isinstance(search.batch, int) else LEAST_BATCH,
        )


def main(args: argparse.Namespace) -> None:
    experiment, arms = chosen_search(args)
    found = members(Store(args.store).records().values(), experiment, resolve)
    records = found.records
    speed, devices = _speed(args, records)
    inputs = inputs_of_arms(experiment, arms)
    studies = make_studies(experiment, inputs, arms=arms).studies
    planned = [_planned(arm, experiment, [one for one in studies if one.arm == arm], inputs[arm.name]) for arm in arms]

    def rate(job: Job) -> float:
        return speed.of(job) * devices

    plans = [_stages(one, arms, experiment, rate, survival=args.survival) for one in planned]
    every = [stage for stages in plans for stage in stages]
    whole = total(stage.cost for stage in every)
    scales, unit = list(every[-1].cell), "cell" if experiment.scales else "width"
    console.print(f"experiment {experiment.name}: {experiment.search.trials} trials per {unit}; store {args.store}")
    own = {record.run_id for arm in arms for record in found.of(arm.name)}
    if own:
        console.print(f"{len(own)} of these runs are in the store: what search and validate find there is not run again")
    table(
        "cost",
        ["arm", "stage", *scales, "runs", "tokens in all", "FLOPs", "hours"],
        [*map(_row, every), ["total", "", *("" for _ in scales), *_numbers(whole)]],
    )
    at_once = "1 device" if devices == 1 else f"{devices} devices"
    console.print(
        f"hours: FLOPs / speed of {at_once}, never idle; evaluation and start-up come on top. {speed.words}\n"
        "FLOPs: the model's, forward and backward; the optimizer's own come on top"
    )
    if unknown := [one.arm.name for one in planned if one.target.flops is None]:
        console.print(f"{', '.join(unknown)}: FLOPs and hours are unknown; give trainer.flops, a formula")
    others = ", the other scales as searched" if len(scales) > 1 else ""
    known: dict[tuple[Scenario, SurfaceShape], list[Expectation]] = {}
    one_cell = len(experiment.searched_cells) == 1
    expected = [] if one_cell else [_expected(one, experiment, found, rate, known) for one in planned]
    if one_cell:
        console.print(f"transfer will refuse a prediction: {one_cell_words(experiment.searched_cells[0])}")
    else:
        studied = f"means over {studies_of(len(experiment.widths))} simulated studies"
        table(
            f"expected at width {experiment.target_width}{others}: {studied}",
            ["arm", "trials", "search FLOPs", "regret", "80 % interval of LR", "same trials at the target"],
            [row for one in expected for row in _expected_rows(one)],
        )
    for source in dict.fromkeys(one["source"] for one in expected):
        console.print(f"surfaces: {source}")
    for line in _what_would_tell(experiment, found, Store(args.store), rate, selection(args)):
        console.print(line)
    alone = [arm.name for arm in arms if experiment.baseline_of(arm) not in arms]
    if alone and len(experiment.compared) > 1:
        baseline = experiment.baseline or BASELINE
        needed = f"a compute multiplier needs one {baseline} that is searched and validated too"
        console.print(f"no {baseline} in this plan to measure {', '.join(alone)} against: {needed}")
    finish(
        args,
        {
            "experiment": experiment.name,
            "hardware": {"name": speed.hardware, "source": speed.words, "devices": devices},
            "stages": [{**_named(stage), **asdict(stage.cost)} for stage in every],
            "total": asdict(whole),
            "expected": expected,
            "runs_in_store": len(own),
        },
        next_command=_next_command(args, arms),
    )


def _speed(args: argparse.Namespace, records: Sequence[Record]) -> tuple[Speed, int]:
    """The speed of one device, and how many there are."""
    if not args.hardware:
        refuse_unheeded(args, "without --hardware, whose peak it is a share of", "utilization")
    if args.flops_per_second is not None:
        speed = given(args.flops_per_second)
    elif args.hardware or not (timed := [one for one in records if one.outcome.flops and one.outcome.training_wall_seconds]):
        speed = named(args.hardware or "cpu", args.utilization or UTILIZATION)
    else:
        speed = recorded(timed)
    return speed, args.devices or ((os.cpu_count() or 1) if speed.per_core else 1)


def _planned(arm: Arm, experiment: Experiment, studies: Sequence[Study], inputs: Inputs) -> Planned:
    target = resolve(experiment.target_point(arm, inputs))
    return Planned(arm, experiment.space(arm), studies[0].first_look, tuple(study.job for study in studies), target)


def _stages(one: Planned, arms: Sequence[Arm], experiment: Experiment, rate: Rate, *, survival: bool) -> list[PlanLine]:
    """Its searches, its validation, and of a baseline the ladder where there is something to compare with; with ``survival`` the
    same in the searched cells."""
    name, settings, trials = one.arm.name, experiment.validation, experiment.search.trials
    scales = tuple({**experiment.searched_cells[0], **experiment.target_cell})

    def cell(job: Job) -> dict[str, int]:
        return {scale: int(job.point[scale]) for scale in scales if scale in job.point.scales}

    stages = [PlanLine(name, "search", cell(job), cost_of(job, trials, rate)) for job in one.searched]
    stages.append(PlanLine(name, "validation", cell(one.target), validation_cost(one.target, settings, rate)))
    is_baseline = any(experiment.baseline_of(arm) == one.arm for arm in arms if arm != one.arm)
    if is_baseline:
        stages.append(PlanLine(name, "ladder", cell(one.target), ladder_cost(one.target, settings, rate, resolve)))
    for job in one.searched if survival else ():
        cost = survival_cost(job, settings, rate, resolve, is_baseline=is_baseline)
        stages.append(PlanLine(name, "survival", cell(job), cost))
    return stages


def _expected(
    one: Planned,
    experiment: Experiment,
    found: Members,
    rate: Rate,
    known: dict[tuple[Scenario, SurfaceShape], list[Expectation]],
) -> dict[str, Any]:
    """Regret and interval for the experiment's trials, half and twice as many; and what these would cost at the target."""
    trials = experiment.search.trials
    budgets = sorted({max(1, trials // 2), trials, 2 * trials})
    key = one.scenario(experiment.search), _shape(one.arm, experiment, found)
    if key not in known:
        known[key] = expect(*key, budgets)
    each = reduce(plus, (job.flops for job in one.searched))
    over_search = one.target.flops / each if one.target.flops and each else None
    return {
        "arm": one.arm.name,
        "source": key[1].source,
        "budgets": [{**asdict(expectation), "search_flops": each and expectation.trials * each} for expectation in known[key]],
        "target_sweep": asdict(cost_of(one.target, trials, rate)) | {"over_search": over_search},
    }


def _shape(arm: Arm, experiment: Experiment, found: Members) -> SurfaceShape:
    """The surface's shape by the runs that are there, else by public sweeps."""
    records = found.searched.get(arm.name, ())
    if not records:
        return PUBLIC
    cells = experiment.searched_cells
    begun = [cell for cell, runs in zip(cells, by_cell(records, cells), strict=True) if runs]
    try:
        group = arm_group(arm.name, found, begun, arm.name)
        decays = {record.point.hyperparameters.get("weight_decay", 0) for record in group.used}
        if len(decays) > 1 and min(decays) > 0:  # fitted too, whatever the loss says of it
            group = replace(group, hyperparameters=("lr", "weight_decay"), optional=None)
        fit = fit_group(group, None).fit
    except Refused:  # too few of them
        return PUBLIC
    assert fit is not None
    return shape_of(fit, f"{arm.name} by the fit of {len(group.used)} runs in the store")


def _what_would_tell(experiment: Experiment, found: Members, store: Store, rate: Rate, selected: Sequence[str]) -> Iterator[str]:
    """For arms whose survival cannot be told, the runs that are expected to tell, what they cost, and the command for them:
    ``selected`` are the options of this one."""
    stands = standing(experiment, found, resolve, known_predictions(experiment, store), store.registered_at, anew=False)
    for name, validation in stands.validations.items():
        if validation.survival is None or validation.survival.verdict != "cannot_tell":
            continue
        words = f"{name}: {validation.survival.reason.text if validation.survival.reason else ''}"
        settings = to_tell(validation.survival, experiment.validation)
        if settings is None:
            yield f"{words}; search further widths"
            continue
        other = experiment.model_copy(update={"validation": settings})
        pair = {arm: stands.predictions[arm] for arm in (name, validation.baseline) if arm in stands.predictions}
        (protocol,) = protocols(other, pair, resolve)
        jobs = Together((protocol, *at_searched_scales(protocol))).planned({record.run_id: record for record in found.records})
        cost = total(cost_of(job, 1, rate) for job in jobs)
        changed = [f"validation.{key}={_plain(value)}" for key, value in settings if value != getattr(experiment.validation, key)]
        validate = command("validate", *selected, "--survival", *(word for one in changed for word in ("--set", one)))
        yield (f"{words}; {cost.runs} further runs ({number(cost.flops)} FLOPs) are expected to tell: {validate}")


def _plain(value: Any) -> str:
    """A setting as ``--set`` takes it."""
    return f"[{','.join(f'{one:g}' for one in value)}]" if isinstance(value, tuple) else str(value)


def _named(stage: PlanLine) -> dict[str, Any]:
    further = {"cell": stage.cell} if len(stage.cell) > 1 else {}
    return {"arm": stage.arm, "stage": stage.stage, "width": stage.cell["width"], **further}


def _row(stage: PlanLine) -> list[Any]:
    return [stage.arm, stage.stage, *stage.cell.values(), *_numbers(stage.cost)]


def _numbers(cost: Cost) -> list[str]:
    tokens = "-" if cost.tokens is None else f"{cost.tokens:,}"
    flops = "-" if cost.flops is None else number(cost.flops)
    return [str(cost.runs), tokens, flops, "-" if cost.hours is None else f"{cost.hours:.3g}"]


def _expected_rows(expected: dict[str, Any]) -> list[list[str]]:
    over_search = expected["target_sweep"]["over_search"]
    sweep = f"{over_search:.2g}x the search's FLOPs" if over_search else "-"
    rows = []
    for one in expected["budgets"]:
        known = one["regret"] is not None
        rows.append(
            [
                expected["arm"],
                str(one["trials"]),
                number(one["search_flops"]) if one["search_flops"] else "-",
                f"{100 * one['regret']:.3f} % +- {100 * one['standard_error']:.3f}" if known else "too few runs",
                f"a factor of {one['interval_factor']:.2f} either way" if known else "-",
                sweep,
            ]
        )
    return rows


def _next_command(args: argparse.Namespace, arms: Sequence[Arm]) -> str:
    named = arm_options(arm.name for arm in arms) if args.optimizer or args.parametrization else ()
    trials = () if args.trials is None else ("--trials", str(args.trials))
    return command("search", *selection(args), *named, *trials)
