"""``python -m hptransfer.report``: what an experiment found, as a page, Markdown, figures and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.experiment.choice import arm_options
from hptransfer.report.build import build, require_folder, write
from hptransfer.report.compare.command import compare
from hptransfer.report.live import follow, progress
from hptransfer.report.results import Results, load_results
from hptransfer.report.summary import Summary
from hptransfer.report.terminal import show
from hptransfer.runs import Store
from hptransfer.trainers import resolve


def main(argv: Sequence[str] | None = None) -> None:
    """Read the store, see what stands of it, and write the report's folder."""
    parser = cli.parser("report", "Report what an experiment found: one offline page, Markdown, figures and tables.")
    parser.add_argument("--output", metavar="FOLDER", help="report folder (reports/<experiment>/)")
    parser.add_argument(
        "--predictions", nargs="+", default=[], metavar="FILE", help="instead of those that the runs in the store give"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--live", action="store_true", help="follow a search that runs: a page that keeps itself up to date")
    kind.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="two experiments (names or files) side by side, in reports/compare-A-B/"
    )
    args = parser.parse_args(argv)
    if args.compare:
        for option in ("experiment", "predictions"):
            if getattr(args, option) != parser.get_default(option):
                raise UsageError(f"--{option} does not go with --compare, which reads the predictions of both its experiments")
        compare(args)
        return
    experiment = load_experiment(args.experiment, args.set)
    folder = Path(args.output or Path("reports") / experiment.name)
    store, options = Store(args.store), " " + cli.selection(args)
    require_folder(folder, "report.md")
    last = follow(experiment, store, resolve, folder, args.predictions, options) if args.live else None
    try:
        results = load_results(experiment, store, resolve, args.predictions)
    except UsageError:
        if last is None:
            raise
        results = last  # the store is away, or empty
    cli.console.print(
        f"experiment {experiment.name}, held-out width {experiment.target_width}, store {args.store}, report {folder}",
    )
    summary, files = build(results, options)
    written = write(folder, files)
    show(summary)
    cli.finish(args, summary.model_dump(mode="json"), written=written, next_command=_next(results, summary, options))
    done, planned = progress(results)
    if args.live and done < planned:
        raise KeyboardInterrupt


def _next(results: Results, summary: Summary, options: str) -> str:
    """The command that makes what is missing first, or that exports the arm of the lowest loss at the held-out width."""
    if summary.missing:
        return summary.missing[0].command
    lowest = min(results.arms, key=lambda arm: _loss(results, arm.name))
    return f"python -m hptransfer.export{options} {arm_options([lowest.name])} --target json"


def _loss(results: Results, arm: str) -> float:
    """The mean loss of a predicted run; infinite where it diverged."""
    run = results.validations[arm].predicted
    return math.inf if run is None or run.loss is None else run.loss
