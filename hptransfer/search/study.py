"""A study: the trials of one (recipe, parametrization, width), replayed from the store.

Proposals come in batches. A batch depends on the study's seed, its own number, the finished runs of the batches before it and
a fixed number of runs of narrower widths, all in the order they were proposed: a study that was killed, or continued with more
trials, proposes what an uninterrupted one would have. No other state exists.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hptransfer.experiment import SearchSettings
from hptransfer.experiment.settings import Parametrization
from hptransfer.experiment.space import Point, SearchSpace
from hptransfer.runs import RunRecord
from hptransfer.search.sampler import propose
from hptransfer.trainers.ours.spec import OptimizerSpec, RunSpec
from hptransfer.transfer.design import design, highest_lr
from hptransfer.transfer.sweep import MIN_RUNS

MakeRun = Callable[[OptimizerSpec, int], RunSpec]  # with the number of the seed


@dataclass
class Study:
    """``searches_ratio``: the first trials compare the values of the embedding/readout LR ratio, and the best one is frozen.
    Other studies are given ``ratio``, and wait until they are. ``narrower`` are the studies of the same recipe and
    parametrization whose runs tell where this one's optimum may be. ``granted``: how many of the trials a budget allows.
    ``finished`` is in the order of proposal."""

    recipe: str
    parametrization: Parametrization
    width: int
    space: SearchSpace
    settings: SearchSettings
    trials: int
    make_run: MakeRun
    narrower: tuple[Study, ...] = ()
    searches_ratio: bool = False
    ratio: float | None = None
    granted: float = math.inf
    finished: list[tuple[Point, RunRecord]] = field(default_factory=list)
    batch: list[tuple[Point, RunSpec]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.finished) >= self.trials

    @property
    def flops_per_run(self) -> float:
        """All runs of a study cost the same."""
        return self.make_run(self.space.optimizer(self.space.lr.at(0.5), 0.0, self.space.embedding_lr_ratio.values[0]), 0).flops

    def runs(self, records: Mapping[str, RunRecord]) -> list[RunRecord]:
        """Runs so far in the order of proposal, those of the unfinished batch included."""
        return [records[run_id] for run_id in self._run_ids() if run_id in records]

    def has(self, record: RunRecord) -> bool:
        """Whether a run is one of this study's so far."""
        return record.run_id in self._run_ids()

    def complete(self, records: Mapping[str, RunRecord]) -> list[RunRecord]:
        """Complete runs so far, those of the unfinished batch included."""
        return [record for record in self.runs(records) if record.loss is not None]

    def _run_ids(self) -> list[str]:
        return [record.run_id for _, record in self.finished] + [spec.run_id for _, spec in self.batch]

    @property
    def best(self) -> RunRecord | None:
        """The complete run with the lowest loss, at the frozen ratio where there is one."""
        complete = [record for _, record in self.finished if record.loss is not None]
        at_ratio = [record for record in complete if self.ratio in (None, record.spec.optimizer.embedding_lr_ratio)]
        return min(at_ratio or complete, key=lambda record: record.loss or math.inf, default=None)

    def missing(self, records: Mapping[str, RunRecord]) -> list[RunSpec]:
        """Runs to do next; takes in whatever batches the records complete. Empty: done, or waiting for narrower widths."""
        while not self.done and self._ready:
            if not self.batch:
                self.batch = self._next_batch()
            left = [(index, spec) for index, (_, spec) in enumerate(self.batch) if spec.run_id not in records]
            if left:
                return [spec for index, spec in left if len(self.finished) + index < self.granted]
            self.finished += [(point, records[spec.run_id]) for point, spec in self.batch]
            self.batch = []
            if self.ratio is None:
                best = self.best
                values = self.space.embedding_lr_ratio.values
                self.ratio = best.spec.optimizer.embedding_lr_ratio if best else values[len(values) // 2]
        return []

    @property
    def _ready(self) -> bool:
        """Whether all is there that the next batch depends on."""
        waits = any(len(study.finished) < self._shown(study) for study in self.narrower)
        return (self.searches_ratio or self.ratio is not None) and not waits

    @property
    def first_look(self) -> int:
        """Runs that compare the ratios and, for a design, go over the range: what wider widths start from."""
        compared = len(self.space.embedding_lr_ratio.values) if self.searches_ratio else 0
        return compared + (max(self.settings.batch, MIN_RUNS + 1) if self.settings.sampler == "design" else 0)

    def _shown(self, narrower: Study) -> int:
        """How many runs of a narrower study the next batch sees: as many as this one has, and those of its first look at least.
        Later ones are not shown, or more trials would change what was proposed."""
        return max(narrower.first_look, len(self.finished))

    def batch_size(self, start: int) -> int:
        """Proposals in the batch that starts at trial ``start``."""
        compares = self.searches_ratio and start == 0
        size = len(self.space.embedding_lr_ratio.values) if compares else self.settings.batch
        return min(size, self.trials - start)

    def _next_batch(self) -> list[tuple[Point, RunSpec]]:
        """The next proposals: as many as the batch has, fewer where the trials end in between."""
        batch: list[tuple[Point, RunSpec]] = []
        if self.ratio is None:
            # The values of the ratio side by side, all else equal.
            for ratio in self.space.embedding_lr_ratio.values:
                batch.append((self.space.centre(), self._run(self.space.centre(), ratio, batch)))
            return batch
        for point in self._points(len(self.finished))[: self.trials - len(self.finished)]:
            batch.append((point, self._run(point, self.ratio, batch)))
        return batch

    def _points(self, start: int) -> list[Point]:
        """Points of the batch that starts at trial ``start``. They do not depend on ``trials``: a study that is continued with
        more of them finds the earlier ones among its own."""
        size = self.settings.batch
        seed = int.from_bytes(hashlib.sha256(f"{self.settings.seed} {self.width} {start}".encode()).digest()[:4])
        if self.settings.sampler == "design":
            return self._design(self.space.spread(size, seed))
        observed = [(point, self._value(record)) for point, record in self.finished if self._comparable(record)]
        if len(observed) < 2:
            return self.space.spread(size, seed)
        # A batch starts with what a fit needs: LRs on both sides of the best one, and the best one again with a new seed, so
        # that noise is measured where it matters.
        best = min(observed, key=lambda pair: pair[1])[0]
        needed = [*self._bracket(best), best]
        count = max(0, size - len(needed))
        return needed + propose(self.settings.sampler, self.space.distributions(), observed, count=count, seed=seed)

    def _design(self, spread: list[Point]) -> list[Point]:
        """The points that tell most about the optimum at this width, by these runs and the narrower widths'; ``spread`` gives
        what is not known yet, below where runs diverged."""
        shown = [record for study in self.narrower for _, record in study.finished[: self._shown(study)]]
        seen = [record for record in (*(record for _, record in self.finished), *shown) if self._comparable(record)]
        bounds = self.space.bounds()
        points = design(
            seen,
            self.make_run(self.space.optimizer(self.space.lr.low, self.space.weight_decay.low, self.ratio or 1.0), 0),
            bounds,
            len(spread),
        )
        low, high = bounds["lr"]
        share = math.log(highest_lr(seen, bounds["lr"]) / low) / math.log(high / low)
        below = [point | {"lr": low * (point["lr"] / low) ** share} for point in spread]
        return [one | other for one, other in zip(below, points or below, strict=True)]

    def _bracket(self, best: Point) -> list[Point]:
        """The best point moved outwards, to each side where no complete run lies at least a factor of sqrt 2 away: by a
        factor of 2, or to the middle between it and the lowest LR that diverged."""
        complete = [point["lr"] for point, record in self.finished if self._comparable(record) and record.loss is not None]
        diverged = [point["lr"] for point, record in self.finished if self._comparable(record) and record.loss is None]
        points, lr = [], best["lr"]
        if not any(other >= lr * math.sqrt(2) for other in complete):
            wall = min((other for other in diverged if other > lr), default=math.inf)
            points.append(best | {"lr": min(2 * lr, math.sqrt(lr * wall), self.space.lr.high)})
        if not any(other <= lr / math.sqrt(2) for other in complete):
            points.append(best | {"lr": max(lr / 2, self.space.lr.low)})
        return [point for point in points if point["lr"] != lr]

    def _comparable(self, record: RunRecord) -> bool:
        return self.ratio is None or record.spec.optimizer.embedding_lr_ratio == self.ratio

    def _run(self, point: Point, ratio: float, batch: list[tuple[Point, RunSpec]]) -> RunSpec:
        """The run of a point, with the first seed that this study has not used there."""
        decay = point.get("weight_decay", self.space.weight_decay.low)
        optimizer = self.space.optimizer(_round(point["lr"]), _round(decay), ratio)
        taken = {*self._run_ids(), *(spec.run_id for _, spec in batch)}
        number = 0
        while (spec := self.make_run(optimizer, number)).run_id in taken:
            number += 1
        return spec

    @staticmethod
    def _value(record: RunRecord) -> float:
        """What the sampler minimises: ln loss. A diverged run counts as one that learned nothing: finite, so that it is heard."""
        return math.log(record.loss if record.loss is not None else math.log(record.spec.model.vocab))


def _round(value: float) -> float:
    """Three significant digits: enough for a hyperparameter, and the same run on machines that differ in the last bit."""
    return float(f"{value:.3g}")
