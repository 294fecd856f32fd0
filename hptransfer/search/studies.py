"""All studies of a search: which run comes next, over recipes, parametrizations and widths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from hptransfer.base.errors import UsageError
from hptransfer.cli import number
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import DataSpec, Parametrization
from hptransfer.experiment.space import load_space
from hptransfer.runs import RunRecord
from hptransfer.search.study import Study
from hptransfer.trainers.ours.spec import OptimizerSpec, RunSpec


class Studies:
    """All studies of a command. The smallest width of each (recipe, parametrization) searches the LR ratio for the others."""

    def __init__(self, studies: Sequence[Study]) -> None:
        self.studies = studies

    def missing(self, records: Mapping[str, RunRecord]) -> list[RunSpec]:
        """Runs that could start now, the longest first: the wide studies are the critical path, and short runs fill the gaps
        that their batches leave."""
        found: list[RunSpec] = []
        ratios: dict[tuple[str, str], float | None] = {}
        for study in self.studies:
            key = (study.recipe, study.parametrization)
            if not study.searches_ratio:
                study.ratio = ratios[key]
            found += study.missing(records)
            ratios.setdefault(key, study.ratio)
        return sorted(found, key=lambda spec: spec.flops, reverse=True)

    def grant(self, flops: float) -> None:
        """Let the trials cost ``flops`` in all. Which ones fit depends neither on how fast any of them is nor on which have been
        done already."""
        for study in self.studies:
            study.granted = 0
        left = flops * (1 + 1e-9)
        for study in self._in_order():
            left -= study.flops_per_run
            if left < 0:
                return
            study.granted += 1

    def _in_order(self) -> Iterator[Study]:
        """The studies, each once per trial: batch by batch, in rounds over those that could start one by then."""
        counts = {id(study): 0 for study in self.studies}
        compared: set[tuple[str, str]] = set()
        going = True
        while going:
            going = False
            for study in self.studies:
                count, key = counts[id(study)], (study.recipe, study.parametrization)
                waits = any(counts[id(one)] < max(one.first_look, count) for one in study.narrower)
                if waits or not (study.searches_ratio or key in compared):
                    continue
                compared.add(key)
                for _ in range(study.batch_size(count)):
                    yield study
                    counts[id(study)] += 1
                    going = True

    def best_line(self, record: RunRecord, records: Mapping[str, RunRecord]) -> str:
        """The best so far of the study that a record belongs to, in words."""
        study = next(study for study in self.studies if study.has(record))
        best = min(study.complete(records), key=lambda run: run.loss or math.inf, default=None)
        return f"best {best.loss:.4f} at lr {number(best.spec.optimizer.lr)}" if best else "none complete yet"


def make_studies(experiment: Experiment, data: DataSpec) -> Studies:
    """One study per recipe, parametrization and width, the smallest width first."""
    studies: list[Study] = []
    for recipe in experiment.optimizers:
        for parametrization in experiment.parametrizations:
            space = load_space(recipe, parametrization, experiment)
            if experiment.search.trials < (ratios := len(space.embedding_lr_ratio.values)):
                raise UsageError(
                    f"search.trials {experiment.search.trials} is too few: "
                    f"the first {ratios} compare {recipe}'s embedding_lr_ratio"
                )
            group: list[Study] = []
            for width in sorted(experiment.widths):

                def make_run(
                    optimizer: OptimizerSpec, number: int, width: int = width, parametrization: Parametrization = parametrization
                ) -> RunSpec:
                    return experiment.run_spec(
                        data, optimizer, width=width, parametrization=parametrization, seed=experiment.search.seed + number
                    )

                group.append(
                    Study(
                        recipe=recipe,
                        parametrization=parametrization,
                        width=width,
                        space=space,
                        settings=experiment.search,
                        trials=experiment.search.trials,
                        make_run=make_run,
                        narrower=tuple(group) if experiment.search.sampler == "design" else (),
                        searches_ratio=width == min(experiment.widths),
                        ratio=None,
                    )
                )
            if len(group) > 1 and experiment.search.trials < (first := group[0].first_look):
                raise UsageError(
                    f"search.trials {experiment.search.trials} is too few: wider widths start from the first {first} runs of the "
                    f"smallest ({ratios} compare embedding_lr_ratio, {first - ratios} go over the range); "
                    f"more trials, or one width, or search.sampler tpe, gp or random"
                )
            studies += group
    return Studies(studies)
