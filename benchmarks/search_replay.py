"""How many trials a prediction needs, by sampler: searches replayed on surfaces fitted to real sweeps.

``python -m benchmarks.search_replay sweeps.csv``, with columns optimizer, parametrization (SP, muP), width, log2_lr_multiplier
and loss. The truth of a width is a cubic through its sweep, in ln LR; the noise is what the cubics leave. The three smallest
widths are searched, the widest of the file is predicted. Samplers see the same surfaces and ranges, whose middles are drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl

from benchmarks.tables import markdown_table
from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refused
from hptransfer.cli import console
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import Job, Outcome, Record
from hptransfer.search.studies import make_studies
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.group import Group, GroupFit, fit_group
from hptransfer.transfer.simple import vertex
from hptransfer.transfer.sweep import gather

RECIPES = {"muon": "muon-all", "muon-adam": "muon", "shampoo": "shampoo", "soap": "soap"}
SEARCHED = 3  # widths
TRIALS = 24  # per width
FIRST = 3  # trials per width from which a prediction is made
OCTAVES, SHIFT = 8.0, 1.5  # searched range, and how far its middle lies from the base optimum at most
BASE_LR = 0.01
NEAR = 0.02  # excess up to which residuals are noise
SHOWN = (4, 6, 8, 12, 24)  # trials per width at which the regret is shown
BASELINE = ("tpe", "line")  # per-width TPE, and what is done with its best runs
LOST = math.log(math.log(256))  # ln loss of a run that diverged
DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)
RESULTS = Path(__file__).parent / "results"

Runs = dict[int, list[tuple[float, float]]]  # by width: ln LR relative to the base optimum, and ln loss; in order
Search = Callable[[int], Runs]  # the runs of a search with so many trials per width


class Truth:
    """The surfaces of one series. ln LR is relative to the base optimum. Noise is ``louder`` times what the cubics leave; runs
    more than ``stable`` octaves above the optimum of their width diverge."""

    def __init__(self, optimizer: str, parametrization: str, rows: pl.DataFrame, *, louder: float, stable: float) -> None:
        self.name = f"{optimizer} {parametrization}"
        self.recipe, self.parametrization = RECIPES[optimizer], parametrization.lower()
        self.cubics: dict[int, np.polynomial.Polynomial] = {}
        self.ends: dict[int, tuple[float, float]] = {}
        squares, dof = 0.0, 0.0
        for (width,), cell in rows.sort("log2_lr_multiplier").group_by("width", maintain_order=True):
            h, y = math.log(2) * cell["log2_lr_multiplier"].to_numpy(), np.log(cell["loss"].to_numpy())
            excess = y - y.min()
            cubic = np.polynomial.Polynomial.fit(h, y, 3, w=1 / np.hypot(1e-3, 0.25 * excess))
            near = excess < NEAR
            squares += float(np.sum((y - cubic(h))[near] ** 2))
            dof += float(np.sum(near)) * (1 - 4 / len(h))
            self.cubics[width], self.ends[width] = cubic, (h[0], h[-1])
        self.noise = louder * math.sqrt(squares / dof)
        self.ceilings = {width: self.grid(width)[np.argmin(cubic(self.grid(width)))] + stable * math.log(2)
                         for width, cubic in self.cubics.items()}  # fmt: skip
        self.widths = sorted(self.cubics)[:SEARCHED]
        self.target = max(self.cubics)

    def grid(self, width: int) -> np.ndarray:
        return np.linspace(*self.ends[width], 2001)

    def ln_loss(self, width: int, h: float) -> float:
        """Beyond the sweep, on along its end."""
        cubic, (low, high) = self.cubics[width], self.ends[width]
        inside = min(max(h, low), high)
        return float(cubic(inside) + abs(cubic.deriv()(inside)) * abs(h - inside))

    def run(self, width: int, h: float, rng: np.random.Generator) -> float:
        """ln loss of a run; that of one that learned nothing, where it diverged."""
        ln_loss = self.ln_loss(width, h) + self.noise * float(rng.standard_normal())
        return LOST if h > self.ceilings[width] else min(ln_loss, LOST)

    def regret(self, width: int, h: float) -> float:
        lowest = float(self.cubics[width](self.grid(width)).min())
        return math.expm1(self.ln_loss(width, h) - lowest)


def experiment_of(truth: Truth, low: float, sampler: str, seed: int) -> Experiment:
    """The search of the series; LR is ``BASE_LR`` times the multiplier."""
    space = {
        "lr": {"low": BASE_LR * math.exp(low), "high": BASE_LR * math.exp(low) * 2**OCTAVES, "source": "replay"},
        "weight_decay": {"low": 0.0, "high": 0.0, "scale": "linear", "source": "replay"},
        "embedding_lr_ratio": {"values": [1.0], "source": "replay"},
    }
    return Experiment.model_validate(
        {
            "name": "replay",
            "model": {"preset": "paper"},
            "base_width": truth.widths[0],
            "widths": truth.widths,
            "target_width": truth.target,
            "horizon": {"tokens": 100_007_936},
            "batch_sequences": 128,
            "optimizers": [truth.recipe],
            "parametrizations": [truth.parametrization],
            "search": {"trials": TRIALS, "sampler": sampler, "seed": seed},
            "spaces": {truth.recipe: space},
        }
    )


def record_of(job: Job, ln_loss: float) -> Record:
    lost = ln_loss >= LOST
    outcome = Outcome(
        state="diverged" if lost else "complete", reason="loss inf at step 1" if lost else None, steps=job.steps,
        loss=None if lost else math.exp(ln_loss), flops=job.flops, device="replay",
    )  # fmt: skip
    return Record(job=job, outcome=outcome)


def by_studies(sampler: str) -> Callable[[Truth, float, int], Search]:
    """The studies that ``python -m hptransfer.search`` runs."""

    def search(truth: Truth, low: float, seed: int) -> Search:
        rng, experiment = np.random.default_rng(seed), experiment_of(truth, low, sampler, seed)
        studies = make_studies(experiment, {arm.name: DATA for arm in experiment.compared})
        records: dict[str, Record] = {}
        while jobs := studies.missing(records):
            for job in jobs:
                h = math.log(job.point["lr"] / BASE_LR)
                records[job.run_id] = record_of(job, truth.run(int(job.point["width"]), h, rng))
        runs: Runs = {}
        for study in studies.studies:
            hs = [math.log(run.point["lr"] / BASE_LR) for _, run in study.finished]
            ln_losses = [math.log(run.loss) if run.loss else LOST for _, run in study.finished]
            runs[study.cell["width"]] = list(zip(hs, ln_losses, strict=True))
        return lambda trials: {width: cell[:trials] for width, cell in runs.items()}

    return search


def by_optuna(sampler: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[[Truth, float, int], Search]:
    """Optuna alone, one study per width, one trial at a time, with its own defaults."""

    def search(truth: Truth, low: float, seed: int) -> Search:
        rng, runs = np.random.default_rng(seed), {}
        for width in truth.widths:
            study = optuna.create_study(sampler=sampler(seed * 10_000 + width))

            def objective(trial: optuna.Trial, width: int = width) -> float:
                return truth.run(width, trial.suggest_float("h", low, low + OCTAVES * math.log(2)), rng)

            study.optimize(objective, n_trials=TRIALS)
            runs[width] = [(trial.params["h"], trial.value or math.nan) for trial in study.trials]
        return lambda trials: {width: cell[:trials] for width, cell in runs.items()}

    return search


def log_grid(truth: Truth, low: float, seed: int) -> Search:
    """Evenly over the range in ln LR; another number of trials is another grid."""

    def search(trials: int) -> Runs:
        rng = np.random.default_rng([seed, trials])
        grid = (low + OCTAVES * math.log(2) * (np.arange(trials) + 0.5) / trials).tolist()
        return {width: [(h, truth.run(width, h, rng)) for h in grid] for width in truth.widths}

    return search


SAMPLERS = {
    "design": by_studies("design"),
    "tpe in batches": by_studies("tpe"),
    "gp in batches": by_studies("gp"),
    "tpe": by_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "gp": by_optuna(lambda seed: optuna.samplers.GPSampler(seed=seed)),
    "quasi-random": by_optuna(lambda seed: optuna.samplers.QMCSampler(seed=seed, scramble=True)),
    "random": by_optuna(lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "log grid": log_grid,
}


@dataclass(frozen=True)
class Found:
    """The runs of a search, and what is predicted from them: each a regret."""

    truth: Truth
    runs: Runs

    @cached_property
    def fitted(self) -> GroupFit:
        records = tuple(record_of(self._job(width, h), ln_loss) for width, cell in self.runs.items() for h, ln_loss in cell)
        return fit_group(Group("", records), self._job(self.truth.target, 0.0))

    @cached_property
    def _experiment(self) -> Experiment:
        return experiment_of(self.truth, 0.0, "design", 0)

    def law(self) -> float:
        """At the target, as `hptransfer.transfer` predicts it."""
        return self._predicted(self.truth.target)

    def here(self) -> float:
        """The same at the largest searched width: what a search finds out, however good a law is beyond it."""
        return self._predicted(max(self.runs))

    def line(self) -> float:
        """The straight line in ln width through each width's best run."""
        return self._extrapolated([min(cell, key=lambda run: run[1])[0] for cell in self.runs.values()])

    def vertices(self) -> float:
        """The straight line through the vertex of the parabola about each width's best run."""
        x = np.repeat(np.log(list(self.runs)), [len(cell) for cell in self.runs.values()])
        h, ln_loss = np.array([run for cell in self.runs.values() for run in cell]).T
        sweep, _ = gather(["width"], ["lr"], x[:, None], h[:, None], np.exp(ln_loss))
        return self._extrapolated([float(vertex(sweep, cell)[0]) for cell in range(len(self.runs))])

    def last(self) -> float:
        """The best run of the largest searched width, kept."""
        return self.truth.regret(self.truth.target, min(self.runs[max(self.runs)], key=lambda run: run[1])[0])

    def _predicted(self, width: int) -> float:
        law = self.fitted.law(self._job(width, 0.0))
        return self.truth.regret(width, float(law.value[0]) - math.log(BASE_LR))

    def _extrapolated(self, optima: list[float]) -> float:
        slope, level = np.polyfit(np.log(self.truth.widths), optima, 1)
        return self.truth.regret(self.truth.target, float(level + slope * math.log(self.truth.target)))

    def _job(self, width: int, h: float) -> Job:
        [arm] = self._experiment.compared
        return resolve(self._experiment.point(arm, DATA, width=width, lr=BASE_LR * math.exp(h), weight_decay=0.0))


READOUTS = {"law": Found.law, "here": Found.here, "line": Found.line, "vertices": Found.vertices, "last": Found.last}


def readouts(sampler: str) -> list[str]:
    """Parabolas need a grid."""
    return ["law", "here", *(["vertices"] if sampler == "log grid" else ["line", "last"])]


def replay(task: tuple[Truth, str, int]) -> dict[str, list[float]]:
    """The regret after `FIRST` to `TRIALS` trials per width, by readout."""
    truth, sampler, seed = task
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    shift = np.random.default_rng(seed).uniform(-SHIFT, SHIFT)
    search = SAMPLERS[sampler](truth, math.log(2) * (shift - OCTAVES / 2), seed)
    after = [Found(truth, search(trials)) for trials in range(FIRST, TRIALS + 1)]
    return {name: [regret(READOUTS[name], found) for found in after] for name in readouts(sampler)}


def regret(readout: Callable[[Found], float], found: Found) -> float:
    """inf where too few runs are complete to predict from."""
    try:
        return readout(found)
    except (Refused, UsageError):
        return math.inf


def trials_until(regrets: list[float], limit: float) -> float:
    """Trials, over all widths, from which on the regret stays below a limit; inf: it does not."""
    over = [i for i, regret in enumerate(regrets) if regret >= limit]
    count = FIRST + (over[-1] + 1 if over else 0)
    return float(SEARCHED * count) if count <= TRIALS else math.inf


def summary(truths: list[Truth], found: dict[tuple[str, str], list[list[list[float]]]]) -> list[dict[str, Any]]:
    """Of each sampler and readout; ``found`` has the regrets by surface, seed and trials."""
    rows: list[dict[str, Any]] = []
    for (sampler, readout), regrets in found.items():

        def needed(limits: list[float], regrets: list[list[list[float]]] = regrets) -> list[float]:
            return [
                float(np.median([trials_until(one, limit) for one in runs])) for runs, limit in zip(regrets, limits, strict=True)
            ]

        rows.append(
            {
                "sampler": sampler,
                "readout": readout,
                "trials to noise": needed([max(1e-3, 2 * truth.noise) for truth in truths]),
                "trials to 0.1 %": needed([1e-3] * len(truths)),
                "regret": {SEARCHED * n: np.mean(np.array(regrets)[:, :, n - FIRST], axis=1).tolist() for n in SHOWN},
            }
        )
    # A search that does not get there counts with the first number of trials that was not tried.
    most = SEARCHED * (TRIALS + 1)
    theirs = next((row["trials to noise"] for row in rows if (row["sampler"], row["readout"]) == BASELINE), None)
    for row in rows:
        ratios = np.minimum(row["trials to noise"], most) / np.minimum(theirs, most) if theirs else math.nan
        row["of baseline"] = float(np.median(ratios))
    return rows


def main() -> None:
    """Print the table, and write it with all figures to ``benchmarks/results``."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.search_replay", description=(__doc__ or "").splitlines()[0])
    options.add_argument("table", type=Path)
    options.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS), help="those that are compared (all)")
    options.add_argument("--seeds", type=int, default=8, help="searches of each surface by each sampler (8)")
    options.add_argument("--noise", type=float, default=1.0, metavar="FACTOR", help="on the noise that the sweeps show (1)")
    options.add_argument("--stable", type=float, default=math.inf, metavar="OCTAVES", help="above them runs diverge (inf)")
    options.add_argument("--workers", type=int, default=2)
    args = options.parse_args()
    groups = pl.read_csv(args.table).group_by("optimizer", "parametrization", maintain_order=True)
    truths = [
        Truth(str(optimizer), str(parametrization), rows, louder=args.noise, stable=args.stable)
        for (optimizer, parametrization), rows in groups
    ]
    tasks = list(product(truths, args.samplers, range(args.seeds)))
    with ProcessPoolExecutor(args.workers) as pool:
        replayed = list(pool.map(replay, tasks))
    found: dict[tuple[str, str], list[list[list[float]]]] = {}
    for sampler in args.samplers:
        of_sampler = [one for task, one in zip(tasks, replayed, strict=True) if task[1] == sampler]
        for name in readouts(sampler):
            runs = [one[name] for one in of_sampler]
            found[sampler, name] = [runs[i : i + args.seeds] for i in range(0, len(runs), args.seeds)]
    rows = summary(truths, found)
    origin = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": f"python -m benchmarks.search_replay sweeps.csv --samplers {' '.join(map(repr, args.samplers))} "
        f"--seeds {args.seeds} --noise {args.noise:g} --stable {args.stable:g}",
        "seeds": args.seeds,
        "noise": {truth.name: truth.noise for truth in truths},
    }
    target = RESULTS / f"search_replay-noise-{args.noise:g}-stable-{args.stable:g}-{origin['date'][:10]}.json"
    finite = json.dumps(origin | {"rows": rows}, indent=1).replace("Infinity", "null").replace("NaN", "null")  # JSON knows none
    target.write_text(finite + "\n")
    target.with_suffix(".md").write_text(text := report(origin, rows))
    console.print(text)


def report(origin: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    columns = ["sampler", "prediction", "trials to 2x noise", "of tpe, line", "trials to 0.1 %"]
    columns += [f"regret at {SEARCHED * n}, %" for n in SHOWN]
    is_sp = np.array([name.endswith("SP") for name in origin["noise"]])
    cells = [
        [
            row["sampler"],
            row["readout"],
            _trials(row["trials to noise"]),
            f"{row['of baseline']:.2f}" if math.isfinite(row["of baseline"]) else "-",
            _trials(row["trials to 0.1 %"]),
            *(" / ".join(f"{value:.3f}" for value in _regrets(100 * np.array(each), is_sp)) for each in row["regret"].values()),
        ]
        for row in rows
    ]
    noise = ", ".join(f"{name} {100 * value:.2f} %" for name, value in origin["noise"].items())
    return "\n".join(
        [
            "# Trials until a prediction is right, by sampler",
            "",
            f"`{origin['command']}`, {origin['date']}.",
            "",
            f"{len(origin['noise'])} surfaces, {origin['seeds']} searches of each; seed noise {noise}. Trials are those of all "
            f"{SEARCHED} widths together, from which on the regret at the target stays below twice the noise (or 0.1 %, where "
            "that is more), or below 0.1 %: medians over searches, then over surfaces. 'Of tpe, line': the median over surfaces "
            "of the ratio to Optuna's TPE per width with a line through the best runs. Predictions: `law` is hptransfer's, "
            "`here` that at the widest searched width, judged there: what a search finds out, whatever the law does beyond it; "
            "`line` goes through the best runs, `vertices` through parabolas about them, `last` keeps the widest one's best. "
            "`design` and those in batches are the studies of `hptransfer.search`; the others run one trial after another. "
            "Regrets are means over searches: their median over surfaces / mean over those under SP / under muP.",
            "",
            *markdown_table(columns, cells),
            "",
        ]
    )


def _regrets(each: np.ndarray, is_sp: np.ndarray) -> tuple[float, float, float]:
    return float(np.median(each)), float(np.mean(each[is_sp])), float(np.mean(each[~is_sp]))


def _trials(each: list[float]) -> str:
    median = float(np.median(each))
    return f"{median:.0f}" if math.isfinite(median) else f"> {SEARCHED * TRIALS}"


if __name__ == "__main__":
    main()
