"""``hptransfer laws``: fit a scaling law to a table of runs or a store, and predict from it; compare laws, and shake them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from hptransfer import cli
from hptransfer.base.config import checked, override
from hptransfer.base.errors import UsageError
from hptransfer.base.words import ends, plain
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.membership import Members, best_runs, members
from hptransfer.laws import LAWS
from hptransfer.laws.columns import assignments, law_table, lowest, training_flops
from hptransfer.laws.compare import FEW, compare
from hptransfer.laws.counts import count
from hptransfer.laws.curves import STEP, curve_table
from hptransfer.laws.examination import Examination, examine, held_out_table, predicted_intervals
from hptransfer.laws.ladder import ladder
from hptransfer.laws.law import Law
from hptransfer.laws.sensitivity import sensitivity
from hptransfer.laws.series import curve_of, curve_pairs
from hptransfer.runs import Store
from hptransfer.runs.sources.reading import read_rows
from hptransfer.trainers import resolve
from hptransfer.transfer.axes import cell_words

if TYPE_CHECKING:
    from hptransfer.report.document import Document
    from hptransfer.report.frames import Frames

COMPARED = ("chinchilla", "skaling", "farseer")

# Options that an action would not heed.
OF_PLACES = ("at", "to")  # to predict for
UNHEEDED = {
    "fit": (*OF_PLACES, "output"),
    "predict": ("flops", "output"),
    "plot": OF_PLACES,
    "compare": (*OF_PLACES, "option", "flops"),
    "sensitivity": (*OF_PLACES, "hold_out", "output"),
    "series": (*OF_PLACES, "table", "scale", "loss", "where", "hold_out", "lowest", "convention", "option", "flops"),
}


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 where the rows cannot say what the law asks; errors are raised."""
    cli.refuse_unheeded(args, f"by laws {args.action}", *UNHEEDED[args.action])
    if args.table:
        cli.refuse_unheeded(args, "with --table", "store", "experiment", "set")
    else:
        cli.refuse_unheeded(args, "without --table", "source")
    if args.action == "series":
        _series(args)
        return 0
    frame, scale = _frame(args), assignments(args.scale or "")
    if args.convention:
        if "N" in scale:
            raise UsageError("--convention counts N, and --scale says it too; leave one out")
        frame, scale = frame.with_columns(count(frame, args.convention).alias("N")), scale | {"N": "N"}
    actions = {"fit": _fit, "predict": _predict, "plot": _plot, "compare": _compare, "sensitivity": _sensitivity}
    actions[args.action](args, frame, scale)
    return 0


def _frame(args: argparse.Namespace) -> pl.DataFrame:
    """The rows of a table, or of the experiment's cells in the store: of each arm and cell the best that was found, or for a law
    of curves the points of all of them."""
    if args.table:
        return read_rows(args.table, args.source).where(args.where).frame
    experiment, found = _members(args)
    is_of_curves = bool(args.law) and any(STEP in LAWS.get(name).needs for name in args.law)
    frame = curve_table(found.searched) if is_of_curves else ladder(experiment, found)
    if frame.is_empty():
        raise UsageError(
            f"store {args.store} has no finished run of experiment {experiment.name}; give --table, or another --store"
        )
    return read_rows(frame).where(args.where).frame


def _members(args: argparse.Namespace) -> tuple[Experiment, Members]:
    experiment = load_experiment(args.experiment, args.set)
    return experiment, members(Store(args.store).require_records().values(), experiment, resolve)


def _series(args: argparse.Namespace) -> None:
    """Whether the training curves of an arm's sizes cross, each at its best run."""
    if args.law:
        raise UsageError(f"laws series is of no law: leave {','.join(args.law)} out")
    experiment, found = _members(args)
    curves = {
        arm: {cell_words({name: one.point.scales[name] for name in experiment.searched_cells[0]}): curve_of(one) for one in best}
        for arm, runs in found.searched.items()
        if (best := best_runs(experiment, runs))
    }
    pairs = {arm: curve_pairs(found) for arm, found in curves.items()}
    shown = [{"arm": arm} | one.words for arm, found in pairs.items() for one in found]
    title = f"{experiment.name}: training curves of the best run of each size, where two have the same FLOPs"
    cli.table(title, [*(shown[0] if shown else ())], [[*row.values()] for row in shown])
    written = []
    if args.output:
        from hptransfer.report.series import series_page

        written = _written(args.output, *series_page(experiment, curves, pairs, **_origin(args)))
    rows = [{"arm": arm} | asdict(one) for arm, found in pairs.items() for one in found]
    cli.finish(args, {"experiment": experiment.name, "pairs": rows}, written=written)


def _written(folder: str, document: Document, frames: Frames) -> list[str]:
    from hptransfer.report.build import write_page  # altair takes a second

    return write_page(Path(folder), "law.md", document, frames)


def _law(args: argparse.Namespace) -> Law:
    """The only law that is named, with its options."""
    if len(args.law or ()) != 1:
        raise UsageError(f"laws {args.action} needs the name of one law: {', '.join(LAWS.names())}")
    (name,) = args.law
    return checked(LAWS.get(name), override({}, args.option, "--option"), f"law {name}")


def _examined(args: argparse.Namespace, frame: pl.DataFrame, scale: dict[str, str]) -> Examination:
    frame, notes = _lowest(args, frame)
    found = examine(frame, _law(args), scale, args.loss, args.hold_out)
    if "N" in found.table.columns and (args.convention or not args.table):
        notes.append(f"N counts the parameters by the convention {args.convention or 'all'}")
    return replace(found, notes=(*notes, *found.notes))


def _lowest(args: argparse.Namespace, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The best rows of sweeps, where that is asked for, and what must be said of them."""
    if not args.lowest:
        return frame, []
    frame, note = lowest(frame, args.lowest, args.loss or "loss")
    return frame, [note]


def _fit(args: argparse.Namespace, frame: pl.DataFrame, scale: dict[str, str]) -> None:
    found = _examined(args, frame, scale)
    _say(found, args.flops)
    cli.finish(args, found.as_dict(args.flops))


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        cli.console.print(f"note: {note}")


def _say(found: Examination, flops: tuple[float, ...]) -> None:
    held = found.held_out  # before anything is said: it may refuse
    rows = [[name, plain(one.value, 4), ends(one, lambda end: plain(end, 4))] for name, one in found.fitted.parameters.items()]
    cli.table(f"{found.law.name}: {found.law.summary}; {found.fitted.points} runs", ["parameter", "value", "80 % interval"], rows)
    best = [
        [plain(one.flops), *(f"{plain(value.value)} ({ends(value)})" for value in (one.N, one.D, one.tokens_per_parameter))]
        for one in found.optimal(flops)
    ]
    if best:
        cli.table("compute-optimal; intervals 80 %", ["FLOPs", "parameters", "tokens", "tokens per parameter"], best)
    for finding in found.fitted.findings:
        cli.console.print(finding)
    if held.mean_relative_error is not None and held.max_relative_error is not None:
        error = f"mean error {held.mean_relative_error:.3%} of the loss, largest {held.max_relative_error:.3%}"
        cli.console.print(f"held out ({held.where}, {held.rows} runs): {error}")
    else:
        cli.console.print(f"nothing is held out: {held.reason}")
    _tell(found.notes)


def _predict(args: argparse.Namespace, frame: pl.DataFrame, scale: dict[str, str]) -> None:
    """Losses of the rows of another table, of places that are said one by one, or of what is held out."""
    found = _examined(args, frame, scale)
    if args.to:
        asked, notes = law_table(read_rows(args.to).frame, type(found.law), scale, None, to_predict=True)
    elif args.at:
        places = [{name: _value(text) for name, text in assignments(at).items()} for at in args.at]
        asked, notes = law_table(read_rows(places).frame, type(found.law), {}, None, to_predict=True)
    else:
        asked, notes = found.table.filter("held_out") if args.hold_out else found.table, ()
    predicted = predicted_intervals(found.fitted.predict(asked))
    named = [column.name for column in found.law.needs]
    rows = [dict(zip(named, row, strict=True)) for row in asked.select(named).iter_rows()]
    shown = [
        [
            *(value if isinstance(value, str) else plain(value) for value in row.values()),
            "-" if one is None else f"{one.value:.4f}",
            "-" if one is None else ends(one, "{:.4f}".format),
        ]
        for row, one in zip(rows, predicted, strict=True)
    ]
    cli.table(f"{found.law.name}: predicted loss, a model's output", [*named, "loss", "80 % interval"], shown)
    notes = (*found.notes, *notes, *found.fitted.caveats(asked))
    _tell(notes)
    results = [row | {"loss": one and one.model_dump()} for row, one in zip(rows, predicted, strict=True)]
    cli.finish(args, {"law": found.law.name, "predicted": results, "notes": list(notes)})


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _plot(args: argparse.Namespace, frame: pl.DataFrame, scale: dict[str, str]) -> None:
    from hptransfer.report.laws import law_page

    found = _examined(args, frame, scale)
    _say(found, args.flops)
    about = "" if args.table else load_experiment(args.experiment, args.set).description
    document, frames = law_page(_source(args), found, args.flops, about, **_origin(args))
    written = _written(args.output or f"reports/law-{found.law.name}", document, frames)
    cli.finish(args, found.as_dict(args.flops), written=written)


def _source(args: argparse.Namespace) -> str:
    """What was read, in words."""
    return Path(args.table).name if args.table else f"experiment {args.experiment}"


def _origin(args: argparse.Namespace) -> dict[str, str]:
    return {"table": args.table} if args.table else {"experiment": args.experiment, "store": args.store}


def _compare(args: argparse.Namespace, frame: pl.DataFrame, scale: dict[str, str]) -> None:
    """Laws by what they predict of the rows that are held out."""
    laws = [LAWS.get(name)() for name in args.law or COMPARED]
    if len(laws) < 2:
        raise UsageError(f"compare takes two laws or more, such as {','.join(COMPARED)}")
    frame, lowered = _lowest(args, frame)
    tables = {law.name: held_out_table(frame, law, scale, args.loss, args.hold_out) for law in laws}
    ranks = compare(laws, {name: table for name, (table, _) in tables.items()})
    held = next(iter(tables.values()))[0]["held_out"]
    held_out = f"{held.sum()} of {len(held)} rows held out ({args.hold_out or 'the largest scale'})"
    cli.table(f"{held_out}; error relative to the loss", [*ranks[0].words], [[*one.words.values()] for one in ranks])
    notes = dict.fromkeys([*lowered, *(note for _, found in tables.values() for note in found)])
    if held.sum() < FEW:
        notes[f"{held.sum()} rows held out are few: what is told apart here may not be elsewhere"] = None
    _tell(f"{one.law} is refused: {one.refusal}" for one in ranks if one.refusal)
    _tell([*notes, *(f"{one.law}: {note}" for one in ranks for note in one.notes)])
    written = []
    if args.output:
        from hptransfer.report.laws import comparison_page

        written = _written(args.output, *comparison_page(_source(args), held_out, ranks, [*notes], **_origin(args)))
    ranked = [asdict(one) | {"more": one.more and one.more.model_dump()} for one in ranks]
    result = {"held_out": int(held.sum()), "points": len(held), "laws": ranked, "notes": [*notes]}
    cli.finish(args, result, written=written)


def _sensitivity(args: argparse.Namespace, frame: pl.DataFrame, scale: dict[str, str]) -> None:
    law, (frame, lowered) = _law(args), _lowest(args, frame)
    table, found = law_table(frame, type(law), scale, args.loss)
    notes = (*lowered, *found)
    asked, measured = args.flops, training_flops(table)
    flops = asked[0] if asked else math.nan if measured is None else float(measured.max())
    ratio, moved = sensitivity(law, table, flops)
    names = [name for name in moved[0].parameters if name not in ("A", "B")]
    rows = [
        [
            one.perturbation,
            *(plain(one.parameters[name], 4) for name in names),
            "-" if one.tokens_per_parameter is None else plain(one.tokens_per_parameter),
            "inside" if one.inside else "outside",
        ]
        for one in moved
    ]
    as_is = "no optimum" if ratio is None else f"{plain(ratio.value)} tokens per parameter ({ends(ratio)})"
    title = f"{law.name} if parameters were counted otherwise; as they are, at {plain(flops)} FLOPs: {as_is}"
    cli.table(title, ["N becomes", *names, "tokens per parameter", "of the 80 % interval"], rows)
    _tell(notes)
    result = {"law": law.name, "flops": flops, "tokens_per_parameter": ratio and ratio.model_dump()}
    cli.finish(args, result | {"perturbations": [asdict(one) for one in moved], "notes": list(notes)})
