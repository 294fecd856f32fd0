"""The finished runs of one group (recipe, parametrization) as arrays, and the seed noise that their replicates show."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hptransfer.errors import UsageError
from hptransfer.store import RunRecord
from hptransfer.store.record import State

Array = NDArray[np.float64]

MIN_RUNS = 3  # complete runs that a width needs for its optimum and offset


@dataclass(frozen=True)
class Sweep:
    """Complete runs at one embedding_lr_ratio, one array entry per run; ``lr`` and ``weight_decay`` in base coordinates.

    ``low`` and ``high`` bound the ln lr of each width's complete runs; ``ceiling`` is the lowest ln lr
    above them that diverged (inf: none did), and ``diverged`` the number of diverged runs at the one ratio.
    """

    widths: tuple[int, ...]
    index: NDArray[np.intp]  # of each run's width in ``widths``
    ln_lr: Array
    ln_wd: Array  # -inf where weight_decay is 0
    ln_loss: Array  # nats per token
    low: Array
    high: Array
    ceiling: Array
    diverged: tuple[int, ...]

    @property
    def excess(self) -> Array:
        """ln loss above the lowest of the run's width."""
        lowest = np.array([self.ln_loss[self.index == i].min() for i in range(len(self.widths))])
        return np.asarray(self.ln_loss - lowest[self.index])

    def runs(self, width: int) -> int:
        """Complete runs at a width."""
        return int(np.sum(self.index == self.widths.index(width)))

    @property
    def sweeps_weight_decay(self) -> bool:
        """Whether weight_decay was varied, over positive values only."""
        return bool(np.all(np.isfinite(self.ln_wd)) and np.ptp(self.ln_wd) > 0)

    def without_widest(self) -> Sweep:
        """The sweep of all widths but the largest."""
        last = len(self.widths) - 1
        keep = self.index < last
        return Sweep(
            widths=self.widths[:last],
            index=self.index[keep],
            ln_lr=self.ln_lr[keep],
            ln_wd=self.ln_wd[keep],
            ln_loss=self.ln_loss[keep],
            low=self.low[:last],
            high=self.high[:last],
            ceiling=self.ceiling[:last],
            diverged=self.diverged[:last],
        )


def make_sweep(records: Sequence[RunRecord], ratio: float) -> Sweep:
    """The sweep of one group's records at a ratio. Raises UsageError where a width has too few complete runs there."""
    widths = tuple(sorted({record.spec.model.width for record in records}))
    used = [record for record in records if record.spec.optimizer.embedding_lr_ratio == ratio]
    complete = [(record.spec, record.loss) for record in used if record.loss is not None]
    count = Counter(spec.model.width for spec, _ in complete)
    for width in widths:
        # One run beyond the parameters, or there is nothing to judge the fit by.
        needed = MIN_RUNS + 1 if len(widths) == 1 else MIN_RUNS
        if count[width] < needed:
            raise UsageError(
                f"{records[0].spec.optimizer.recipe} at width {width} has {count[width]} complete runs at embedding_lr_ratio "
                f"{ratio:g} and needs {needed}; go on with `python -m hptransfer.search`"
            )
    swept = [_ln_lrs(used, width, "complete") for width in widths]
    decays = [spec.optimizer.weight_decay for spec, _ in complete]
    return Sweep(
        widths=widths,
        index=np.array([widths.index(spec.model.width) for spec, _ in complete], dtype=np.intp),
        ln_lr=np.array([math.log(spec.optimizer.lr) for spec, _ in complete]),
        ln_wd=np.array([math.log(decay) if decay > 0 else -math.inf for decay in decays]),
        ln_loss=np.array([math.log(loss) for _, loss in complete]),
        low=np.array([min(lrs) for lrs in swept]),
        high=np.array([max(lrs) for lrs in swept]),
        # A diverged run below a finished one was bad luck; it bounds nothing.
        ceiling=np.array(
            [
                min((x for x in _ln_lrs(used, width, "diverged") if x > max(lrs)), default=math.inf)
                for width, lrs in zip(widths, swept, strict=True)
            ]
        ),
        diverged=tuple(len(_ln_lrs(used, width, "diverged")) for width in widths),
    )


def _ln_lrs(records: Sequence[RunRecord], width: int, state: State) -> list[float]:
    return [math.log(r.spec.optimizer.lr) for r in records if r.state == state and r.spec.model.width == width]


def frozen_ratio(records: Sequence[RunRecord]) -> float:
    """The embedding_lr_ratio that the search settled on: the most frequent at the largest width; of equals that of the best run.

    Search varies the ratio in its first trials at the smallest width and keeps it from there on, so that the wider
    widths hold one ratio only.
    """
    largest = max(record.spec.model.width for record in records)
    losses: dict[float, list[float]] = defaultdict(list)
    for record in records:
        if record.spec.model.width == largest:
            losses[record.spec.optimizer.embedding_lr_ratio].append(math.inf if record.loss is None else record.loss)
    return max(losses, key=lambda ratio: (len(losses[ratio]), -min(losses[ratio])))


@dataclass(frozen=True)
class Noise:
    """Standard deviation of ln loss, that is the relative one of the loss, with the degrees of freedom behind it."""

    sd: float
    dof: float


def replicate_noise(records: Sequence[RunRecord]) -> Noise | None:
    """Seed noise, pooled over all sets of complete runs that differ in nothing but their seeds; None without such."""
    sets: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.loss is not None:
            seedless = record.spec.model_copy(update={"init_seed": 0, "data_seed": 0})
            sets[seedless.run_id].append(math.log(record.loss))
    dof = sum(len(values) - 1 for values in sets.values())
    if dof == 0:
        return None
    squares = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in sets.values())
    return Noise(math.sqrt(squares / dof), dof)
