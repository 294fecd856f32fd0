"""``hptransfer report``: what an experiment found, as a page, Markdown, figures and tables; or two experiments side by side."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from hptransfer import cli
from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.choice import arm_options
from hptransfer.report import compare
from hptransfer.report.build import build, rendered, require_folder, write
from hptransfer.report.live import follow, progress
from hptransfer.report.terminal import show
from hptransfer.runs import Store
from hptransfer.trainers import resolve
from hptransfer.transfer.axes import cell_words
from hptransfer.validate.comparison import comparison_of, paired
from hptransfer.validate.results import Results, load_results


def main(args: argparse.Namespace) -> None:
    """Read the store, see what stands of it, and write the report's folder."""
    if args.compare:
        both = "with --compare, which names two experiments and reads the predictions of both"
        cli.refuse_unheeded(args, both, "experiment", "predictions")
        _compare(args)
        return
    experiment = load_experiment(args.experiment, args.set)
    folder = Path(args.output or Path("reports") / experiment.name)
    store, options = Store(args.store), cli.selection(args)
    require_folder(folder, "report.md")
    last = follow(experiment, store, resolve, folder, args.predictions, options) if args.live else None
    try:
        results = load_results(experiment, store, resolve, args.predictions)
    except UsageError:
        if last is None:
            raise
        results = last  # the store is away, or empty
    cli.console.print(
        f"experiment {experiment.name}, held out {cell_words(experiment.target_cell)}, store {args.store}, report {folder}",
    )
    summary, document, files = build(results, options)
    written = write(folder, files)
    show(document)
    following = summary.missing[0].command if summary.missing else _export(results, cli.selection(args, store=False))
    cli.finish(args, summary.model_dump(mode="json"), written=written, next_command=following)
    done, planned = progress(results)
    if args.live and done < planned:
        raise KeyboardInterrupt


def _export(results: Results, options: Sequence[str]) -> str:
    """The command that exports the arm of the lowest loss at the held-out width."""

    def loss(arm: str) -> float:
        run = results.validations[arm].predicted
        return math.inf if run is None or run.loss is None else run.loss

    lowest = min((arm.name for arm in results.arms), key=loss)
    return command("export", *options, *arm_options([lowest]), "--target", "json")


def _compare(args: argparse.Namespace) -> None:
    """``--compare A B``: read both, write reports/compare-A-B/."""
    a, b = (load_experiment(name, args.set) for name in args.compare)
    names: tuple[str, str] = (a.name, b.name) if a.name != b.name else tuple(args.compare)
    _require_two(args.compare, a, b)
    store = Store(args.store)
    both = load_results(a, store, resolve, allow_empty=True), load_results(b, store, resolve, allow_empty=True)
    if not any(found.records for found in both):
        raise UsageError(f"store {store.location} holds no run of {names[0]} and none of {names[1]}: there is nothing to compare")
    folder = Path(args.output or f"reports/compare-{a.name}-{b.name}")
    cli.console.print(f"{names[0]} against {names[1]}, store {args.store}, report {folder}")
    require_folder(folder, "compare.md")
    comparison = comparison_of(*both, names)
    document, frames = compare.document(both, comparison)
    summary = {"summary.json": comparison.model_dump_json(indent=1) + "\n"}
    written = write(folder, summary | rendered(document, frames, "compare.md"))
    show(document)
    cli.finish(args, comparison.model_dump(mode="json"), written=written)


def _require_two(arguments: Sequence[str], a: Experiment, b: Experiment) -> None:
    if a == b:
        raise UsageError(f"--compare {' '.join(arguments)}: they are the same experiment")
    if not paired(a, b):
        both = " and ".join(", ".join(arm.name for arm in one.compared) for one in (a, b))
        raise UsageError(f"--compare {' '.join(arguments)}: they have no arm in common ({both})")
