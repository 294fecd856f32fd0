"""The coordinate checks that belong to an experiment, as ``python -m hptransfer.coordcheck`` writes them. No torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hptransfer.base.config import read_json
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import DataSpec

CHECKS = Path("reports/coordcheck")


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


def read_coordinate_checks(folder: Path, experiment: Experiment) -> dict[str, CoordinateCheck]:
    """The checks that ``folder`` holds of the experiment's arms, in their order, made at its base width and on its corpus; those
    of a recipe are an arm's that sets nothing else. Raises UsageError for a damaged file."""
    plain = [arm for arm in experiment.compared if not arm.options and not arm.changes]
    paths = ((arm.name, folder / f"{arm.optimizer}-{arm.parametrization}.json") for arm in plain)
    found = ((arm, read_json(CoordinateCheck, path, "python -m hptransfer.coordcheck")) for arm, path in paths if path.is_file())
    ours = (check for check in found if check[1].base_width == experiment.base_width and experiment.data.names(check[1].corpus))
    return dict(ours)
