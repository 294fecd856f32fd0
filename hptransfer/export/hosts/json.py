"""The canonical record as JSON: what every other host is made from."""

from __future__ import annotations

from dataclasses import dataclass

from hptransfer.base.jsons import to_json
from hptransfer.export.canonical import EXPORT_VERSION, Canonical

FILE = "run.json"


@dataclass(frozen=True)
class Json:
    """hptransfer's own record. It says whatever is known."""

    name: str = "json"
    version: str = str(EXPORT_VERSION)

    def refuse(self, record: Canonical) -> str | None:
        return None

    def render(self, record: Canonical) -> dict[str, str]:
        return {FILE: to_json(record.as_dict(), indent=1) + "\n"}


JSON = Json()
