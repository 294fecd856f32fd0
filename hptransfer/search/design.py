"""The design as a sampler of Optuna's, for the studies of a search and for anybody's own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from hptransfer.runs import Job, Outcome, Point, Record
from hptransfer.transfer.design import design, highest_lr

TUNED = ("lr", "weight_decay")
RUN_ID = "run_id"  # user attribute of a trial that stands for a run
SOMEWHERE = Job(run_id="", point=Point(scales={"width": 1}, hyperparameters={}))

Space = Mapping[str, FloatDistribution]


class DesignSampler(BaseSampler):
    """The trials that tell most about the optimum of a fitted surface.

    ``space`` has ``lr`` and, where it is tuned, ``weight_decay``. The study minimises ln loss; a failed or pruned trial is a run
    that diverged. ``target`` is any run of the study's cell, ``narrower`` are runs of smaller ones. As many trials as are
    running when one is asked for are taken for the first of the batch that it is in: whoever runs several at a time has at least
    ``batch`` of them. Until enough runs are complete to fit a surface, points fill the space evenly. ``known``: by run_id, the
    runs of the trials that name theirs.
    """

    def __init__(
        self,
        space: Space,
        *,
        target: Job = SOMEWHERE,
        narrower: Sequence[Record] = (),
        batch: int = 4,
        seed: int | str = 0,
        known: Mapping[str, Record] | None = None,
    ) -> None:
        if not {"lr"} <= set(space) <= set(TUNED):
            raise ValueError(f"a design is over lr, or lr and weight_decay, not over {', '.join(space) or 'nothing'}")
        self._space, self._target, self._narrower = dict(space), target, tuple(narrower)
        self._batch, self._seed, self._known = batch, seed, known or {}
        self._independent = RandomSampler()
        self._planned: tuple[tuple[int, ...], list[dict[str, float]]] = (), []

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._space)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The trial's point in the batch that the finished trials determine."""
        if study.direction != StudyDirection.MINIMIZE:
            raise ValueError("a design minimises ln loss")
        before = [one for one in study.get_trials(deepcopy=False) if one.number < trial.number]
        finished = [one for one in before if one.state.is_finished()]
        place = sum(one.state == TrialState.RUNNING for one in before)
        numbers = tuple(one.number for one in finished)
        if not self._planned[1][place:] or self._planned[0] != numbers:
            self._planned = numbers, self._points(finished, max(self._batch, place + 1))
        return self._planned[1][place]

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """What is not in the space: at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def records(self, trials: Iterable[FrozenTrial]) -> list[Record]:
        """The finished trials as runs: what the sampler of a larger cell takes for ``narrower``. One that failed before it asked
        for its point is none."""
        return [self._record(trial) for trial in trials if trial.state.is_finished() and set(self._space) <= set(trial.params)]

    def _record(self, trial: FrozenTrial) -> Record:
        if (known := self._known.get(trial.user_attrs.get(RUN_ID, ""))) is not None:
            return known
        tuned = {name: value for name, value in trial.params.items() if name in TUNED}
        here = self._target.point
        point = here.model_copy(update={"hyperparameters": here.hyperparameters | tuned})
        name = f"{self._target.run_id or here.scales['width']} {trial.number:06d}"
        complete = trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
        outcome = Outcome(state="complete", loss=math.exp(trial.value)) if complete else Outcome(state="diverged")  # type: ignore[arg-type]
        return Record(job=Job(run_id=name, point=point), outcome=outcome)

    def _points(self, finished: Sequence[FrozenTrial], count: int) -> list[dict[str, float]]:
        """By design where enough is known, else evenly; of what the design leaves open, evenly too, below where runs diverged."""
        seen = [record for record in (*self.records(finished), *self._narrower) if self._is_comparable(record)]
        bounds = {name: (searched.low, searched.high) for name, searched in self._space.items()}
        even = spread(self._space, count, batch_seed(self._seed, len(finished)))
        low, high = bounds["lr"]
        share = math.log(highest_lr(seen, bounds["lr"]) / low) / math.log(high / low)
        below = [point | {"lr": low * (point["lr"] / low) ** share} for point in even]
        points = design(seen, self._target, bounds, count) or below
        return [
            {name: float(np.clip(value, *bounds[name])) for name, value in (one | other).items()}
            for one, other in zip(below, points, strict=True)
        ]

    def _is_comparable(self, record: Record) -> bool:
        """Whether it has run, and differs from the cell's runs in nothing but what is tuned."""
        fixed = {name: value for name, value in self._target.point.hyperparameters.items() if name not in TUNED}
        return record.state != "failed" and all(record.point.hyperparameters.get(name) == value for name, value in fixed.items())


def spread(space: Space, count: int, seed: int) -> list[dict[str, float]]:
    """``count`` points that fill the space evenly: scrambled Sobol."""
    shares = qmc.Sobol(len(space), rng=seed).random_base2(math.ceil(math.log2(count)))[:count]
    return [{name: _at(one, share) for (name, one), share in zip(space.items(), row, strict=True)} for row in shares]


def batch_seed(seed: int | str, start: int) -> int:
    """The seed of the batch that begins after ``start`` trials."""
    return int.from_bytes(hashlib.sha256(f"{seed} {start}".encode()).digest()[:4])


def _at(distribution: FloatDistribution, share: float) -> float:
    low, high = distribution.low, distribution.high
    if not distribution.log:
        return low + share * (high - low)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
