"""``python -m hptransfer.report``: what an experiment found, as a page, Markdown, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hptransfer import cli
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.report.build import build, write
from hptransfer.report.compare.command import compare
from hptransfer.report.live import follow
from hptransfer.report.results import load_results
from hptransfer.report.summary import Summary
from hptransfer.report.terminal import show
from hptransfer.store import Store


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
        compare(args)
        return
    experiment = load_experiment(args.experiment, args.set)
    folder = Path(args.output or Path("reports") / experiment.name)
    store, options = Store(args.store), " " + cli.selection(args)
    interrupted = args.live and not _followed(experiment, store, folder, args.predictions, options)
    results = load_results(experiment, store, folder, args.predictions, allow_empty=args.live)
    cli.console.print(
        f"experiment {experiment.name}, held-out width {experiment.target_width}, store {args.store}, report {folder}",
        markup=False,
    )
    summary, files = build(results, options)
    written = write(folder, files)
    show(summary)
    cli.finish(args, summary.model_dump(mode="json"), written=written, next_command=_next(summary, options))
    if interrupted:
        raise KeyboardInterrupt


def _followed(experiment: Experiment, store: Store, folder: Path, predictions: Sequence[str], options: str) -> bool:
    """Whether a search was followed to its end, rather than until Ctrl-C."""
    try:
        follow(experiment, store, folder, predictions, options)
    except KeyboardInterrupt:
        return False
    return True


def _next(summary: Summary, options: str) -> str:
    if summary.missing:
        return summary.missing[0].command
    best = summary.optimizers[-1]
    parametrization = "" if best.parametrization == "mup" else f" --parametrization {best.parametrization}"
    return f"python -m hptransfer.export{options} --optimizer {best.optimizer}{parametrization} --target json"
