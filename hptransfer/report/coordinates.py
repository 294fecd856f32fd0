"""The coordinate checks that belong to an experiment, as ``python -m hptransfer.coordcheck`` writes them. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hptransfer.errors import UsageError
from hptransfer.spec import DataSpec


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Slope(_Part):
    """How the movement of one role's activations after ``step`` steps goes with width: the log-log slope, a median over seeds;
    None where no seed got that far."""

    role: str
    step: int
    slope: float | None
    slopes_by_seed: tuple[float, ...]
    outcome: str  # passes, fails, or not judged


class CoordinateCheck(_Part):
    """One file of reports/coordcheck, as far as a report shows it. ``lr`` in base coordinates."""

    optimizer: str
    parametrization: str
    passed: bool
    verdict: str
    tolerance: float
    lr: float
    base_width: int
    widths: tuple[int, ...]
    seeds: int
    corpus: DataSpec
    slopes: tuple[Slope, ...]


def read_coordinate_checks(folder: Path, series: Iterable[tuple[str, str]]) -> tuple[CoordinateCheck, ...]:
    """The checks of (optimizer, parametrization) pairs that ``folder`` holds, in their order. Raises UsageError for a damaged
    file."""
    paths = (folder / f"{optimizer}-{parametrization}.json" for optimizer, parametrization in series)
    return tuple(_read(path) for path in paths if path.is_file())


def _read(path: Path) -> CoordinateCheck:
    try:
        return CoordinateCheck.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} is damaged: {where}: {first['msg']}; make it with `python -m hptransfer.coordcheck`") from None
