"""What is run at the held-out width, and in which order: a function of the records. Pure.

Around every prediction: its seeds, probes on LR and weight decay, and the simple transfers. A probe that seems to win although it
is the outermost is followed further out. Then the baseline, at its best configuration, is trained over other horizons until its
losses bracket those of every challenger, its LR moved as its law says the best one goes with tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest

import scipy  # loads its parts when they are asked for: stats takes a second

from hptransfer.experiment import ValidationSettings
from hptransfer.experiment.membership import REPEATED_SEED, Resolve, is_at
from hptransfer.runs import Job, Point
from hptransfer.runs.point import Number
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.configurations import (
    Configuration,
    Records,
    horizon,
    lr_probe,
    predicted,
    replicated,
    seed_noise,
    simple_transfers,
    weight_decay_probe,
)
from hptransfer.validate.result import Kind, SeedNoise

FARTHEST = 8.0  # factor on LR or weight decay up to which a winning outermost probe is followed
# In standard errors of a difference: what is followed outwards, and the ends of an 80 % interval for a bracket.
HINT, BRACKETED = 1.0, 1.3
LEVEL = 0.05  # one-sided, of all configurations together: what has won over the prediction

PROBES: dict[Kind, Callable[[Prediction, float, Resolve], Configuration]] = {
    "lr_probe": lr_probe,
    "weight_decay_probe": weight_decay_probe,
}


@dataclass(frozen=True)
class Protocol:
    """The runs at the target for the predictions by arm; the baseline's horizons only where it and a challenger are there.
    ``baseline``: the arm that the others are measured against, whether it has a prediction or not. ``simple_transfers``: whether
    what people do without a fit is run too."""

    predictions: Mapping[str, Prediction]
    settings: ValidationSettings
    baseline: str | None
    resolve: Resolve
    simple_transfers: bool = True

    @property
    def yardstick(self) -> str | None:
        """The baseline, where it has a prediction."""
        return self.baseline if self.baseline in self.predictions else None

    def of(self, names: Container[str | None]) -> Protocol:
        """The same for some of the arms."""
        return replace(self, predictions={name: told for name, told in self.predictions.items() if name in names})

    def around(self, name: str, records: Records) -> list[Configuration]:
        """What is around one prediction, the predicted runs first; longer as records show that probes must go further. Those
        that failed are left out."""
        told, *others = self._first[name]
        found = [told, *(one for one in others if not one.failed(records))]
        for kind, make in PROBES.items():
            while outermost := self.unbracketed(name, found, records, HINT).get(kind):
                further = outermost.factor * 2 if outermost.factor > 1 else outermost.factor / 2
                one = make(self.predictions[name], further, self.resolve)
                if not 1 / FARTHEST <= further <= FARTHEST or one.failed(records):
                    break
                found.append(one)
        return found

    def unbracketed(
        self, name: str, around: list[Configuration], records: Records, margin: float | None = None
    ) -> dict[Kind, Configuration]:
        """The probes, one a kind at most, that are the outermost of all and beat the prediction, significantly or by ``margin``
        standard errors."""
        found: dict[Kind, Configuration] = {}
        for kind in PROBES:
            probes = [one for one in around if one.kind == kind]
            if not probes or any(one.missing(records) for one in (around[0], *probes)):
                continue
            best = min(probes, key=lambda one: one.first_loss(records) or math.inf)
            outermost = best.factor in (min(one.factor for one in probes), max(one.factor for one in probes))
            if outermost and self._wins(name, best, around, records, margin):
                found[kind] = best
        return found

    def best(self, name: str, records: Records) -> Configuration:
        """The configuration that stands for an arm where it is the baseline: the predicted one, or another that won
        significantly over it, then with as many seeds, none of which it was chosen by."""
        around = self.around(name, records)
        lowest = min(around, key=lambda one: one.first_loss(records) or math.inf)
        won = lowest is not around[0] and self._wins(name, lowest, around, records)
        return replicated(lowest, self.settings.seeds, self.resolve, first=1) if won else around[0]

    def rungs(self, records: Records) -> list[Configuration]:
        """The baseline's other horizons so far: one more on a side while its last has run and does not bracket."""
        if (baseline := self.yardstick) is None:
            return []
        challengers = [name for name in self.predictions if name != baseline]
        wanted = {name: mean for name in challengers if math.isfinite(mean := self._predicted(name).mean(records))}
        start = self.best(baseline, records)
        if not has_ladder(start.jobs[0], self.resolve) or not wanted or start.missing(records) or not start.losses(records):
            return []
        rungs: list[Configuration] = []
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
                last = horizon(self.predictions[baseline], start, factor, self.resolve)
                rungs.append(last)
        return sorted(rungs, key=lambda rung: rung.factor)

    def finished_rungs(self, records: Records) -> list[Configuration]:
        """Those of `rungs` that have run."""
        return [rung for rung in self.rungs(records) if not rung.missing(records)]

    def missing(self, records: Records) -> list[Job]:
        """What could run now."""
        # In turns, so that what else the machine does falls on all arms alike.
        turns = zip_longest(*(self.around(name, records) for name in self.predictions))
        left = _left([one for turn in turns for one in turn if one], records)
        if left or len(self.predictions) < 2 or self.yardstick is None:
            return left
        return _left([self.best(self.yardstick, records), *self.rungs(records)], records)

    def planned(self, records: Records) -> list[Job]:
        """What is left to run, if the baseline needs every horizon."""
        found = [one for name in self.predictions for one in self.around(name, records)]
        own = self.predictions[self.yardstick].run if self.yardstick is not None else None
        if self.yardstick and own and len(self.predictions) > 1 and has_ladder(own, self.resolve):
            told, start = self.predictions[self.yardstick], self._predicted(self.yardstick)
            found += [horizon(told, start, factor, self.resolve) for factor in self.settings.ladder]
        return _left(found, records)

    @cached_property
    def _first(self) -> dict[str, tuple[Configuration, ...]]:
        """What every prediction has around it from the start."""
        return {name: tuple(self._start(prediction)) for name, prediction in self.predictions.items()}

    def _start(self, prediction: Prediction) -> Iterator[Configuration]:
        yield predicted(prediction, self.settings.seeds, self.resolve)
        for factor in self.settings.probe_factors:
            yield lr_probe(prediction, factor, self.resolve)
            if prediction.point.hyperparameters.get("weight_decay", 0) > 0:
                yield weight_decay_probe(prediction, factor, self.resolve)
        if self.simple_transfers:
            yield from simple_transfers(prediction, self.resolve)

    def baseline_noise(self, best: Configuration, rungs: list[Configuration], records: Records) -> SeedNoise:
        """Of the baseline: over the seeds of its predicted run, of the configuration that stands for it, and of its horizons."""
        assert self.yardstick is not None
        found = {one.jobs[0].run_id: one for one in (self._predicted(self.yardstick), best, *rungs)}
        return seed_noise(self.predictions[self.yardstick], found.values(), records)

    def _predicted(self, name: str) -> Configuration:
        return self._first[name][0]

    def _wins(
        self, name: str, one: Configuration, around: list[Configuration], records: Records, margin: float | None = None
    ) -> bool:
        """Whether the first seed is lower than the predicted run's by ``margin`` standard errors of the difference; without one,
        by so many that of all configurations none would be at `LEVEL` if none were better (Bonferroni, Student's t)."""
        own, other = around[0].first_loss(records), one.first_loss(records)
        if around[0].failed(records):
            return False  # nothing is known of it
        if own is None or other is None:
            return own is None and other is not None
        noise = seed_noise(self.predictions[name], around, records)
        margin = margin or float(scipy.stats.t.isf(LEVEL / (len(around) - 1), noise.freedom))
        return math.log(own / other) > margin * math.sqrt(2) * noise.sd

    def _margin(
        self, rung: Configuration, challenger: str, start: Configuration, rungs: list[Configuration], records: Records
    ) -> float:
        """By how many standard errors a challenger's loss is above that of a horizon of the baseline."""
        other = self._predicted(challenger)
        noise = self.baseline_noise(start, rungs, records).sd
        own = seed_noise(self.predictions[challenger], (other,), records).sd
        error = math.hypot(noise, own) / math.sqrt(self.settings.seeds)
        difference = math.log(other.mean(records) / rung.mean(records))
        return difference / error if error > 0 else math.copysign(math.inf, difference)


def at_searched_scales(protocol: Protocol) -> list[Protocol]:
    """What is run at every scale that all arms were searched at, the smallest first: each arm's seeds at its optimum there, and
    the baseline's horizons. None without a baseline and a challenger."""
    if protocol.yardstick is None or len(protocol.predictions) < 2:
        return []
    cells = [{tuple(optimum.scales.items()) for optimum in prediction.optima} for prediction in protocol.predictions.values()]
    settings = protocol.settings.model_copy(update={"probe_octaves": ()})
    return [
        replace(
            protocol,
            predictions={
                name: _at(prediction, dict(cell), protocol.resolve) for name, prediction in protocol.predictions.items()
            },
            settings=settings,
            simple_transfers=False,
        )
        for cell in sorted(set.intersection(*cells))
    ]


@dataclass(frozen=True)
class Together:
    """What is run at the target, first, and at other scales."""

    protocols: tuple[Protocol, ...]

    def missing(self, records: Records) -> list[Job]:
        """What could run now."""
        return _once(one for protocol in self.protocols for one in protocol.missing(records))

    def planned(self, records: Records) -> list[Job]:
        """What is left to run, if the baseline needs every horizon."""
        return _once(one for protocol in self.protocols for one in protocol.planned(records))

    def arm(self, point: Point) -> str:
        """Whose run it is."""
        told = ((name, one.point) for protocol in self.protocols for name, one in protocol.predictions.items())
        return next((name for name, place in told if is_at(place, point)), "")


def _at(prediction: Prediction, cell: Mapping[str, Number], resolve: Resolve) -> Prediction:
    """The optimum that an arm's search found in a cell, in the place of a prediction for it. Its seeds are no search's."""
    optimum = next(one for one in prediction.optima if one.scales == cell)
    best = {name: interval.value for name, interval in optimum.best.items()}
    point = prediction.point.at(**optimum.scales, init_seed=REPEATED_SEED, data_seed=REPEATED_SEED, **best)
    return prediction.model_copy(update={"job": resolve(point)})


def has_ladder(job: Job, resolve: Resolve) -> bool:
    """Whether a run can be made longer and shorter: a program may not say how."""
    tokens = job.point.scales.get("tokens")
    return tokens is not None and resolve(job.point.at(tokens=2 * tokens)).run_id != job.run_id


def _left(configurations: list[Configuration], records: Records) -> list[Job]:
    """Runs without a record."""
    return _once(job for one in configurations for job in one.missing(records))


def _once(jobs: Iterable[Job]) -> list[Job]:
    """Each run once: two configurations may hold the same."""
    return list({job.run_id: job for job in jobs}.values())
