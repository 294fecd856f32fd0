"""All studies of a search: which run comes next, over arms and cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from hptransfer.base.errors import UsageError
from hptransfer.cli import number
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.runs import Job, Record, Store
from hptransfer.search.progress import cost
from hptransfer.search.sampler import Values
from hptransfer.search.study import Study
from hptransfer.trainers import resolve


class Studies:
    """All studies of a command. The smallest cell of each arm searches the LR ratio for the others."""

    def __init__(self, studies: Sequence[Study]) -> None:
        self.studies = studies

    def missing(self, records: Mapping[str, Record]) -> list[Job]:
        """Runs that could start now, the longest first: the wide studies are the critical path, and short runs fill the gaps
        that their batches leave."""
        found = [job for study in self.studies for job in study.missing(records)]
        return sorted(found, key=cost, reverse=True)

    def failed(self, records: Mapping[str, Record]) -> list[str]:
        """The runs of these studies that failed."""
        return [record.run_id for study in self.studies for record in study.runs(records) if record.state == "failed"]

    def grant(self, flops: float) -> None:
        """Let the trials cost ``flops`` in all. Which ones fit depends neither on how fast any of them is nor on which have been
        done already."""
        for study in self.studies:
            study.granted = 0
        left = flops * (1 + 1e-9)
        for study in self._in_order():
            left -= study.cost_per_run
            if left < 0:
                return
            study.granted += 1

    def _in_order(self) -> Iterator[Study]:
        """The studies, each once per trial: batch by batch, in rounds over those that could start one by then."""
        counts = {id(study): 0 for study in self.studies}
        going = True
        while going:
            going = False
            for study in self.studies:
                count = counts[id(study)]
                waits = any(counts[id(one)] < max(one.first_look, count) for one in study.narrower)
                if waits or (study.ratio_from and not counts[id(study.ratio_from)]):
                    continue
                for _ in range(study.batch_size(count)):
                    yield study
                    counts[id(study)] += 1
                    going = True

    def of(self, record: Record) -> Study:
        """The study that a record belongs to."""
        return next(study for study in self.studies if study.has(record))

    def best_line(self, record: Record, records: Mapping[str, Record]) -> str:
        """The best so far of the study that a record belongs to, in words."""
        study = self.of(record)
        best = min(study.complete(records), key=lambda run: run.loss or math.inf, default=None)
        return f"best {best.loss:.4f} at lr {number(best.point['lr'])}" if best else "none complete yet"


def make_studies(
    experiment: Experiment,
    inputs: Mapping[str, Inputs],
    store: Store | None = None,
    arms: Sequence[Arm] | None = None,
    slots: Callable[[], int] | None = None,
) -> Studies:
    """One study per arm, all of the experiment by default, and cell, the smallest first. ``inputs``: what an arm's runs read, by
    arm. What they decide is written to ``store``. ``slots``: runs that fit side by side; a study's share is that of its arm, as
    the widest cells, which go on together, take nearly all of the time."""
    chosen = experiment.compared if arms is None else arms
    share = (lambda: math.ceil(slots() / len(chosen))) if slots else None
    retried = store.retried() if store else frozenset()
    return Studies([study for arm in chosen for study in _studies_of(arm, experiment, inputs[arm.name], store, share, retried)])


def _studies_of(
    arm: Arm,
    experiment: Experiment,
    inputs: Inputs,
    store: Store | None,
    slots: Callable[[], int] | None,
    retried: frozenset[str],
) -> list[Study]:
    space, search = experiment.space(arm), experiment.search
    if search.trials < (ratios := len(space.embedding_lr_ratio.values)):
        raise UsageError(f"search.trials {search.trials} is too few: the first {ratios} compare {arm.name}'s embedding_lr_ratio")
    studies: list[Study] = []
    for cell in experiment.searched_cells:
        studies.append(
            Study(
                arm=arm,
                cell=cell,
                space=space,
                settings=search,
                make_run=partial(_run, experiment, arm, inputs, cell),
                narrower=tuple(one for one in studies if _is_within(one.cell, cell)) if search.sampler == "design" else (),
                ratio_from=studies[0] if studies else None,
                store=store,
                slots=slots,
                retried=retried,
            )
        )
    if len(studies) > 1 and search.trials < (first := studies[0].first_look):
        raise UsageError(
            f"search.trials {search.trials} is too few: wider widths start from the first {first} runs of the smallest; "
            f"more trials, or one width, or search.sampler tpe, gp or random"
        )
    return studies


def _is_within(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether a cell is smaller than another in a scale, and larger in none: what is known there tells of the other."""
    return one != other and all(one[name] <= other[name] for name in other)


def _run(experiment: Experiment, arm: Arm, inputs: Inputs, cell: Mapping[str, int], values: Values, seed: int) -> Job:
    point = experiment.point(
        arm,
        inputs,
        **cell,
        lr=values["lr"],
        weight_decay=values["weight_decay"],
        embedding_lr_ratio=values["embedding_lr_ratio"],
        seed=experiment.search.seed + seed,
    )
    return resolve(point)
