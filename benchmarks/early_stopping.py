"""Whether early stopping would cost what was found: stopping rules replayed on the curves of real searches.

``python -m benchmarks.early_stopping STORE...``, one store per search with many evaluation points and a sampler that does not
depend on results (``--set evaluation.points=20 --set search.sampler=random``). A study is the runs of one recipe and width. Each
is replayed in random orders; a rule sees the validation losses that earlier runs had at the same step. What it stops is taken
out, and the prediction is made anew from the rest. ``--curves FILE`` adds studies of the schedule, from a table with columns
model_M, schedule, step and loss.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.tables import markdown_table
from hptransfer.base.errors import HptransferError
from hptransfer.base.refusals import Refused
from hptransfer.cli import console
from hptransfer.runs import Record, Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group as Runs
from hptransfer.transfer.prediction import Prediction

SHARES = (0.1, 0.25, 0.5, 0.75)  # of the horizon, at which rules decide: at one of them, or at all
DECISIONS = (*((share,) for share in SHARES), SHARES)
NEAR = 0.01  # above the winner, relative: runs that tell where the optimum is
FIRST = 4  # runs that a median needs
DRAWS = 300
RESULTS = Path(__file__).parent / "results"

Prunes = Callable[[float, Sequence[float]], bool]  # a run's loss, and those of the others at the same step


def median(loss: float, others: Sequence[float]) -> bool:
    return len(others) >= FIRST and loss > float(np.median(others))


def worse_than_top(reduction: int) -> Prunes:
    return lambda loss, others: bool(others) and loss > float(np.quantile([*others, loss], 1 / reduction))


def above_best(share: float) -> Prunes:
    return lambda loss, others: bool(others) and loss > (1 + share) * min(others)


# By name: the rule, and whether it waits until all runs of the study have come to the step.
RULES: dict[str, tuple[Prunes, bool]] = {
    "median": (median, False),
    "halving, 2": (worse_than_top(2), True),
    "halving, 4": (worse_than_top(4), True),
    "ASHA, 2": (worse_than_top(2), False),
    "ASHA, 4": (worse_than_top(4), False),
    "5 % above the best": (above_best(0.05), False),
    "10 % above the best": (above_best(0.10), False),
    "20 % above the best": (above_best(0.20), False),
    "40 % above the best": (above_best(0.40), False),
}


@dataclass(frozen=True)
class Study:
    """``losses`` (runs, shares): validation loss at `SHARES` of the horizon, inf where the run had diverged; ``final`` (runs,)
    and ``trained`` (runs,), the share of the horizon that each run took. ``run_ids`` are empty where there is no store."""

    name: str
    losses: np.ndarray
    final: np.ndarray
    trained: np.ndarray
    run_ids: tuple[str, ...] = ()

    def replay(self, prunes: Prunes, together: bool, at: Sequence[float], order: Iterable[int]) -> dict[int, float]:
        """The runs that a rule stops, with the share of the horizon at which it does."""
        stopped: dict[int, float] = {}
        running = list(order)
        seen: dict[float, list[float]] = {share: [] for share in at}
        for share, run in product(at, running) if together else ((share, run) for run in running for share in at):
            loss = float(self.losses[run, SHARES.index(share)])
            if run in stopped or not math.isfinite(loss):
                continue
            others = seen[share]
            if together:
                others = [float(self.losses[i, SHARES.index(share)]) for i in running if i != run and stopped.get(i, 1) >= share]
            if prunes(loss, [one for one in others if math.isfinite(one)]):
                stopped[run] = share
            seen[share].append(loss)
        return stopped

    def saved(self, stopped: dict[int, float]) -> float:
        """Share of the study's training that is not done."""
        return sum(float(self.trained[run]) - share for run, share in stopped.items()) / float(self.trained.sum())


@dataclass
class Tally:
    """What a rule did, over studies and orders; ``predictions`` over groups and orders: octaves, regret, interval, or None."""

    lost: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))  # the winner, by study
    near: list[float] = field(default_factory=list)
    saved: list[float] = field(default_factory=list)
    predictions: list[tuple[float, float, float] | None] = field(default_factory=list)

    def add(self, study: Study, stopped: dict[int, float]) -> None:
        winner = int(np.argmin(study.final))
        near = [run for run in np.flatnonzero(study.final <= (1 + NEAR) * study.final[winner]).tolist() if run != winner]
        self.lost[study.name].append(winner in stopped)
        self.near += [float(run in stopped) for run in near]
        self.saved.append(study.saved(stopped))

    def row(self, *name: str) -> list[str]:
        made = [one for one in self.predictions if one is not None]
        figures = [f"{value:.2f}" for value in np.mean(made, axis=0)] if made else ["", "", ""]
        return [
            *name,
            f"{sum(any(lost) for lost in self.lost.values())}",
            f"{100 * np.mean(list(self.lost.values())):.1f} %",
            f"{100 * np.mean(self.near):.1f} %" if self.near else "",
            f"{100 * np.mean(self.saved):.0f} %",
            *figures,
            f"{100 * (1 - len(made) / len(self.predictions)):.0f} %" if self.predictions else "",
        ]


COLUMNS = (
    "rule", "at, % of the horizon", "studies that lose the winner", "winner stopped", "within 1 % of it stopped",
    "training saved", "prediction moved, octaves", "regret of that, %", "interval's length", "refused",
)  # fmt: skip


class Group:
    """The studies of one recipe in one store: what a prediction is made from."""

    def __init__(self, name: str, records: Sequence[Record], target_width: int) -> None:
        self.records = {record.run_id: record for record in records}
        self.name, self.target = name, resolve(records[0].point.at(width=target_width))
        self.studies = [
            study_of(f"{name}, width {width}", [record for record in records if record.point["width"] == width])
            for width in sorted({record.point["width"] for record in records})
        ]
        self._known: dict[frozenset[str], Prediction | None] = {}
        self.whole = self.predict(frozenset())

    def predict_group(self, without: frozenset[str]) -> Prediction | None:
        """The prediction without some of the runs; None where it is refused."""
        if without not in self._known:
            kept = tuple(record for run_id, record in self.records.items() if run_id not in without)
            try:
                self._known[without] = predict_group(Runs(self.name, kept), self.target, resolve, draws=DRAWS)
            except (Refused, HptransferError):
                self._known[without] = None
        return self._known[without]

    def moved(self, without: frozenset[str]) -> tuple[float, float, float] | None:
        """Octaves between the predictions with and without those runs, its regret in percent by the whole fit, and the length
        of the interval over the whole one's. None where there is no prediction without them."""
        if self.whole is None or (rest := self.predict(without)) is None:
            return None
        ours, theirs = self.whole.lr, rest.lr
        off = math.log(theirs.value / ours.value)
        bowl = self.whole.bowl
        regret = math.expm1(bowl.curvature * ((bowl.skew if off > 0 else 1.0) * off) ** 2)
        length = math.log(theirs.high / theirs.low) / math.log(ours.high / ours.low)
        return abs(off) / math.log(2), 100 * regret, length


def study_of(name: str, records: Sequence[Record]) -> Study:
    losses = np.full((len(records), len(SHARES)), math.inf)
    for i, record in enumerate(records):
        for j, share in enumerate(SHARES):
            reached = [point for point in record.outcome.curve if point.step <= share * record.job.steps + 0.5]
            if reached and record.outcome.steps >= share * record.job.steps and reached[-1].val is not None:
                losses[i, j] = reached[-1].val
    final = np.array([math.inf if record.loss is None else record.loss for record in records])
    trained = np.array([record.outcome.steps / record.job.steps for record in records])
    return Study(name, losses, final, trained, tuple(record.run_id for record in records))


def groups_of(stores: Sequence[str], target_width: int) -> list[Group]:
    groups: list[Group] = []
    for number, location in enumerate(stores, 1):
        by_recipe: dict[str, list[Record]] = defaultdict(list)
        for record in sorted(Store(location).require_records().values(), key=lambda record: record.run_id):
            by_recipe[str(record.point.settings["optimizer"])].append(record)
        groups += [Group(f"search {number}, {recipe}", records, target_width) for recipe, records in by_recipe.items()]
    return groups


def replayed(groups: Sequence[Group], rule: str, at: Sequence[float], orders: int) -> Tally:
    """A rule on every study, in random orders."""
    prunes, together = RULES[rule]
    tally = Tally()
    for group in groups:
        rng = np.random.default_rng(0)
        for _ in range(orders):
            without: set[str] = set()
            for study in group.studies:
                stopped = study.replay(prunes, together, at, rng.permutation(len(study.final)).tolist())
                tally.add(study, stopped)
                without |= {study.run_ids[run] for run in stopped}
            tally.predictions.append(group.moved(frozenset(without)))
    return tally


def without_worst(groups: Sequence[Group], share: float) -> Tally:
    """A rule that nobody has: at the start it stops the share of each study's runs that will end worst."""
    tally = Tally()
    for group in groups:
        without: set[str] = set()
        for study in group.studies:
            worst = np.argsort(study.final)[len(study.final) - round(share * len(study.final)) :].tolist()
            tally.add(study, dict.fromkeys(worst, 0.0))
            without |= {study.run_ids[run] for run in worst}
        tally.predictions.append(group.moved(frozenset(without)))
    return tally


def fewer_trials(groups: Sequence[Group], share: float, orders: int) -> Tally:
    """No rule, but so many trials fewer, whichever they are."""
    tally = Tally()
    for group in groups:
        rng = np.random.default_rng(0)
        for _ in range(orders):
            without: set[str] = set()
            for study in group.studies:
                dropped = rng.permutation(len(study.final))[: round(share * len(study.final))].tolist()
                tally.add(study, dict.fromkeys(dropped, 0.0))
                without |= {study.run_ids[run] for run in dropped}
            tally.predictions.append(group.moved(frozenset(without)))
    return tally


def schedules_of(path: Path) -> list[Study]:
    """One study per model: its schedules over the horizon, in thousands of steps, that most of them share."""
    table = pl.read_csv(path).with_columns(horizon=(pl.col("step").max().over("model_M", "schedule") / 1000).round() * 1000)
    ends = table.select("model_M", "schedule", "horizon").unique()
    common = float(ends["horizon"].mode().max())
    studies = []
    for (model,), curves in table.filter(pl.col("horizon") == common).group_by("model_M", maintain_order=True):
        runs = [run for _, run in curves.group_by("schedule", maintain_order=True)]
        losses = np.array([[float(np.interp(share * common, run["step"], run["loss"])) for share in SHARES] for run in runs])
        final = np.array([run["loss"][-1] for run in runs])
        studies.append(Study(f"{model} M", losses, final, np.ones(len(runs))))
    return studies


def on_schedules(studies: Sequence[Study], rule: str, at: Sequence[float], orders: int) -> Tally:
    prunes, together = RULES[rule]
    tally, rng = Tally(), np.random.default_rng(0)
    for study in studies:
        for _ in range(orders):
            tally.add(study, study.replay(prunes, together, at, rng.permutation(len(study.final)).tolist()))
    return tally


def _percent(at: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:.0f}" for share in at)


def main() -> None:
    """Print the tables, and write them to ``benchmarks/results``."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.early_stopping", description=(__doc__ or "").splitlines()[0])
    options.add_argument("stores", nargs="+", metavar="STORE")
    options.add_argument("--target-width", type=int, default=128, help="of the prediction (128)")
    options.add_argument("--orders", type=int, default=20, help="random orders of each study's runs (20)")
    options.add_argument("--curves", type=Path, metavar="FILE", help="published curves of several schedules")
    args = options.parse_args()
    groups = groups_of(args.stores, args.target_width)
    studies = [study for group in groups for study in group.studies]
    tallies = {(rule, at): replayed(groups, rule, at, args.orders) for rule in RULES for at in DECISIONS}
    rows = [tally.row(rule, _percent(at)) for (rule, at), tally in tallies.items()]
    rows += [without_worst(groups, share).row(f"the worst {share:.0%}, known beforehand", "0") for share in (0.25, 0.5, 0.75)]
    rows += [fewer_trials(groups, share, args.orders).row(f"{share:.0%} fewer trials", "0") for share in (0.25, 0.5, 0.75)]
    lines = [
        "# What early stopping would cost",
        "",
        f"`python -m benchmarks.early_stopping` over {len(args.stores)} searches, {datetime.now(UTC).date()}.",
        "",
        f"{len(studies)} studies (recipe, width) of {len(studies[0].final)} runs, {args.orders} random orders of each. 'Winner': "
        "the run with the lowest final loss. 'Prediction moved': the LR predicted at width "
        f"{args.target_width} without the stopped runs against that from all of them, means over recipes and orders; 'regret of "
        "that' by the whole fit; 'interval's length' over the whole one's; 'refused': no prediction could be made, and"
        " the three columns before are about the others.",
        "",
        *markdown_table(COLUMNS, rows),
        "",
        f"## Orders in which the winner is stopped, by study, deciding at all of {_percent(SHARES)} %",
        "",
        *markdown_table(
            ["study", *RULES],
            [[study.name, *(f"{np.mean(tallies[rule, SHARES].lost[study.name]):.0%}" for rule in RULES)] for study in studies],
        ),
    ]
    if args.curves:
        published = schedules_of(args.curves)
        rows = [on_schedules(published, rule, at, args.orders).row(rule, _percent(at)) for rule in RULES for at in DECISIONS]
        lines += [
            "",
            f"## Schedules ({args.curves.name})",
            "",
            f"{len(published)} models, {len(published[0].final)} schedules of one horizon each.",
            "",
            *markdown_table(COLUMNS[:6], [row[:6] for row in rows]),
        ]
    text = "\n".join(lines) + "\n"
    (RESULTS / f"early_stopping-{datetime.now(UTC).date()}.md").write_text(text)
    console.print(text)


if __name__ == "__main__":
    main()
