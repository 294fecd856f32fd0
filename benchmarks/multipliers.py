"""How often the interval of a compute multiplier holds the truth: validations of made-up runs, from the first to the verdict.

    python -m benchmarks.multipliers [--experiments 504]

AdamW's loss falls as E + B D^-beta, and Muon needs a known share of its tokens. First beta is drawn from .2 to .45 in each of the
experiments, then it is one of `EXPONENTS` in all of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.tables import markdown_table
from hptransfer.cli import console
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import Job, Outcome, Point, Record
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.configurations import SEARCH_FREEDOM
from hptransfer.validate.protocol import Protocol
from hptransfer.validate.result import Axis, Multiplier, Validation
from hptransfer.validate.verdict import verdict

MULTIPLIERS, NOISES = (1.0, 1.2, 1.4, 2.5), (0.001, 0.01)  # in turns; noise: of seeds, relative
USUAL, EXPONENTS = (0.2, 0.45), (0.05, 0.1, 0.15, 0.6, 0.8, 1.0)
SLOWER = 1.25  # Muon's seconds for a token over AdamW's
RUNS = 12  # that were searched, of each arm and width
LEARNING_RATE, WEIGHT_DECAY, MISSED = 0.01, 1e-3, 1.2  # where the search found its optimum, and the true one over its LR
EXPERIMENT = Experiment.model_validate(
    {
        "name": "made-up",
        "base_width": 64,
        "widths": [64, 128],
        "target_width": 256,
        "horizon": {"policy": "tokens", "tokens": 131_072},
        "batch_sequences": 8,
        "optimizers": ["adamw", "muon"],
        "validation": {"seeds": 3, "probe_octaves": [1], "ladder": [0.5, 2.0, 4.0]},
    }
)
DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)


@dataclass(frozen=True)
class World:
    """AdamW's true loss over horizons, E + B D^-beta, and the true standard deviation over seeds, relative."""

    floor: float
    scale: float
    exponent: float
    noise: float

    def loss(self, horizon: float) -> float:
        """Nats per token after ``horizon`` times the tokens of the target."""
        return self.floor + self.scale * horizon**-self.exponent

    def run(self, rng: np.random.Generator, horizon: float, seeds: int) -> np.ndarray:
        """Final losses by seed."""
        return self.loss(horizon) * (1 + self.noise * rng.standard_normal(seeds))


def draw_world(rng: np.random.Generator, noise: float, exponents: tuple[float, float] = USUAL) -> World:
    """A loss of 2.2 at the target that falls by 3 to 5 % with the first doubling."""
    exponent, fall = rng.uniform(*exponents), rng.uniform(0.03, 0.05)
    scale = 2.2 * fall / (1 - 2**-exponent)
    return World(2.2 - scale, scale, exponent, noise)


@dataclass(frozen=True)
class Judged:
    """One experiment: what is true, and what the validation found."""

    multiplier: float
    noise: float
    validation: Validation

    def found(self, axis: Axis = "tokens") -> Multiplier:
        assert self.validation.speedup is not None, self.validation.refusal
        return self.validation.speedup.compute_multiplier[axis]

    def is_held(self, axis: Axis = "tokens") -> bool:
        """Whether the interval holds the truth; an open end holds everything on its side."""
        true, found = self.multiplier / (SLOWER if axis == "wall_clock" else 1.0), self.found(axis)
        return (found.low or 0) <= true <= (found.high or math.inf)

    @property
    def is_called(self) -> bool:
        """Whether the multiplier is called a speedup."""
        return self.found().finding == "faster"

    @property
    def horizons(self) -> int:
        """Of the baseline's ladder."""
        return 1 + sum(run.kind == "horizon" for run in self.validation.baseline_runs)


def experiments(count: int, exponents: tuple[float, float] = USUAL) -> Iterator[Judged]:
    """So many experiments, multipliers and noises in turns; always the same ones."""
    rng, cells = np.random.default_rng(6), [(multiplier, noise) for multiplier in MULTIPLIERS for noise in NOISES]
    for number in range(count):
        multiplier, noise = cells[number % len(cells)]
        yield Judged(multiplier, noise, _validated(draw_world(rng, noise, exponents), multiplier, rng))


def _validated(world: World, multiplier: float, rng: np.random.Generator) -> Validation:
    """Everything that the protocol asks for, with the noise that a search would have estimated from its replicates."""
    seen = {name: world.noise * math.sqrt(rng.chisquare(SEARCH_FREEDOM) / SEARCH_FREEDOM) for name in _predictions()}
    own = {name: prediction.model_copy(update={"noise": seen[name]}) for name, prediction in _predictions().items()}
    protocol, records = Protocol(own, EXPERIMENT.validation, "adamw", _known), {}
    while jobs := protocol.missing(records):
        for job in jobs:
            is_muon = job.point.settings["optimizer"] == "muon"
            seconds = job.point["tokens"] * (SLOWER if is_muon else 1.0) * math.exp(0.05 * rng.standard_normal())
            loss = _loss(world, job, multiplier if is_muon else 1.0, rng)
            records[job.run_id] = _record(job, loss, training_wall_seconds=seconds / 1e5)
    return verdict("muon", protocol, records)


def _loss(world: World, job: Job, multiplier: float, rng: np.random.Generator) -> float:
    """Of a run that needs a ``multiplier``-th of AdamW's tokens, with its optimum `MISSED` times above the predicted LR."""
    point = job.point
    best = _predictions()[point.settings["optimizer"]].point
    lr, decay = math.log(point["lr"] / best["lr"] / MISSED), math.log(point["weight_decay"] / best["weight_decay"])
    horizon = point["tokens"] / EXPERIMENT.horizon.tokens * multiplier
    return world.loss(horizon) * math.exp(_bowl(lr, decay) + world.noise * rng.standard_normal())


def _bowl(lr: float, decay: float) -> float:
    """ln loss above the lowest, at so far from the best LR and weight decay (ln)."""
    return 0.03 * (1.5 * lr if lr > 0 else lr) ** 2 + 0.003 * decay**2


@cache
def _predictions() -> dict[str, Prediction]:
    """What the searches of both arms predict, which is the same in all experiments."""
    found = {}
    for arm in EXPERIMENT.compared:
        rng, records = np.random.default_rng(0), []
        for width in EXPERIMENT.widths:
            lrs = np.linspace(math.log(0.1), math.log(8.0), RUNS)
            for lr, decay in zip(lrs, rng.uniform(-2.3, 2.3, RUNS), strict=True):
                tuned = {
                    "lr": LEARNING_RATE * math.exp(lr),
                    "weight_decay": WEIGHT_DECAY * math.exp(decay),
                    "embedding_lr_ratio": 1.0,
                }
                job = resolve(EXPERIMENT.point(arm, DATA, width=width, seed=0, **tuned))
                records.append(_record(job, 2 * math.exp(_bowl(lr, decay) + 0.0005 * rng.standard_normal())))
        group = Group(arm.name, tuple(records))
        found[arm.name] = predict_group(group, resolve(EXPERIMENT.target_point(arm, DATA)), resolve, draws=30)
    return found


@cache
def _resolved(point: str) -> Job:
    return resolve(Point.model_validate_json(point))


def _known(point: Point) -> Job:
    """`resolve`, once for each run: all experiments ask for the same ones."""
    return _resolved(point.model_dump_json())


def _record(job: Job, loss: float, **changes: float) -> Record:
    """A finished run that was never trained."""
    outcome = {"state": "complete", "loss": loss, "device": "none", "tokens": job.point["tokens"]}
    outcome |= {"flops": job.flops, "flops_optimizer": job.flops / 100, **changes}
    return Record(job=job, outcome=Outcome.model_validate(outcome))


def _share(judged: list[Judged]) -> str:
    """In how many of them, in %, the interval held the truth."""
    return f"{100 * np.mean([one.is_held() for one in judged]):.1f} % of {len(judged)}" if judged else "-"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=504, metavar="N", help="of each beta (504)")
    args = parser.parse_args()
    rows = []
    for low, high in (USUAL, *((beta, beta) for beta in EXPONENTS)):
        judged = list(experiments(args.experiments, (low, high)))
        beta, equal = f"{low:g}" if low == high else f"{low:g} to {high:g}", [one for one in judged if one.multiplier == 1]
        cells = [f"{sum(one.is_called for one in equal)} of {len(equal)}", _share(judged)]
        for noise in NOISES:
            same = [one for one in judged if one.noise == noise]
            cells += [_share([one for one in same if (one.horizons > 2) == many]) for many in (False, True)]
        rows.append([beta, *cells])
        console.print(f"beta {beta}: the truth is held in {_share(judged)}", soft_wrap=True, highlight=False)
    columns = ["beta", "1.0 called a speedup", "held"]
    columns += [f"at {noise:.1%}, {horizons}" for noise in NOISES for horizons in ("two horizons", "three or more")]
    for line in markdown_table(columns, rows):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    main()
