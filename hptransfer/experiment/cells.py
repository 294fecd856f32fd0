"""The cells of an experiment: the scales that it searches, how they are written, and which runs cannot have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from hptransfer.base.errors import UsageError, unknown

if TYPE_CHECKING:
    from hptransfer.experiment.experiment import Experiment

SCALES = ("width", "depth", "tokens", "batch_tokens")  # what cells may differ in
# Which keys say a scale that is the same in all cells; an arm may not change them where it is not.
SAID_BY = {
    "depth": ("model.depth",),
    "tokens": ("horizon", "trainer.tokens"),
    "batch_tokens": ("batch_sequences", "trainer.batch_tokens"),
}


def count_of(value: Any) -> Any:
    """A count as YAML may have it: 1e9 is text there."""
    try:
        return int(float(value)) if isinstance(value, str) and float(value).is_integer() else value
    except (ValueError, OverflowError):
        return value


Count = Annotated[int, BeforeValidator(count_of), Field(gt=0)]
Values = Annotated[tuple[Count, ...], Field(min_length=1)]
Cells = Literal["star", "full"] | tuple[dict[str, Count], ...]


def short_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's keys with ``widths`` and ``target_width`` in the place of ``scales.width`` and ``target.width``. Raises
    ValueError where it has both."""
    data = dict(data)
    for key, short in (("scales", "widths"), ("target", "target_width")):
        if isinstance(data.get(key), dict) and "width" in data[key]:
            if short in data:
                raise ValueError(f"{key}.width is another way to write {short}; leave one out")
            data[short] = data[key]["width"]
            data[key] = {name: value for name, value in data[key].items() if name != "width"}
            data = {name: value for name, value in data.items() if name != key or value}
    return data


def in_order(scales: Mapping[str, Any]) -> dict[str, Any]:
    """Scales in the order of `SCALES`. Raises ValueError for one that is none, and for a value that is named twice."""
    for name, values in scales.items():
        if name not in SCALES:
            raise ValueError(str(unknown("scale", name, SCALES)))
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise ValueError(f"{name} {list(values)} names a value twice")
    return {name: scales[name] for name in SCALES if name in scales}


def cells_of(searched: Mapping[str, Sequence[int]], kind: Literal["star", "full"]) -> tuple[dict[str, int], ...]:
    """The cells over the values of each scale; one that is smaller in all of them comes first."""
    every = [dict(zip(searched, values, strict=True)) for values in product(*map(sorted, searched.values()))]
    least = {name: min(values) for name, values in searched.items()}
    return tuple(cell for cell in every if kind == "full" or sum(cell[name] > least[name] for name in cell) <= 1)


def check_cells(experiment: Experiment) -> None:
    """Raises ValueError for scales that the runs cannot have."""
    moved, horizon, trainer = experiment.moved, experiment.horizon, experiment.trainer
    if "tokens" in moved and not trainer and horizon and horizon.policy == "tpp":
        raise ValueError(f"tokens of the cells: the horizon is {horizon.tpp:g} tokens per parameter; leave one out")
    for scale, formula in trainer.formulas.items() if trainer else ():
        if trainer and scale in moved and scale not in trainer.fixed:
            raise ValueError(f"{scale} of the cells: trainer.{scale} is a formula, {formula}; leave one out")
    for scale in experiment.target:
        if experiment.smallest(scale) is None:
            raise ValueError(f"target.{scale}: what the searched runs have is not known; name it in scales")
    if trainer:
        return
    context = experiment.model.context
    for batch in (*experiment.scales.get("batch_tokens", ()), experiment.target.get("batch_tokens", context)):
        if batch % context:
            raise ValueError(f"batch_tokens {batch} is no multiple of the context, {context}")
    for cell in experiment.searched_cells if {"tokens", "batch_tokens"} & {*experiment.scales} else ():
        tokens, batches = (cell.get(name) or experiment.smallest(name) or 0 for name in ("tokens", "batch_tokens"))
        if batches and tokens % batches:  # or cells of the same horizon would differ in it
            raise ValueError(f"tokens {tokens} are no whole number of batches of {batches} tokens")
        if "tokens" in cell and tokens <= (warmup := experiment.schedule.warmup_tokens):
            where = ", ".join(f"{name} {value}" for name, value in cell.items())
            raise ValueError(f"schedule.warmup_tokens {warmup} take up the whole run at {where}")


def require_held_out(experiment: Experiment, where: str) -> Experiment:
    """The experiment. Raises UsageError where its target is a cell that is searched."""
    names = ("width", *experiment.moved)

    def place(cell: Mapping[str, int]) -> list[int | None]:
        return [cell.get(name) or experiment.smallest(name) for name in names]

    target = place(experiment.target_cell)
    if target in map(place, experiment.searched_cells):
        words, what = f"target_width {experiment.target_width}", "width"
        if len(names) > 1:
            words = f"target {', '.join(f'{name} {value}' for name, value in zip(names, target, strict=True))}"
            what = "cell"
        raise UsageError(f"{where}: {words} is also searched; a held-out {what} must not be")
    return experiment
