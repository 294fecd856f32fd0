"""``python -m hptransfer.report``: what an experiment found, as a page, Markdown, figures and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.report.build import build, require_folder, write
from hptransfer.report.compare.command import compare
from hptransfer.report.live import follow, progress
from hptransfer.report.results import Results, Series, load_results, with_refusals
from hptransfer.report.summary import Summary
from hptransfer.report.terminal import show
from hptransfer.runs import Store


def main(argv: Sequence[str] | None = None) -> None:
    """Read the store, the predictions and the validations; write the report's folder."""
    parser = cli.parser("report", "Report what an experiment found: one offline page, Markdown, figures and tables.")
    parser.add_argument("--output", metavar="FOLDER", help="report folder (reports/<experiment>/)")
    parser.add_argument(
        "--predictions", nargs="+", default=[], metavar="FILE", help="prediction files (predictions/<recipe>-<width>.json)"
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
    read = follow(experiment, store, folder, args.predictions, options) if args.live else None
    results = with_refusals(read or load_results(experiment, store, folder, args.predictions))
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
    """The command that makes what is missing first, or that exports the optimizer of the lowest loss at the held-out width."""
    if summary.missing:
        return summary.missing[0].command
    optimizer, parametrization = min(results.series, key=lambda series: _loss(results, series))
    which = "" if parametrization == "mup" else f" --parametrization {parametrization}"
    return f"python -m hptransfer.export{options} --optimizer {optimizer}{which} --target json"


def _loss(results: Results, series: Series) -> float:
    """The mean loss of a predicted run; infinite where it diverged."""
    run = results.validations[series].predicted
    return math.inf if run is None or run.loss is None else run.loss
