"""What is run at the held-out width, and in which order: a function of the records. Pure.

Around every prediction: its seeds, probes on LR and weight decay, and the simple transfers. A probe that seems to win although it
is the outermost is followed further out. Then the baseline, at its best configuration, is trained over other horizons until its
losses bracket those of every challenger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

from scipy import stats

from hptransfer.experiment import ValidationSettings
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.arms import (
    Arm,
    Records,
    horizon,
    lr_probe,
    predicted,
    seed_noise,
    simple_transfers,
    weight_decay_probe,
)
from hptransfer.validate.result import BASELINE, Kind, SeedNoise

FARTHEST = 8.0  # factor on LR or weight decay up to which a winning outermost probe is followed
# In standard errors of a difference: what is followed outwards, and the ends of an 80 % interval for a bracket.
HINT, BRACKETED = 1.0, 1.3
LEVEL = 0.05  # one-sided, of all arms together: what has won over the prediction

PROBES: dict[Kind, Callable[[Prediction, float], Arm]] = {"lr_probe": lr_probe, "weight_decay_probe": weight_decay_probe}


@dataclass(frozen=True)
class Protocol:
    """The runs at the target for the predictions by recipe; the baseline's horizons only where it and a challenger are there."""

    predictions: Mapping[str, Prediction]
    settings: ValidationSettings

    def around(self, name: str, records: Records) -> list[Arm]:
        """The arms around one prediction, the predicted runs first; longer as records show that probes must go further."""
        arms = list(self._first[name])
        for kind, make in PROBES.items():
            while outermost := self.unbracketed(name, arms, records, HINT).get(kind):
                further = outermost.factor * 2 if outermost.factor > 1 else outermost.factor / 2
                if not 1 / FARTHEST <= further <= FARTHEST:
                    break
                arms.append(make(self.predictions[name], further))
        return arms

    def unbracketed(self, name: str, arms: list[Arm], records: Records, margin: float | None = None) -> dict[Kind, Arm]:
        """The probes, one a kind at most, that are the outermost of all and beat the prediction, significantly or by ``margin``
        standard errors."""
        found: dict[Kind, Arm] = {}
        for kind in PROBES:
            probes = [arm for arm in arms if arm.kind == kind]
            if not probes or any(arm.missing(records) for arm in (arms[0], *probes)):
                continue
            best = min(probes, key=lambda arm: arm.first_loss(records) or math.inf)
            outermost = best.factor in (min(arm.factor for arm in probes), max(arm.factor for arm in probes))
            if outermost and self._wins(name, best, arms, records, margin):
                found[kind] = best
        return found

    def best(self, name: str, records: Records) -> Arm:
        """The configuration that stands for an optimizer where it is the baseline: the predicted one, or another that won
        significantly over it, then with as many seeds, none of which it was chosen by."""
        arms = self.around(name, records)
        lowest = min(arms, key=lambda arm: arm.first_loss(records) or math.inf)
        return lowest.replicated(self.settings.seeds, first=1) if self._wins(name, lowest, arms, records) else arms[0]

    def rungs(self, records: Records) -> list[Arm]:
        """The baseline's other horizons so far: one more on a side while its last has run and does not bracket."""
        if BASELINE not in self.predictions:
            return []
        challengers = [name for name in self.predictions if name != BASELINE]
        wanted = {name: mean for name in challengers if math.isfinite(mean := self._predicted(name).mean(records))}
        start = self.best(BASELINE, records)
        if not wanted or start.missing(records) or not start.losses(records):
            return []
        rungs: list[Arm] = []
        for side in (1, -1):  # longer runs until one is lower than every challenger, shorter ones until one is higher
            challenger = min(wanted, key=wanted.__getitem__) if side > 0 else max(wanted, key=wanted.__getitem__)
            last = start
            for factor in sorted(self.settings.ladder, reverse=side < 0):
                if (factor - 1) * side < 0:
                    continue
                if last.missing(records) or not last.losses(records):
                    break
                if side * self._margin(last, challenger, start, rungs, records) > BRACKETED:
                    break
                last = horizon(start, factor)
                rungs.append(last)
        return sorted(rungs, key=lambda arm: arm.factor)

    def missing(self, records: Records) -> list[RunSpec]:
        """What could run now."""
        # In turns, so that what else the machine does falls on all optimizers alike.
        turns = zip_longest(*(self.around(name, records) for name in self.predictions))
        left = _left([arm for turn in turns for arm in turn if arm], records)
        if left or len(self.predictions) < 2 or BASELINE not in self.predictions:
            return left
        return _left([self.best(BASELINE, records), *self.rungs(records)], records)

    def planned(self, records: Records) -> list[RunSpec]:
        """What is left to run, if the baseline needs every horizon."""
        arms = [arm for name in self.predictions for arm in self.around(name, records)]
        if BASELINE in self.predictions and len(self.predictions) > 1:
            arms += [horizon(self._predicted(BASELINE), factor) for factor in self.settings.ladder]
        return _left(arms, records)

    @cached_property
    def _first(self) -> dict[str, tuple[Arm, ...]]:
        """The arms that every prediction has from the start."""
        return {name: tuple(self._start(prediction)) for name, prediction in self.predictions.items()}

    def _start(self, prediction: Prediction) -> Iterator[Arm]:
        yield predicted(prediction, self.settings.seeds)
        for factor in self.settings.probe_factors:
            yield lr_probe(prediction, factor)
            if prediction.spec.optimizer.weight_decay > 0:
                yield weight_decay_probe(prediction, factor)
        yield from simple_transfers(prediction)

    def baseline_noise(self, best: Arm, rungs: list[Arm], records: Records) -> SeedNoise:
        """Of the baseline: over the seeds of its predicted run, of the configuration that stands for it, and of its horizons."""
        arms = {arm.specs[0].run_id: arm for arm in (self._predicted(BASELINE), best, *rungs)}
        return seed_noise(self.predictions[BASELINE], arms.values(), records)

    def _predicted(self, name: str) -> Arm:
        return self._first[name][0]

    def _wins(self, name: str, arm: Arm, arms: list[Arm], records: Records, margin: float | None = None) -> bool:
        """Whether an arm's first seed is lower than the predicted run's by ``margin`` standard errors of the difference; without
        one, by so many that of all arms none would be at `LEVEL` if none were better (Bonferroni, Student's t)."""
        own, other = arms[0].first_loss(records), arm.first_loss(records)
        if own is None or other is None:
            return own is None and other is not None
        noise = seed_noise(self.predictions[name], arms, records)
        margin = margin or float(stats.t.isf(LEVEL / (len(arms) - 1), noise.freedom))
        return math.log(own / other) > margin * math.sqrt(2) * noise.sd

    def _margin(self, rung: Arm, challenger: str, start: Arm, rungs: list[Arm], records: Records) -> float:
        """By how many standard errors a challenger's loss is above that of a horizon of the baseline."""
        other = self._predicted(challenger)
        noise = self.baseline_noise(start, rungs, records).sd
        own = seed_noise(self.predictions[challenger], (other,), records).sd
        error = math.hypot(noise, own) / math.sqrt(self.settings.seeds)
        difference = math.log(other.mean(records) / rung.mean(records))
        return difference / error if error > 0 else math.copysign(math.inf, difference)


def _left(arms: list[Arm], records: Records) -> list[RunSpec]:
    """Runs without a record, each once: two arms may hold the same."""
    return list({spec.run_id: spec for arm in arms for spec in arm.missing(records)}.values())
