"""The coordinate checks that belong to an experiment, as ``hptransfer coordcheck`` writes them. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hptransfer.base.commands import command
from hptransfer.base.config import checked, read_json
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.settings import DataSpec
from hptransfer.optimizers import get_recipe

CHECKS = Path("reports/coordcheck")


def check_file(arm: Arm) -> str:
    """The name, without suffix, of an arm's check in `CHECKS`; a recipe as it is has one for all experiments."""
    plain = arm.optimizer is not None and arm == Arm.of(arm.optimizer, arm.parametrization)
    return f"{arm.optimizer}-{arm.parametrization}" if plain else arm.name


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
    options: dict[str, Any]
    changes: dict[str, Any] = {}
    slopes: tuple[Slope, ...]


def read_coordinate_checks(folder: Path, experiment: Experiment) -> dict[str, CoordinateCheck]:
    """The checks that ``folder`` holds of the experiment's arms, in their order, made at its base width, on its corpus and with
    the arm's own settings. Raises UsageError for a damaged file."""
    ours = (arm for arm in experiment.compared if not experiment.under(arm).trainer)
    paths = ((arm, folder / f"{check_file(arm)}.json") for arm in ours)
    found = ((arm, path, read_json(CoordinateCheck, path, command("coordcheck"))) for arm, path in paths if path.is_file())
    return {arm.name: check for arm, path, check in found if _is_of(check, arm, experiment, path)}


def _is_of(check: CoordinateCheck, arm: Arm, experiment: Experiment, path: Path) -> bool:
    if (check.optimizer, check.parametrization, check.changes) != (arm.optimizer, arm.parametrization, arm.changes):
        return False
    settings, recipe = experiment.target_point(arm, check.corpus).settings, get_recipe(check.optimizer)
    known = {name: value for name, value in check.options.items() if name in recipe.options.model_fields}  # some are gone
    return (
        check.base_width == settings["base"]["width"]
        and experiment.data.names(check.corpus)
        and checked(recipe.options, known, f"{path}: options") == recipe.options.model_validate(settings["options"])
    )
