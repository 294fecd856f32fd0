"""Comparing two experiments from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.report.build import drawings, require_folder, write
from hptransfer.report.compare import words
from hptransfer.report.compare.figures import comparison_sections
from hptransfer.report.compare.frames import FRAMES
from hptransfer.report.compare.page import render_markdown, render_page
from hptransfer.report.compare.result import comparison_of, paired
from hptransfer.report.results import load_results
from hptransfer.runs import Store
from hptransfer.trainers import resolve


def compare(args: argparse.Namespace) -> None:
    """``report --compare A B``: read both, write reports/compare-A-B/."""
    experiments = [load_experiment(name, args.set) for name in args.compare]
    names = _names(args.compare, experiments)
    _require_two(args.compare, experiments)
    store = Store(args.store)
    results = [load_results(one, store, resolve, allow_empty=True) for one in experiments]
    if not any(found.records for found in results):
        raise UsageError(f"store {store.location} holds no run of {names[0]} and none of {names[1]}: there is nothing to compare")
    folder = Path(args.output or f"reports/compare-{experiments[0].name}-{experiments[1].name}")
    cli.console.print(f"{names[0]} against {names[1]}, store {args.store}, report {folder}")
    require_folder(folder, "compare.md")
    comparison = comparison_of(results[0], results[1], names)
    frames = {name: make(results[0], results[1], comparison) for name, make in FRAMES.items()}
    evidence = comparison_sections(frames, comparison)
    files = {
        "index.html": render_page(comparison, evidence),
        "summary.json": comparison.model_dump_json(indent=1) + "\n",
        "compare.md": render_markdown(comparison, evidence),
    }
    files |= {f"tables/{name}.csv": frame.write_csv() for name, frame in frames.items()}
    written = write(folder, files | drawings(evidence))
    for pairing in comparison.arms:
        ratio = f"{names[1]} / {names[0]}"
        cli.table(f"{pairing.name}; intervals 80 %", ("", names[0], names[1], ratio), words.rows(pairing))
    if comparison.settings:
        rows = [(setting.name, setting.a or words.ABSENT, setting.b or words.ABSENT) for setting in comparison.settings]
        cli.table("settings that differ", ("setting", *names), rows)
    for sentence in (*words.findings(comparison), *comparison.caveats):
        cli.console.print(sentence)
    cli.finish(args, comparison.model_dump(mode="json"), written=written)


def _names(arguments: list[str], experiments: list[Experiment]) -> tuple[str, str]:
    """What the two are called: by their names, or as they were asked for where those are the same."""
    one, other = (experiment.name for experiment in experiments)
    return (one, other) if one != other else (arguments[0], arguments[1])


def _require_two(arguments: list[str], experiments: list[Experiment]) -> None:
    a, b = experiments
    if a == b:
        raise UsageError(f"--compare {arguments[0]} {arguments[1]}: they are the same experiment")
    if not paired(a, b):
        both = " and ".join(", ".join(arm.name for arm in one.compared) for one in experiments)
        raise UsageError(f"--compare {arguments[0]} {arguments[1]}: they have no arm in common ({both})")
