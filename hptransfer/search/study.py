"""A study: the trials of one arm at one cell, replayed from the store.

Proposals come in batches. A batch depends on the study's seed, its own number, the finished runs of the batches before it and
a fixed number of runs of smaller cells, all in the order they were proposed: a study that was killed, or continued with more
trials, proposes what an uninterrupted one would have. What was decided on the way is written down beside the runs, so that a
replay which would go elsewhere is found.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.distributions import FloatDistribution

from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.base.stored import shown
from hptransfer.experiment import SearchSettings
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.space import SearchSpace
from hptransfer.runs import Job, Record, Store
from hptransfer.search.design import batch_seed, spread
from hptransfer.search.progress import cost
from hptransfer.search.sampler import Values, distributions, ln_loss, propose
from hptransfer.transfer.sweep import MIN_RUNS

RATIO = "embedding_lr_ratio"
SEARCHED = ("lr", "weight_decay", RATIO)
LEAST_BATCH, LEAST_LOOKS = 4, 3  # proposals of a batch that follows the slots, and looks at the results that it leaves
FIRST_FAILURES = 3  # of a study: nothing has run, and something is wrong with the program rather than with a run
MakeRun = Callable[[Values, int], Job]  # of lr, weight_decay and embedding_lr_ratio, with the number of the seed


@dataclass(frozen=True)
class Kept:
    """The embedding/readout LR ratio that was kept, and the runs that it rests on."""

    ratio: float
    run_ids: tuple[str, ...]


@dataclass
class Study:
    """The first trials of a study compare the values of the embedding/readout LR ratio, and the best one is frozen; with
    ``ratio_from`` it is the one frozen there, and is waited for. ``narrower`` are the studies of the same arm whose runs tell
    where this one's optimum may be. ``granted``: how many of the trials a budget allows. ``finished`` is in the order of
    proposal. ``store``: where decisions are written (None: nowhere). ``slots``: how many of its runs fit side by side, asked once
    where ``settings.batch`` is auto. ``retried``: runs that failed once, which proposals do not hear of."""

    arm: Arm
    cell: dict[str, int]
    space: SearchSpace
    settings: SearchSettings
    make_run: MakeRun
    narrower: tuple[Study, ...] = ()
    ratio_from: Study | None = None
    store: Store | None = None
    slots: Callable[[], int] | None = None
    retried: frozenset[str] = frozenset()
    granted: float = math.inf
    finished: list[tuple[Values, Record]] = field(default_factory=list)
    batch: list[tuple[Values, Job]] = field(default_factory=list)
    _kept: Kept | None = None
    _is_settled: bool = False

    @property
    def kept(self) -> Kept | None:
        """What was decided about the ratio, here or where it is compared."""
        return self.ratio_from.kept if self.ratio_from else self._kept

    @property
    def ratio(self) -> float | None:
        """The frozen embedding/readout LR ratio; None as long as there is none."""
        return self.kept.ratio if self.kept else None

    @cached_property
    def size(self) -> int:
        """Proposals in a batch. One that follows the slots fits side by side and leaves several looks at the results; it stays
        what it was on the cluster where the study began."""
        if self.settings.batch != "auto":
            return self.settings.batch
        if self.store and (held := self.store.decision(self.study_id)):
            return self._batch_of(self.store, held)
        share = self.slots() if self.slots else LEAST_BATCH
        return max(LEAST_BATCH, min(share, self.trials // LEAST_LOOKS))

    def _batch_of(self, store: Store, held: Mapping[str, Any]) -> int:
        """Raises UsageError where a decision names no size of a batch."""
        batch = held.get("batch")
        if type(batch) is int and batch > 0:
            return batch
        where = f"store {store.location}: studies/{self.study_id}.json"
        raise UsageError(f"{where} is damaged (batch {shown(batch)}); without it, it is made again")

    @property
    def place(self) -> str:
        """The cell in words: width 64, tokens 204800."""
        return ", ".join(f"{name} {value}" for name, value in self.cell.items())

    @property
    def trials(self) -> int:
        return self.settings.trials

    @property
    def seed(self) -> str:
        """Of all the study's batches."""
        return " ".join(map(str, (self.settings.seed, *self.cell.values())))

    @cached_property
    def distributions(self) -> Mapping[str, FloatDistribution]:
        """What is searched, as Optuna has it."""
        return distributions(self.space)

    @property
    def job(self) -> Job:
        """A run of the study, at the lower end of its ranges and the frozen ratio."""
        return self.make_run(self._values({"lr": self.space.lr.low}, self.ratio or 1.0), 0)

    @cached_property
    def cost_per_run(self) -> float:
        """All runs of a study cost the same."""
        return cost(self.job)

    @property
    def done(self) -> bool:
        return len(self.finished) >= self.trials

    def runs(self, records: Mapping[str, Record]) -> list[Record]:
        """Runs so far in the order of proposal, those of the unfinished batch included."""
        return [records[run_id] for run_id in self._run_ids() if run_id in records]

    def has(self, record: Record) -> bool:
        """Whether a run is one of this study's so far."""
        return record.run_id in self._run_ids()

    def complete(self, records: Mapping[str, Record]) -> list[Record]:
        """Complete runs so far, those of the unfinished batch included."""
        return [record for record in self.runs(records) if record.loss is not None]

    def _run_ids(self) -> list[str]:
        return [record.run_id for _, record in self.finished] + [job.run_id for _, job in self.batch]

    def best(self, records: Mapping[str, Record]) -> Record | None:
        """The complete run with the lowest loss, at the frozen ratio where there is one."""
        complete = self.complete(records)
        return _lowest([record for record in complete if self._is_at_ratio(record)] or complete)

    def missing(self, records: Mapping[str, Record]) -> list[Job]:
        """Runs to do next; takes in whatever batches the records complete. Empty: done, or waiting for smaller cells."""
        while not self.done and self._ready:
            if self.kept is not None:
                self._settle(self.kept)
            if not self.batch:
                self.batch = self._next_batch()
            left = [(index, job) for index, (_, job) in enumerate(self.batch) if job.run_id not in records]
            if left:
                return [job for index, job in left if len(self.finished) + index < self.granted]
            self.finished += [(point, records[job.run_id]) for point, job in self.batch]
            self.batch = []
            if self.kept is None:
                self._kept = self._best_ratio()
                self._settle(self._kept)
        return []

    def refuse_broken(self, records: Mapping[str, Record]) -> None:
        """Raises CheckFailed where the first runs have all failed: the others would too."""
        runs = self.runs(records)
        if len(runs) >= FIRST_FAILURES and all(run.state == "failed" for run in runs):
            raise CheckFailed(
                f"the first {len(runs)} runs of {self.arm.name} at {self.place} failed: {runs[-1].outcome.reason}; mend it "
                f"and search with --retry-failed"
            )

    def _best_ratio(self) -> Kept:
        """That of the best run; the middle one where none is complete."""
        best = _lowest(record for _, record in self.finished if record.loss is not None and self._is_heard(record))
        values = self.space.embedding_lr_ratio.values
        ratio = best.point.hyperparameters.get(RATIO, values[0]) if best else values[len(values) // 2]
        return Kept(ratio, tuple(record.run_id for _, record in self.finished))

    def _settle(self, kept: Kept) -> None:
        """Decide what the study goes on with, once, and write it down."""
        if self._is_settled:
            return
        decision: dict[str, Any] = {
            **({"optimizer": self.arm.optimizer} if self.arm.optimizer else {}),
            "parametrization": self.arm.parametrization,
            "cell": self.cell,
            "sampler": self.settings.sampler,
            "seed": self.settings.seed,
            "batch": self.size,
            "embedding_lr_ratio": kept.ratio,
            "run_ids": list(kept.run_ids),
        }
        if self.store:
            self._write_down(self.store, decision)
        self._is_settled = True

    def _write_down(self, store: Store, decision: dict[str, Any]) -> None:
        """Raises UsageError where the store holds another decision."""
        held = store.decide(self.study_id, decision)
        if not (differs := [name for name in decision if held.get(name) != decision[name]]):
            return
        words = "; ".join(f"{name} {_words(held.get(name))} there, {_words(decision[name])} here" for name in differs)
        raise UsageError(
            f"store {store.location} holds another search of {self.arm.name} at {self.place} "
            f"(studies/{self.study_id}.json): {words}; search as it was, with another search.seed, or in another store"
        )

    @cached_property
    def study_id(self) -> str:
        """Hash of what makes a study: the settings and scales of its runs, what is searched, from which smaller cells it
        starts, the sampler and the seed. How much is searched (trials, budget) is not part of it."""
        point = self.job.point
        identity: dict[str, Any] = {
            "scales": point.scales,
            "settings": point.settings,
            "space": {name: getattr(self.space, name).model_dump(exclude={"source"}) for name in SEARCHED},
            "ratio_from": self.ratio_from.cell if self.ratio_from else None,
            "narrower": [study.cell for study in self.narrower],
            "sampler": self.settings.sampler,
            "seed": self.settings.seed,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def _ready(self) -> bool:
        """Whether all is there that the next batch depends on."""
        if self.ratio_from is not None and self.ratio is None:
            return False
        return all(len(study.finished) >= self._count_shown(study) for study in self.narrower)

    @property
    def first_look(self) -> int:
        """Runs that compare the ratios and, for a design, go over the range: what larger cells start from."""
        compared = len(self.space.embedding_lr_ratio.values) if self.ratio_from is None else 0
        return compared + (max(self.size, MIN_RUNS + 1) if self.settings.sampler == "design" else 0)

    def _count_shown(self, narrower: Study) -> int:
        """How many runs of a narrower study the next batch sees: as many as this one has, and those of its first look at least.
        Later ones are not shown, or more trials would change what was proposed."""
        return max(narrower.first_look, len(self.finished))

    def batch_size(self, start: int) -> int:
        """Proposals in the batch that starts at trial ``start``."""
        compares = self.ratio_from is None and start == 0
        size = len(self.space.embedding_lr_ratio.values) if compares else self.size
        return min(size, self.trials - start)

    def _next_batch(self) -> list[tuple[Values, Job]]:
        """The next proposals: as many as the batch has, fewer where the trials end in between."""
        batch: list[tuple[Values, Job]] = []
        if self.ratio is None:
            # The values of the ratio side by side, all else equal.
            for ratio in self.space.embedding_lr_ratio.values:
                batch.append((self.space.centre(), self._run(self.space.centre(), ratio, batch)))
            return batch
        for point in self._points(len(self.finished))[: self.trials - len(self.finished)]:
            batch.append((point, self._run(point, self.ratio, batch)))
        return batch

    def _points(self, start: int) -> list[Values]:
        """Points of the batch that starts at trial ``start``. They do not depend on ``trials``: a study that is continued with
        more of them finds the earlier ones among its own."""
        size, seed = self.size, batch_seed(self.seed, start)
        if self.settings.sampler == "design":
            return propose(self, seed, size)
        observed = [(point, ln_loss(record, self)) for point, record in self.finished if self.is_comparable(record)]
        if len(observed) < 2:
            return spread(self.distributions, size, seed)
        # A batch starts with what a fit needs: LRs on both sides of the best one, and the best one again with a new seed, so
        # that noise is measured where it matters.
        best = min(observed, key=lambda pair: pair[1])[0]
        needed = [*self._bracket(best), best]
        return needed + propose(self, seed, max(0, size - len(needed)))

    @property
    def shown(self) -> list[Record]:
        """The runs of smaller cells that the next batch sees."""
        found = (record for study in self.narrower for _, record in study.finished[: self._count_shown(study)])
        return [self.as_heard(record) for record in found]

    def _bracket(self, best: Values) -> list[Values]:
        """The best point moved outwards, to each side where no complete run lies at least a factor of sqrt 2 away: by a
        factor of 2, or to the middle between it and the lowest LR that diverged."""
        complete = [point["lr"] for point, record in self.finished if self.is_comparable(record) and record.loss is not None]
        diverged = [point["lr"] for point, record in self.finished if self.is_comparable(record) and record.loss is None]
        points, lr = [], best["lr"]
        if not any(other >= lr * math.sqrt(2) for other in complete):
            wall = min((other for other in diverged if other > lr), default=math.inf)
            points.append(best | {"lr": min(2 * lr, math.sqrt(lr * wall), self.space.lr.high)})
        if not any(other <= lr / math.sqrt(2) for other in complete):
            points.append(best | {"lr": max(lr / 2, self.space.lr.low)})
        return [point for point in points if point["lr"] != lr]

    def is_comparable(self, record: Record) -> bool:
        """Whether a run is at the ratio that was kept, and had said something when what came after it was proposed: one that
        failed had not, though it may have been run again since."""
        return self._is_heard(record) and self._is_at_ratio(record)

    def _is_at_ratio(self, record: Record) -> bool:
        return self.ratio in (None, record.point.hyperparameters.get(RATIO, self.ratio))

    def as_heard(self, record: Record) -> Record:
        """A record as proposals hear it: one that failed once has failed."""
        if self._is_heard(record):
            return record
        return record.model_copy(update={"outcome": record.outcome.model_copy(update={"state": "failed", "loss": None})})

    def _is_heard(self, record: Record) -> bool:
        return record.state != "failed" and record.run_id not in self.retried

    def _run(self, point: Values, ratio: float, batch: list[tuple[Values, Job]]) -> Job:
        """The run of a point, with the first seed that this study has not used there."""
        values = self._values({name: _round(value) for name, value in point.items()}, ratio)
        taken = {*self._run_ids(), *(job.run_id for _, job in batch)}
        number = 0
        while (job := self.make_run(values, number)).run_id in taken:
            number += 1
        return job

    def _values(self, point: Values, ratio: float) -> Values:
        """All hyperparameters; a weight decay that is not searched is its range's only value."""
        return {"weight_decay": self.space.weight_decay.low, **point, "embedding_lr_ratio": ratio}


def _lowest(complete: Iterable[Record]) -> Record | None:
    return min(complete, key=lambda record: record.loss or math.inf, default=None)


def _round(value: float) -> float:
    """Three significant digits: enough for a hyperparameter, and the same run on machines that differ in the last bit."""
    return float(f"{value:.3g}")


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
