"""``hptransfer coordcheck``: whether every role moves by the same amount at every width."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hptransfer.base.commands import command
from hptransfer.base.config import checked, override
from hptransfer.base.errors import UsageError
from hptransfer.base.files import may_be_a_folder, replace
from hptransfer.base.jsons import to_json
from hptransfer.base.plugins import plugin_function
from hptransfer.cli import console, finish, number, selection, table
from hptransfer.coordcheck.check import JUDGED_STEPS, TOLERANCE, CheckResult, Run, check
from hptransfer.coordcheck.runs import shortened
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.choice import arm_options, chosen_arms
from hptransfer.experiment.membership import members
from hptransfer.experiment.settings import DataSpec
from hptransfer.optimizers import get_recipe
from hptransfer.runs import Point, Store
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.coordinates import CHECKS, check_file

# At the tuned learning rate single seeds are erratic (DESIGN section 9).
SHARE_OF_TUNED = 0.25
MOST_SEEDS = 1_000


@dataclass(frozen=True)
class Rate:
    """A learning rate in base coordinates, its ratio for embedding and readout, and where the two come from."""

    lr: float
    embedding_lr_ratio: float
    source: str


def main(args: argparse.Namespace) -> int:
    _refuse_bad_numbers(args)
    experiment, arms = chosen_arms(args)
    if len(arms) > 1:
        raise UsageError(f"one arm is checked at a time: name it with --optimizer ({', '.join(arm.name for arm in arms)})")
    arm = arms[0]
    name = f"{Path(args.model.rpartition(':')[0]).stem}-{arm.name}" if args.model else check_file(arm)
    name += "-with-options" if args.option else ""  # that of the arm itself stays
    output = Path(args.output or CHECKS / f"{name}.svg")
    if output.suffix != ".svg":
        raise UsageError(f"--output {output} does not end in .svg")
    if not may_be_a_folder(output.parent):
        raise UsageError(f"--output {output}: there is a file in the place of its folder")
    rate = _rate(args, experiment, arm)
    if experiment.under(arm).trainer and not args.model:
        raise UsageError(f"{arm.name} is a program of yours: only it knows its activations, and coordcheck cannot see them")
    data = load_corpus(experiment.under(arm).data).spec
    points = [_point(args, experiment, arm, data, rate, width) for width in args.widths]
    planned = _of_yours(args, arm, points) if args.model else _of_ours(args, points)
    _say_what_is_checked(args, arm, planned, rate)

    # torch and altair, which take seconds: what is asked for is right by now.
    from hptransfer.coordcheck.chart import svg

    began = time.monotonic()
    result = check(list(planned.measure()), args.steps)
    console.print(f"{len(args.widths) * args.seeds} runs in {time.monotonic() - began:.0f} s")
    verdict = result.verdict if result.passed else "; ".join((result.verdict, *planned.said_on_failure))
    _print(result, verdict)
    summary = _summary(args, arm, planned, rate, result) | {"verdict": verdict}
    what = f"{planned.title}: {arm.optimizer}" if args.model else arm.optimizer
    _write(output, svg(result, f"{what} under {arm.parametrization}: movement against width"), summary)
    finish(
        args,
        summary,
        written=[str(output), str(output.with_suffix(".json"))],
        next_command=command("search", *selection(args), *arm_options([arm.name])) if result.passed and not args.model else None,
    )
    return 0 if result.passed else 1


@dataclass(frozen=True)
class Planned:
    """The runs of a check. ``point``: one of them; ``title`` and ``model``: what is checked, in words and for the summary;
    ``said_on_failure``: what may be wrong with it."""

    point: Point
    title: str
    model: dict[str, Any]
    base_width: int
    measure: Callable[[], Iterable[Run]]
    said_on_failure: tuple[str, ...] = ()


def _of_ours(args: argparse.Namespace, points: Sequence[Point]) -> Planned:
    """Of the experiment's own model."""
    jobs = [resolve(point.replicate(seed)) for point in points for seed in range(args.seeds)]

    def measured() -> Iterable[Run]:
        from hptransfer.coordcheck.measure import measure

        return measure(jobs, args.steps)

    point = jobs[0].point
    model = {"depth": point["depth"], **point.settings["model"], "vocab": point.settings["data"]["vocab"]}
    return Planned(point, f"depth {point['depth']}", model, point.settings["base"]["width"], measured)


def _of_yours(args: argparse.Namespace, arm: Arm, points: Sequence[Point]) -> Planned:
    """Of the model that ``--model`` builds: the rules of each width with the smallest as the base."""
    from hptransfer.coordcheck.own import OwnRun, lacking, measure_own
    from hptransfer.modules.width import rules_between

    if arm.optimizer is None:
        raise UsageError(f"{arm.name} has no optimizer of ours, and the check of a model needs one: name it with --optimizer")
    model_fn = cast(Callable[[int], Any], plugin_function(args.model))
    overrides = dict(_role(text) for text in args.role)
    base, options = min(args.widths), points[0].settings["options"]
    rules = [
        rules_between(
            model_fn,
            base,
            width,
            arm.optimizer,
            options=options,
            parametrization=arm.parametrization,
            zero_readout=not args.as_built,
            overrides=overrides,
        )
        for width in sorted(args.widths, reverse=True)
    ]
    context = points[0].settings["model"]["context"]
    runs = [
        OwnRun(
            model_fn,
            one,
            seed=seed,
            lr=points[0]["lr"],
            embedding_lr_ratio=points[0]["embedding_lr_ratio"],
            as_built=args.as_built,
            data=DataSpec.model_validate(points[0].settings["data"]),
            sequences=points[0]["batch_tokens"] // context,
            context=context,
        )
        for one in rules
        for seed in range(args.seeds)
    ]
    console.print(str(rules[0]), highlight=False, soft_wrap=True)
    model = {"function": args.model, "as_built": args.as_built, "context": context, "unset": list(rules[0].unset)}
    return Planned(points[0], args.model, model, base, lambda: measure_own(runs, args.steps), lacking(runs[0]))


def _role(text: str) -> tuple[str, str]:
    pattern, equals, role = text.rpartition("=")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--role {text!r}: {error}") from None
    if not equals or not pattern:
        raise UsageError(f"--role {text!r} is not of the form REGEX=ROLE")
    return pattern, role


def _refuse_bad_numbers(args: argparse.Namespace) -> None:
    if len(set(args.widths)) < len(args.widths):
        raise UsageError(f"--widths {' '.join(map(str, args.widths))} names a width twice")
    if len(args.widths) < 2:
        raise UsageError(f"--widths {args.widths[0]}: a slope needs two widths or more")
    if not set(args.steps).intersection(JUDGED_STEPS):
        judged = f"{JUDGED_STEPS.start} to {JUDGED_STEPS.stop - 1}"
        raise UsageError(f"--steps {' '.join(map(str, args.steps))}: none is from {judged}, which are the steps that are judged")
    if args.seeds > MOST_SEEDS:
        raise UsageError(
            f"--seeds {args.seeds} is more than {MOST_SEEDS}: each is a run at every width, and a median needs a few"
        )
    if not args.model and (args.role or args.as_built):
        raise UsageError(f"{'--role' if args.role else '--as-built'} is of a model of yours: name it with --model")


def _rate(args: argparse.Namespace, experiment: Experiment, arm: Arm) -> Rate:
    """``--lr``, else a quarter of the best finished run's at the smallest width in the store, else of the search's centre. The
    store's runs say nothing of a model of yours."""
    space, found = experiment.space(arm), members(Store(args.store).records().values(), experiment, resolve)
    runs = [
        (record.point["width"], record.loss, record.run_id, record.point)
        for record in (*found.searched.get(arm.name, ()), *found.held_out.get(arm.name, ()))
        if record.loss is not None and not args.model
    ]
    if runs:
        width, _, run_id, best = min(runs, key=lambda run: run[:3])
        lr, ratio = best["lr"], best["embedding_lr_ratio"]
        origin = f"the best run at width {width} in store {args.store} ({run_id})"
    else:
        values = space.embedding_lr_ratio.values
        lr, ratio = space.lr.at(0.5), values[len(values) // 2]
        origin = "the centre of the search space" + ("" if args.model else f" (store {args.store} has no finished run)")
    if args.lr is not None:
        return Rate(args.lr, ratio, f"--lr, ratio from {origin}")
    return Rate(SHARE_OF_TUNED * lr, ratio, f"a quarter of {number(lr)}, from {origin}")


def _point(args: argparse.Namespace, experiment: Experiment, arm: Arm, data: DataSpec, rate: Rate, width: int) -> Point:
    """Without weight decay: the check is of the learning rates, and decay has a width rule of its own."""
    point = experiment.point(arm, data, width=width, lr=rate.lr, weight_decay=0.0, embedding_lr_ratio=rate.embedding_lr_ratio)
    recipe_options = override(point.settings["options"], args.option, "--option")
    optimizer = point.settings["optimizer"]
    checked(get_recipe(optimizer).options, recipe_options, f"--option of {optimizer}")
    return shortened(point.at(options=recipe_options), max(args.steps))


def _say_what_is_checked(args: argparse.Namespace, arm: Arm, planned: Planned, rate: Rate) -> None:
    settings = planned.point.settings
    model, data = settings["model"], settings["data"]
    batch = f"{planned.point['batch_tokens'] // model['context']} x {model['context']}"
    console.print(
        f"coordinate check of {arm.optimizer} under {arm.parametrization}: widths {', '.join(map(str, sorted(args.widths)))} "
        f"(base {planned.base_width}), {planned.title}, seeds {args.seeds}, "
        f"corpus {data['corpus']}, batch {batch} tokens, constant schedule, no weight decay\n"
        f"lr {number(rate.lr)}, embedding and readout x {number(rate.embedding_lr_ratio)}: {rate.source}"
        + (f"; options {', '.join(args.option)}" if args.option else "")
    )


def _print(result: CheckResult, verdict: str) -> None:
    table(
        "RMS of h(t) - h(0) by width and its log-log slope; medians over seeds",
        ["role", "t", "slope", "of single seeds", "", *map(str, result.lines[0].widths)],
        [
            [
                line.activation,
                line.step,
                "-" if line.slope is None else f"{line.slope:+.3f}",
                f"{min(line.slopes):+.3f} to {max(line.slopes):+.3f}" if line.slopes else "-",
                line.outcome,
                *map(number, line.rms),
            ]
            for line in result.lines
        ],
    )
    console.print(verdict)


def _summary(args: argparse.Namespace, arm: Arm, planned: Planned, rate: Rate, result: CheckResult) -> dict[str, Any]:
    point, settings = planned.point, planned.point.settings
    return {
        "arm": arm.name,
        "optimizer": arm.optimizer,
        "parametrization": arm.parametrization,
        "passed": result.passed,
        "verdict": result.verdict,
        "tolerance": TOLERANCE,
        "lr": rate.lr,
        "embedding_lr_ratio": rate.embedding_lr_ratio,
        "lr_source": rate.source,
        "options": settings["options"],
        "changes": arm.changes,
        "model": planned.model,
        "base_width": planned.base_width,
        "widths": sorted(args.widths),
        "seeds": args.seeds,
        "batch_sequences": point["batch_tokens"] // settings["model"]["context"],
        "corpus": settings["data"],
        "slopes": [
            {
                "role": line.activation,
                "step": line.step,
                "slope": line.slope,
                "slopes_by_seed": line.slopes,
                "outcome": line.outcome,
                "rms": dict(zip(map(str, line.widths), line.rms, strict=True)),
            }
            for line in result.lines
        ],
        "diverged": list(result.diverged),
    }


def _write(output: Path, chart: str, summary: dict[str, Any]) -> None:
    replace(output, chart)
    replace(output.with_suffix(".json"), to_json(summary, indent=1) + "\n")
