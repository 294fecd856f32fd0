"""From an experiment, an arm and a cell to the settings of a run: what `Experiment.point` puts into a point beside its scales."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from hptransfer.base.config import merge, nested
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.cells import SCALES
from hptransfer.experiment.program import Program, ProgramFiles
from hptransfer.experiment.settings import DataSpec
from hptransfer.optimizers import get_recipe
from hptransfer.runs.point import Number

if TYPE_CHECKING:
    from hptransfer.experiment.experiment import Experiment


def settings_of_ours(experiment: Experiment, arm: Arm, data: DataSpec, cell: Mapping[str, Number]) -> dict[str, Any]:
    """Settings of a run of our own trainer. An option of the optimizer that the arm sets goes before that of the recipe's search
    space; a recipe that averages its iterates gets a constant schedule after the warm-up."""
    assert arm.optimizer is not None
    options, schedule = experiment.space(arm).fixed_options(), experiment.schedule
    if get_recipe(arm.optimizer).averages:
        schedule = schedule.model_copy(update={"shape": "constant"})
    horizon = experiment.horizon if "tokens" not in cell else None
    return {
        "trainer": "ours",
        "optimizer": arm.optimizer,
        "options": reduce(lambda known, pair: merge(known, nested(*pair)), arm.options.items(), options),
        "model": {key: value for key, value in experiment.model.model_dump(mode="json").items() if key != "depth"},
        "data": data.model_dump(),
        "horizon": horizon.model_dump(exclude={"tokens"}, exclude_none=True) if horizon else {"policy": "tokens"},
        "schedule": schedule.model_dump(),
        "evaluation": experiment.evaluation.model_dump(),
        "precision": experiment.precision,
    }


def settings_of_program(program: Program, arm: Arm, files: ProgramFiles, cell: Mapping[str, Number]) -> dict[str, Any]:
    """Settings of a run of a user's program. Sizes that no cell has follow from the others."""
    horizon = {"policy": "tokens"} if "tokens" in cell else {"policy": "formula", "formula": str(program.tokens)}
    return {
        "trainer": "command",
        "program": program.model_dump(mode="json", exclude_none=True, exclude={"depends"}),
        "depends": files.sha256,
        **({"optimizer": arm.optimizer, "options": arm.options} if arm.optimizer else {}),
        **({"horizon": horizon} if "tokens" in cell or program.tokens is not None else {}),
    }


def base_of(experiment: Experiment) -> dict[str, int]:
    """The base run's scales: its width, and those in which the cells or the target differ. The others are those of each run."""
    names = {*experiment.moved}
    if names & {"tokens", "batch_tokens"}:  # which together say how many steps there are
        names |= {"tokens", "batch_tokens"}
    base = {name: value for name in SCALES if name in names and (value := experiment.smallest(name)) is not None}
    if not experiment.trainer and {"tokens", "batch_tokens"} <= base.keys():  # whole batches, as runs have them
        base["tokens"] = max(1, round(base["tokens"] / base["batch_tokens"])) * base["batch_tokens"]
    return {"width": experiment.base_width, **base}
