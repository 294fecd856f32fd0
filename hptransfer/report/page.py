"""The report of one experiment as a document: the verdicts first, then what to set, the evidence, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
import yaml

from hptransfer.base.commands import command
from hptransfer.base.errors import one_line
from hptransfer.base.words import (
    duration,
    ends,
    known,
    percent,
    percent_ends,
    plain,
    share,
    signed,
    size,
    times,
    within,
    within_percent,
)  # fmt: skip
from hptransfer.experiment.choice import arm_options
from hptransfer.report import clipping, numbers
from hptransfer.report.document import Card, Document, Number, Section, Table
from hptransfer.report.evidence import evidence
from hptransfer.report.frames import Frames
from hptransfer.transfer.prediction import Check, Drift, HoldOut
from hptransfer.validate.result import AXES, Axis
from hptransfer.validate.sentences import Verdict
from hptransfer.validate.summary import Answer, Summary

COORDINATES = "Learning rates are in base coordinates. Weight decay is the final, independent value at the held-out width."
CHECKS = "What the predictions rest on."
SOURCES = {"fitted": "identified", "rule": "not identified, rule used", "frozen": "kept"}  # of a value without an interval
UNKNOWN: dict[Axis, str] = {  # why there is no multiplier on an axis
    "flops_with_optimizer": "the optimizers' own are not known",
    "wall_clock": "not timed, or on different devices",
}
# Name on the page, column of `frames.run_table`, and how page.js writes it.
RUN_COLUMNS = (
    ("arm", "arm", "text"),
    ("width", "width", "text"),
    ("LR", "lr", "plain"),
    ("WD", "weight_decay", "plain"),
    ("LR ratio", "embedding_lr_ratio", "plain"),
    ("seed", "init_seed", "text"),
    ("state", "state", "text"),
    ("loss", "loss", "loss"),
    ("tokens", "tokens", "count"),
    ("FLOPs", "all_flops", "power"),
    ("seconds", "training_wall_seconds", "plain"),
    ("run", "run_id", "text"),
    ("reason", "reason", "text"),
)


def document(summary: Summary, frames: Frames, runs: pl.DataFrame, options: Sequence[str], live: Sequence[str] = ()) -> Document:
    """The document. ``options`` are appended to the commands that are named; ``live`` are the lines of a page that follows a
    search."""
    scale, answers = summary.scale, summary.arms
    where = scale.where
    told = numbers.section(answers, summary.pairs, where), clipping.section(summary.clipping), checks(answers), failures(runs)
    return Document(
        title=summary.experiment,
        lead=(
            *filter(None, [summary.description]),
            f"Speaks about {where}: {scale.words}.",
            f"Tuned only at {scale.searched}. The base width is {scale.base_width}.",
            f"{COORDINATES} Intervals are 80 %.",
        ),
        overview=overview(answers),
        verdicts=statements(answers),
        headlines=statements(answers, first=True),
        cards=tuple(card(answer, where, options) for answer in answers),
        sections=(
            *evidence(frames, answers, where, options, [[answer.arm] for answer in answers]),
            *filter(None, (*told, run_section(runs))),
            provenance(summary),
        ),
        missing=summary.missing,
        live=tuple(live),
    )


# -- the answer --------------------------------------------------------------------------------------------------------


def overview(answers: Sequence[Answer]) -> Table:
    """A line for each arm."""
    return Table.of(_line(answer) for answer in answers)


def _line(answer: Answer) -> dict[str, str]:
    lr, decay, headline = answer.hyperparameters.get("lr"), answer.weight_decay, answer.speedup and answer.speedup.headline
    return {
        "arm": answer.arm,
        "learning rate": within(lr) if lr else "-",
        "weight decay": within(decay) if decay else "-",
        "expected regret": known(answer.expected_regret, percent),
        "measured regret": within_percent(answer.regret) if answer.regret else "-",
        "speedup over the baseline": f"{headline[1].in_full} on {AXES[headline[0]]}" if headline else "-",
    }


def statements(answers: Sequence[Answer], *, first: bool = False) -> tuple[Verdict, ...]:
    """All that was found of the arms, each by its name; or what comes ``first``, and what is wrong."""
    return tuple(
        verdict if verdict.text.startswith(f"{answer.arm} ") else Verdict(text=f"{answer.arm}: {verdict.text}", tone=verdict.tone)
        for answer in answers
        for place, verdict in enumerate(answer.verdicts)
        if not first or place == 0 or verdict.tone == "bad"
    )


def card(answer: Answer, where: str, options: Sequence[str]) -> Card:
    """What to set, how sure that is, and what it saves."""
    rows = (
        {"role": role, "learning rate": plain(n.lr), "weight decay": plain(n.weight_decay), "epsilon": _epsilons(n.epsilons)}
        for role, n in answer.roles.items()
    )
    roles, axes = Table.of(rows, f"Final values at {where}"), Table.of(_axes(answer), "Compute for the same loss")
    return Card(
        title=answer.arm,
        hue=answer.colour,
        mark=answer.prediction or "",
        verdicts=answer.verdicts,
        numbers=tuple(_numbers(answer)) if answer.hyperparameters else (),
        tables=tuple(filter(None, (roles, axes))),
        notes=tuple(filter(None, [_overhead(answer)])),
        copy=_copy(answer, where, options) if answer.hyperparameters else "",
    )


def _numbers(answer: Answer) -> Sequence[Number]:
    lr, decay, is_program = answer.hyperparameters["lr"], answer.weight_decay, answer.parametrization == "unknown"
    found = [Number("Learning rate", plain(lr.value), ends(lr), "as the program takes it" if is_program else "base coordinates")]
    if decay is None:
        found.append(Number("Weight decay", "-", "", "not tuned"))
    else:
        is_known = decay.low is not None or decay.high is not None
        note = "final value" if is_known else f"final value, {SOURCES[decay.status]}"
        found.append(Number("Weight decay", plain(decay.value), ends(decay) if is_known else "", note))
    expected = f"expected {known(answer.expected_regret, percent)}"
    measured = (percent(answer.regret.value), percent_ends(answer.regret)) if answer.regret else ("-", "")
    found.append(Number("Measured regret", *measured, expected))
    if answer.speedup and (headline := answer.speedup.headline):
        found.append(Number("Speedup", headline[1].words, headline[1].ends, f"on {AXES[headline[0]]}"))
    return found


def _axes(answer: Answer) -> Iterator[dict[str, str]]:
    for axis, name in AXES.items() if answer.speedup else ():
        found = answer.speedup and answer.speedup.compute_multiplier.get(axis)
        words, ends = (found.words, found.ends) if found else ("-", UNKNOWN.get(axis, "not known"))
        yield {"the baseline needs": name, "multiple": words, "interval": ends}


def _epsilons(values: dict[str, float]) -> str:
    """By the names of their options; the one that is just ``eps`` without its name."""
    return ", ".join(plain(value, 2) if name == "eps" else f"{name} {plain(value, 2)}" for name, value in values.items())


def _overhead(answer: Answer) -> str:
    if not (spent := answer.overhead):
        return ""
    words = (
        f"The optimizer itself takes {share(spent.time_share)} of the training time and {share(spent.flops_share)} of the FLOPs."
    )
    if spent.against_baseline is not None and not answer.is_baseline:
        words += f" A token takes {times(spent.against_baseline)} the baseline's seconds."
    if spent.state_bytes is not None:
        each = spent.state_bytes_per_parameter
        words += f" Its state is {size(spent.state_bytes)}"
        words += "." if each is None else f", {plain(each, 2)} bytes per parameter."
    return words


def _copy(answer: Answer, where: str, options: Sequence[str]) -> str:
    """YAML of the values to be set, and how to have them in a trainer's own format."""
    if not answer.roles:
        values: dict[str, Any] = {name: float(f"{found.value:.4g}") for name, found in answer.hyperparameters.items()}
        return f"# {answer.arm} at {where}, as the program takes them\n{yaml.safe_dump(values, sort_keys=False)}".rstrip()
    head = (
        f"# {answer.arm} at {where}: final values, nothing is left to scale.\n"
        "# weight_decay: independent of the LR. weight_decay_coupled: what torch's AdamW takes,\n"
        "# which decays by lr times it. In a trainer's own format:\n"
        f"# {one_line(command('export', *options, *arm_options([answer.arm]), '--target', 'json'))}\n"
    )
    roles = {
        role: {"lr": n.lr, "weight_decay": n.weight_decay, "weight_decay_coupled": n.weight_decay / n.lr if n.lr else 0.0}
        | n.epsilons
        for role, n in answer.roles.items()
    }
    rounded = {role: {name: float(f"{value:.5g}") for name, value in found.items()} for role, found in roles.items()}
    return head + yaml.safe_dump(rounded, sort_keys=False, default_flow_style=None, width=200).rstrip()


# -- what it rests on --------------------------------------------------------------------------------------------------


def checks(answers: Sequence[Answer]) -> Section:
    """What the predictions rest on."""
    table = check_table(((answer.arm, answer.checks, _grounds(answer)) for answer in answers), "arm")
    rules = rule_table(((answer.arm, answer.drifts) for answer in answers), "arm")
    remarks = () if table else ("Checks come with a prediction.",)
    return Section("checks", "Checks", CHECKS, tables=tuple(filter(None, [table, rules])), remarks=remarks)


def rule_table(found: Iterable[tuple[str, Iterable[Drift]]], what: str) -> Table:
    """Every rule that competed for an arm, or ``what`` else was predicted, of each hyperparameter along each scale."""
    rows = [
        {
            what: name,
            "optimum": f"{drift.hyperparameter} ~ {drift.scale}^",
            "fit alone": fit_alone(drift),
            "rule": rule.name,
            "exponent": known(rule.exponent, signed),
            "inside": {None: "-", True: "yes", False: "no"}[rule.inside],
            "weight": f"{rule.weight:.0%}",
            "source": rule.source,
        }
        for name, drifts in found
        for drift in drifts
        for rule in drift.rules
    ]
    return Table.of(rows, "The rules that competed, with their weights by prior and runs. Inside: in the interval of the fit.")


def fit_alone(drift: Drift) -> str:
    """The line through the optima alone, with its interval."""
    return "-" if drift.fitted is None else f"{signed(drift.fitted)} [{known(drift.low, signed)}, {known(drift.high, signed)}]"


def _grounds(answer: Answer) -> Iterator[tuple[str, str]]:
    """What beside its checks a prediction rests on: names with words, which may be empty."""
    for drift in answer.drifts:
        theory = "no theory" if drift.theory is None else f"theory {signed(drift.theory)}"
        fit = "no fit" if drift.fitted is None else f"fit alone {fit_alone(drift)}"
        yield (
            f"drift of the best {drift.hyperparameter} with {drift.scale}",
            f"{theory}, {fit}, used {signed(drift.used)}: {drift.reason}",
        )
    yield from held_out(answer.hold_out, "LR ")
    yield "weight decay", answer.weight_decay.words if answer.weight_decay else ""
    yield "runs of the search", ", ".join(f"{runs} at {cell}" for cell, runs in answer.budget.items())
    yield "noise of the loss between seeds", "" if answer.noise is None else percent(answer.noise)
    yield from (("note", note) for note in answer.notes)


def check_table(found: Iterable[tuple[str, Iterable[Check], Iterable[tuple[str, str]]]], what: str) -> Table:
    """A line for every check of each arm, or of ``what`` else was predicted, and for what more is said of it."""
    rows = [
        {what: name, "check": check, "": outcome, "detail": words}
        for name, checks, said in found
        for check, outcome, words in (
            *((check.name, "ok" if check.ok else "failed", check.detail) for check in checks),
            *((about, "", words) for about, words in said if words),
        )
    ]
    return Table.of(rows)


def held_out(found: HoldOut | None, what: str = "") -> Iterator[tuple[str, str]]:
    """The largest cell, predicted from the smaller ones."""
    if found:
        values = f"{what}{plain(found.predicted)} for its own {plain(found.own)}, regret {percent(found.regret)}"
        beside = "".join(f", {rule} {percent(regret)}" for rule, regret in found.simple.items())
        yield f"{found.cell} from the smaller ones", values + beside


def failures(runs: pl.DataFrame) -> Section:
    """Diverged, failed and pruned runs by reason, the most frequent first; reasons that differ only in a number are one."""
    lost = runs.filter(pl.col("state") != "complete").sort("finished_at", "run_id")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in lost.iter_rows(named=True):
        run["reason"] = run["reason"] or "no reason was recorded"
        groups.setdefault((run["state"], re.sub(r"\d+(\.\d+)?", "#", run["reason"])), []).append(run)
    rows = (
        {
            "state": state,
            "runs": f"{len(group):,}",
            "reason of the first": group[0]["reason"],
            "arms": ", ".join(dict.fromkeys(run["arm"] for run in group)),
            "first run": f"{group[0]['run_id']} (width {group[0]['width']}, LR {plain(group[0]['lr'])})",
        }
        for (state, _), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    )
    intro = f"{len(lost):,} of {len(runs):,} runs have no loss. A diverged run bounds the learning rates that are stable."
    return Section("failures", "Diverged and failed runs", intro, tables=tuple(filter(None, [Table.of(rows)])))


def run_section(runs: pl.DataFrame) -> Section:
    """Every run, as columns for the page's script: ``values`` in the order of the rows, or their places in ``names`` where few
    different ones repeat."""
    frame, columns = runs.with_columns((pl.col("flops") + pl.col("flops_optimizer")).alias("all_flops")), []
    for name, column, kind in RUN_COLUMNS:
        values = [float(f"{value:.6g}") if isinstance(value, float) else value for value in frame[column].to_list()]
        entry: dict[str, Any] = {"name": name, "kind": kind, "values": values}
        if column in ("arm", "state", "reason"):
            places = {value: place for place, value in enumerate(dict.fromkeys(values))}
            entry |= {"values": [places[value] for value in values], "names": list(places)}
        columns.append(entry)
    intro = "Every run of the experiment. A filter is words that a row must have. A whole number must be a whole cell. "
    intro += "Click a column to sort by it. The same rows are in runs.csv."
    return Section("runs", "Runs", intro, runs=tuple(columns) if len(runs) else ())


def provenance(summary: Summary) -> Section:
    """Where the numbers come from, and what they cost."""
    origin = summary.provenance
    rows = [("Runs", ", ".join(f"{n} {state}" for state, n in summary.runs.items()))]
    for name, cost in summary.cost.items():
        spent = f"{cost.runs} runs, {duration(cost.wall_seconds)} of training"
        spent += f", {plain(cost.flops)} FLOPs of training" if cost.flops else ""
        spent += f", {plain(cost.flops_optimizer)} of optimizers" if cost.flops_optimizer else ""
        spent += f"; {cost.unknown} of them do not say all of it" if cost.unknown and cost.flops_optimizer else ""
        rows.append((f"Cost, {'validation' if name == 'held_out' else name}", spent))
    if data := origin.corpus:
        rows.append(("Corpus", f"{data.corpus}, tokens: {data.tokenizer}, vocabulary {data.vocab}, sha256 {data.sha256}"))
    if origin.runs_on_other_corpora:
        rows.append(("Left out", f"{origin.runs_on_other_corpora} runs on other versions of the corpus"))
    rows.append(("Machines", "; ".join(f"{device} ({n} runs)" for device, n in origin.devices.items())))
    rows.append(("Versions that trained", ", ".join(f"{name} {' and '.join(found)}" for name, found in origin.versions.items())))
    rows.append(("This report", f"hptransfer {origin.hptransfer}{f', commit {origin.commit}' if origin.commit else ''}"))
    rows.append(("Last run", origin.last_run_at or ""))
    for name, told in origin.predictions.items():
        rows.append((f"Prediction, {name}", ", ".join(f"{key}: {_brief(value)}" for key, value in told.items())))
    terms = tuple((name, words or "none yet") for name, words in rows)
    return Section("provenance", "Provenance", "Where the numbers come from.", terms=terms)


def _brief(value: Any) -> str:
    """A value of a provenance: lists by their length."""
    if isinstance(value, dict):
        return " ".join(f"{key} {_brief(item)}" for key, item in value.items())
    return str(len(value)) if isinstance(value, list) else str(value)
