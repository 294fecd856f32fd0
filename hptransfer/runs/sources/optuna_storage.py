"""Optuna's storages: SQLite files, other databases, and journal files. A row for each trial of every study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources import databases
from hptransfer.runs.sources.named import add_named
from hptransfer.runs.sources.rows import flat, parsed, table
from hptransfer.runs.sources.source import Raw, Role

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_TABLES = {"studies", "trials", "trial_params", "version_info"}


class OptunaStorage:
    """Columns are those of ``study.trials_dataframe()`` (``number``, ``value``, ``params_lr``, ``user_attrs_width``, ``state``),
    with ``study``, ``study_user_attrs_…``, and the numbers in the study's name (``width128``)."""

    name = "optuna"

    def sniff(self, place: str) -> str | None:
        if _is_journal(place):
            return "a journal file of Optuna"
        if databases.is_url(place) or databases.sqlite_file(place):
            found = databases.tables(place)
            if found >= _TABLES:
                return "it has the tables of Optuna"
            if not found and not place.startswith("sqlite") and databases.is_url(place):
                return "the URL of a database"
        return None

    def read(self, place: str) -> Raw:
        import optuna
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with _opened(place) as storage:
                names = sorted(optuna.get_all_study_names(storage))
                studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
                rows = [_row(study, trial) for study in studies for trial in study.get_trials(deepcopy=False)]
                ways = {tuple(study.directions): study.study_name for study in studies if study.get_trials(deepcopy=False)}
        except (SQLAlchemyError, OptunaError, ImportError, ValueError, KeyError, OSError) as error:
            raise databases.cannot_be_read(place, error.__cause__ or error) from None
        if not rows:
            raise UsageError(f"{databases.shown(place)}: no trial in {len(names)} studies of Optuna")
        add_named(rows, [row["study"] for row in rows])
        frame = table(rows)
        single = {way[0] for way in ways if len(way) == 1}
        roles: dict[Role, str] = {"run": "trial", "state": "state"}
        if "step" in frame.columns:
            roles["step"] = "step"
        if len(ways) == len(single) == 1 and "value" in frame.columns:
            roles["loss"] = "value"
        notes: tuple[str, ...] = ()
        if len(single) > 1:
            notes = (f"studies look for opposite ends of their value: {' and '.join(sorted(ways.values()))}",)
        maximize = single.pop().name == "MAXIMIZE" if len(ways) == len(single) == 1 else None
        return Raw(frame, f"Optuna storage, {len(names)} studies", roles, maximize, notes)


def _is_journal(place: str) -> bool:
    try:
        with Path(place).open("rb") as file:
            head = file.readline(1 << 20)
    except (OSError, ValueError):
        return False
    first = parsed(head) if head.startswith(b"{") else None
    return isinstance(first, dict) and {"op_code", "worker_id"} <= first.keys()


@contextmanager
def _opened(place: str) -> Iterator[BaseStorage]:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if databases.is_url(place) or databases.sqlite_file(place):
        with databases.opened(place) as (url, options):
            storage = optuna.storages.RDBStorage(
                url, engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=True
            )
            try:
                yield storage
            finally:
                storage.engine.dispose()
    elif _is_journal(place):
        # Reading takes no lock: that is what appending does.
        yield optuna.storages.JournalStorage(JournalFileBackend(place))
    else:
        raise UsageError(f"{place}: neither a database nor a journal file of Optuna")


def _row(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    row: dict[str, Any] = {"study": study.study_name, "number": trial.number, "trial": f"{study.study_name}/{trial.number}"}
    row |= dict(zip(_values(study), _said(trial, len(study.directions)), strict=True))
    row |= {"state": trial.state.name}
    if trial.last_step is not None:
        row["step"] = trial.last_step
    row |= flat(trial.params, "params_") | flat(trial.user_attrs, "user_attrs_")
    return row | flat(study.user_attrs, "study_user_attrs_")


def _values(study: Study) -> Sequence[str]:
    """The columns of its objectives."""
    several = len(study.directions) > 1
    if study.metric_names:
        return [f"{'values' if several else 'value'}_{name}" for name in study.metric_names]
    return [f"values_{number}" for number in range(len(study.directions))] if several else ["value"]


def _said(trial: FrozenTrial, count: int) -> Sequence[float | None]:
    """Its values; of one that failed or waits, none."""
    return trial.values or [None] * count


SOURCE = OptunaStorage()
