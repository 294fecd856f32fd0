"""hptransfer's own stores: a folder or a URI of records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hptransfer.base.errors import HptransferError, UsageError
from hptransfer.base.files import Files
from hptransfer.runs.record import Record
from hptransfer.runs.sources.rows import flat, table
from hptransfer.runs.sources.source import Raw, Role
from hptransfer.runs.store import Store

_ROLES: dict[Role, str] = {"run": "run_id", "state": "state", "step": "steps", "seed": "init_seed", "loss": "loss"}


class OwnStore:
    """Columns are those of `Record.described` (``lr`` and ``weight_decay`` in base coordinates, the latter independent of the
    LR), and ``settings.…``: whatever else an arm sets."""

    name = "store"

    def sniff(self, place: str) -> str | None:
        with suppress(HptransferError, OSError, ValueError):
            files = Files(place)
            if any(name.startswith("compact-") for name in files.list("", ".parquet")):
                return "a store of hptransfer"
            if any(b'"schema_version"' in files.read(name)[:200] for name in files.list("runs", ".json")[:3]):
                return "a store of hptransfer"
        return None

    def read(self, place: str) -> Raw:
        store = _Untouched(place)
        rows = [_row(record) for record in store.records().values()]
        if not rows:
            raise UsageError(f"{place}: no record in this store")
        damaged = store.damaged
        notes = (f"{len(damaged)} files are damaged, and left out: {', '.join(damaged[:3])}",) if damaged else ()
        return Raw(table(rows), f"store of hptransfer, {len(rows)} runs", _ROLES, False, notes)


class _Untouched(Store):
    """A store that is left as it is: damaged files are counted where another would set them aside."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.damaged: list[str] = []

    def set_aside(self, name: str, error: Exception, rest: Sequence[Record] = ()) -> None:
        self.damaged += [] if name in self.damaged else [name]


def _row(record: Record) -> dict[str, object]:
    row = record.described()
    told = {"optimizer", "parametrization", "schedule", "horizon", "data"}
    return row | flat({name: value for name, value in record.point.settings.items() if name not in told}, "settings.")


SOURCE = OwnStore()
