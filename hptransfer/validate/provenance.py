"""Where the numbers of a report come from, and what they cost."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hptransfer
from hptransfer.base.frozen import Frozen
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import Record
from hptransfer.validate.results import Results


class Expense(Frozen):
    """What a set of runs cost. ``unknown``: how many of them do not say all of it; what they do not say is not in the sums."""

    runs: int
    wall_seconds: float
    flops: float
    flops_optimizer: float
    unknown: int

    @classmethod
    def of(cls, records: Iterable[Record]) -> Expense:
        """Their sums."""
        costs = [(o.training_wall_seconds, o.flops, o.flops_optimizer) for o in (record.outcome for record in records)]
        sums = (sum(cost[part] or 0.0 for cost in costs) for part in range(3))
        parts = dict(zip(("wall_seconds", "flops", "flops_optimizer"), sums, strict=True))
        return cls(runs=len(costs), unknown=sum(None in cost for cost in costs), **parts)


class Provenance(Frozen):
    """``hptransfer`` and ``commit`` are those that made the report; ``versions`` those that made the runs."""

    hptransfer: str
    commit: str | None
    versions: dict[str, tuple[str, ...]]
    corpus: DataSpec | None
    runs_on_other_corpora: int  # left out
    devices: dict[str, int]  # runs per device
    last_run_at: str | None
    predictions: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, results: Results) -> Provenance:
        """That of an experiment."""
        versions: dict[str, set[str]] = {}
        for record in results.records:
            for name, version in record.versions.items():
                versions.setdefault(name, set()).add(version)
        return cls(
            hptransfer=hptransfer.__version__,
            commit=commit(Path(hptransfer.__file__).parent),
            versions={name: tuple(sorted(found)) for name, found in sorted(versions.items())},
            corpus=results.members.corpus,
            runs_on_other_corpora=results.members.left_out,
            devices=dict(Counter(record.outcome.device for record in results.records).most_common()),
            last_run_at=results.records[-1].outcome.finished_at if results.records else None,
            predictions={arm: prediction.provenance for arm, prediction in results.predictions.items()},
        )


def commit(package: Path) -> str | None:
    """The commit of the checkout whose top folder holds ``package``, and whether its files were changed since; None where it is
    no checkout of its own: an environment inside another project's repository must not pass for it."""
    try:
        if Path(_git(package, "rev-parse", "--show-toplevel")).resolve() != package.resolve().parent:
            return None
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", str(package))
        return _git(package, "rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    made = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return made.stdout.strip()
