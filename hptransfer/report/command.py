"""``python -m hptransfer.report``: what an experiment found, as a page, Markdown, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hptransfer import cli
from hptransfer.experiment import load_experiment
from hptransfer.report import text
from hptransfer.report.build import build, write
from hptransfer.report.compare.command import compare
from hptransfer.report.results import label, load_results
from hptransfer.report.summary import Answer, Summary
from hptransfer.store import Store


def main(argv: Sequence[str] | None = None) -> None:
    """Read the store, the predictions and the validations; write the report's folder."""
    parser = cli.parser("report", "Report what an experiment found: one offline page, Markdown, figures and tables.")
    parser.add_argument("--output", metavar="FOLDER", help="report folder (reports/<experiment>/)")
    parser.add_argument(
        "--predictions", nargs="+", default=[], metavar="FILE", help="prediction files (predictions/<recipe>-<width>.json)"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="two experiments (names or files) side by side, in reports/compare-A-B/"
    )
    args = parser.parse_args(argv)
    if args.compare:
        compare(args)
        return
    experiment = load_experiment(args.experiment, args.set)
    folder = Path(args.output or Path("reports") / experiment.name)
    results = load_results(experiment, Store(args.store), folder, args.predictions)
    cli.console.print(
        f"experiment {experiment.name}, held-out width {experiment.target_width}, store {args.store}, report {folder}",
        markup=False,
    )
    options = " " + cli.selection(args)
    summary, files = build(results, options)
    written = write(folder, files)

    columns = ("optimizer", "LR", "80 %", "WD", "regret", "FLOPs speedup")
    cli.table(f"width {experiment.target_width}", columns, [_row(answer) for answer in summary.optimizers])
    for part in summary.missing:
        cli.console.print(f"missing: {part.sentence}", markup=False)
    cli.finish(args, summary.model_dump(mode="json"), written=written, next_command=_next(summary, options))


def _row(answer: Answer) -> tuple[str, ...]:
    name, found = label(answer.series), answer.hyperparameters
    if found is None:
        return name, "-", "-", "-", "-", "-"
    speedup = answer.speedup.compute_multiplier.get("flops") if answer.speedup else None
    return (
        name,
        text.plain(found.lr.value),
        text.bounds(found.lr),
        text.plain(found.weight_decay.value),
        "-" if answer.regret is None else text.percent(answer.regret.value),
        "-" if speedup is None else text.multiplier(speedup),
    )


def _next(summary: Summary, options: str) -> str:
    if summary.missing:
        return summary.missing[0].command
    best = summary.optimizers[-1]
    parametrization = "" if best.parametrization == "mup" else f" --parametrization {best.parametrization}"
    return f"python -m hptransfer.export{options} --optimizer {best.optimizer}{parametrization} --target json"
