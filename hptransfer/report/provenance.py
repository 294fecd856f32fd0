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
from hptransfer.report.results import Results, label
from hptransfer.runs import RunRecord


class Cost(Frozen):
    """What a set of runs cost."""

    runs: int
    wall_seconds: float
    flops: float
    flops_optimizer: float

    @classmethod
    def of(cls, records: Iterable[RunRecord]) -> Cost:
        records = list(records)
        return cls(
            runs=len(records),
            wall_seconds=sum(record.training_wall_seconds for record in records),
            flops=sum(record.flops for record in records),
            flops_optimizer=sum(record.flops_optimizer for record in records),
        )


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
        versions: dict[str, set[str]] = {}
        for record in results.records:
            for name, version in record.versions.items():
                versions.setdefault(name, set()).add(version)
        return cls(
            hptransfer=hptransfer.__version__,
            commit=commit(Path(hptransfer.__file__).parent),
            versions={name: tuple(sorted(found)) for name, found in sorted(versions.items())},
            corpus=results.records[0].spec.data if results.records else None,
            runs_on_other_corpora=results.left_out,
            devices=dict(Counter(record.device for record in results.records).most_common()),
            last_run_at=max((record.finished_at for record in results.records), default=None),
            predictions={label(series): prediction.provenance for series, prediction in results.predictions.items()},
        )


def commit(package: Path) -> str | None:
    """The commit of the checkout whose top folder holds ``package``, and whether its files were changed since; None where it is
    no checkout of its own: an environment inside another project's repository must not pass for it."""
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != package.resolve().parent:
            return None
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", str(package))
        return _git(package, "rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
