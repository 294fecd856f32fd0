"""What a search may spend."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hptransfer.base.errors import UsageError
from hptransfer.cli import number
from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import members
from hptransfer.runs import Job, Record
from hptransfer.search.profile import process_start
from hptransfer.search.progress import cost
from hptransfer.search.studies import Studies
from hptransfer.trainers import resolve


class Spending:
    """The studies as a source of runs that ends with the experiment's budget.

    FLOPs are those of all the experiment's runs: what others than these studies' are in the store has been spent before, the
    rest is shared out by `Studies.grant`. Hours are counted from the start of the process. Expects ``records`` to have been
    shown to the studies.
    """

    def __init__(self, experiment: Experiment, studies: Studies, records: Mapping[str, Record]) -> None:
        self._studies, self._budget = studies, experiment.budget
        self._deadline = process_start() + 3600 * self._budget.hours if self._budget.hours else None
        if self._budget.flops is not None:
            if unknown := [study.arm.name for study in studies.studies if study.job.flops is None]:
                raise UsageError(f"budget.flops cannot be kept: the FLOPs of {unknown[0]} are unknown (trainer.flops, a formula)")
            own = {record.run_id for study in studies.studies for record in study.runs(records)}
            others = (record for record in members(records.values(), experiment, resolve).records if record.run_id not in own)
            studies.grant(self._budget.flops - sum(cost(record.job) for record in others))

    def missing(self, records: Mapping[str, Record]) -> list[Job]:
        """What could start now and may be paid for. Raises CheckFailed where a program does not run at all."""
        for study in self._studies.studies:
            study.refuse_broken(records)
        missing = self._studies.missing(records)
        return [] if self._deadline is not None and time.monotonic() >= self._deadline else missing

    def spent(self, records: Mapping[str, Record]) -> str | None:
        """What is left undone for want of budget, in one line; None: nothing."""
        left = [(study, n) for study in self._studies.studies if (n := study.trials - len(study.runs(records)))]
        if not left:
            return None
        undone = ", ".join(f"{study.arm.name} {study.place}: {n}" for study, n in left)
        limits = {"hours": self._budget.hours, "flops": self._budget.flops}
        given = " and ".join(f"{number(value)} {name}" for name, value in limits.items() if value is not None)
        return f"the budget of {given} is spent; trials left undone: {undone}; the same command with more budget goes on"
