"""Cells that a plan says: the sizes of a series on one dial, and the tokens that a budget of FLOPs buys at each size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from hptransfer.base.errors import UsageError, unknown
from hptransfer.experiment.cells import SCALES, count_of
from hptransfer.experiment.formula import evaluate
from hptransfer.experiment.model import ModelChoice
from hptransfer.models.family import Shape

BYTES = 256  # entries of the vocabulary of the tokenizer ``bytes``
LEAST_STEPS = 20  # of a run that a budget buys: with fewer no learning rate has a schedule
Row = dict[str, int]


def planned(data: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's keys with a list of ``cells`` in the place of ``series`` and ``budgets``, and with the ``widths`` and
    ``scales`` that such a list has.

    ``series``: one scale with a list of values, the dial, and formulas of it for others. ``budgets``: FLOPs, forward and
    backward; the cells are budgets x sizes, the ``widths`` or those of the series, each with the tokens that the budget buys
    there, to whole batches. What a target says of the dial, the series completes. Raises ValueError, in one line, where keys
    contradict each other, and for a cell that no run can be in.
    """
    data = dict(data)
    series = _Series.read(data.pop("series")) if "series" in data else None
    budgets = _listed("budgets", data.pop("budgets")) if "budgets" in data else None
    for key in ("cells", "scales") if series is None else ("cells", "scales", "widths"):
        if (series or budgets) and key in data:
            raise ValueError(f"{'series' if series else 'budgets'} and {key} both say which cells there are; leave one out")
    if series:
        data = series.with_target(data) | {"cells": [series.at(value) for value in series.values]}
    if budgets:
        sizes = data["cells"] if series else [{"width": width} for width in _listed("widths", data.pop("widths", None))]
        data["cells"] = _bought(budgets, sizes, data)
    cells = data.get("cells", "star")
    if isinstance(cells, list | tuple):
        return data | _with_scales(cells, data)
    if cells not in ("star", "full"):
        raise ValueError(f"cells: {cells!r} is neither star nor full, nor a list of cells such as {{width: 64, tokens: 1000000}}")
    return data


@dataclass(frozen=True)
class _Series:
    """Sizes on one dial: a scale with its values, and formulas of it for other scales."""

    dial: str
    values: list[int]
    formulas: dict[str, Any]

    @classmethod
    def read(cls, given: Any) -> _Series:
        dials = [name for name, value in given.items() if isinstance(value, list | tuple)] if isinstance(given, dict) else []
        if len(dials) != 1:
            raise ValueError(
                "series: one scale has a list of values, and others are formulas of it, as in {depth: [2, 4], width: 16*depth}"
            )
        if wrong := [name for name in given if name not in SCALES]:
            raise ValueError(f"series: {unknown('scale', str(wrong[0]), SCALES)}")
        if "width" not in given:
            raise ValueError("series: width is missing; it is the dial or a formula of it")
        values = _listed(f"series.{dials[0]}", given[dials[0]])
        return cls(dials[0], values, {name: formula for name, formula in given.items() if name != dials[0]})

    def at(self, value: int) -> Row:
        """All its scales at a value of the dial."""
        found = {self.dial: value}
        for name, formula in self.formulas.items():
            try:
                size = evaluate(str(formula), {self.dial: value})
            except UsageError as error:
                raise ValueError(f"series.{name}: {error}") from None
            if not float(size).is_integer():
                raise ValueError(
                    f"series.{name}: {formula} is {size:g} at {self.dial} {value}, not whole; round(...) makes it so"
                )
            found[name] = int(size)
        return found

    def with_target(self, data: dict[str, Any]) -> dict[str, Any]:
        """With what a target that names the dial does not say."""
        target = data.get("target")
        if not isinstance(target, dict) or not _is_count(target.get(self.dial)):
            return data
        held_out = self.at(count_of(target[self.dial]))
        return {"target_width": held_out.pop("width")} | data | {"target": held_out | target}


def _with_scales(cells: Sequence[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A list of cells, in order, and the values of each scale in them."""
    names = [name for name in SCALES if cells and isinstance(cells[0], dict) and name in cells[0]]
    for cell in cells:
        if not isinstance(cell, dict) or set(cell) != set(names) or not all(_is_count(value) for value in cell.values()):
            raise ValueError(
                f"cells: {cell} is no cell beside the others; each has the same scales, as in {{width: 64, tokens: 1000000}}"
            )
    if "width" not in names:
        raise ValueError("cells: each has a width, as in {width: 64, tokens: 1000000}")
    rows = sorted(tuple(count_of(cell[name]) for name in names) for cell in cells)
    if twice := [row for row, following in pairwise(rows) if row == following]:
        raise ValueError(f"cells: {dict(zip(names, twice[0], strict=True))} is there twice")
    values = {name: sorted(set(column)) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    widths, scales = values.pop("width"), values
    for key, own in (("widths", widths), ("scales", scales)):
        if key in data and data[key] != own:
            raise ValueError(f"cells has {key} {own}, and {key} says {data[key]}; leave {key} out")
    return {"cells": [dict(zip(names, row, strict=True)) for row in rows], "widths": widths, "scales": scales}


def _bought(budgets: Sequence[float], sizes: Sequence[Row], data: Mapping[str, Any]) -> list[Row]:
    """A cell per budget and size: with the whole number of batches that comes nearest to the budget."""
    if data.get("trainer"):
        raise ValueError("budgets are of hptransfer's own trainer; of a program list the cells, each with its tokens")
    if "tokens" in sizes[0]:
        raise ValueError("series.tokens and budgets both say how long runs are; leave one out")
    try:
        model = ModelChoice.model_validate(data.get("model") or {})
    except ValidationError:  # which the experiment's own check says better
        return [size | {"tokens": 1} for size in sizes]
    vocab, batch = _vocabulary(data.get("data")), data.get("batch_sequences")
    cells = []
    for size in sizes:
        shape = Shape(size["width"], size.get("depth", model.depth), vocab, model.config)
        if "batch_tokens" not in size and not _is_count(batch):
            raise ValueError(f"budgets need batch_sequences, as runs are whole batches (got {batch})")
        step = size.get("batch_tokens") or count_of(batch) * model.context
        for budget in budgets:
            steps = round(budget / (model.of.flops_per_token(shape) * step))
            if steps < LEAST_STEPS:
                where = ", ".join(f"{name} {value}" for name, value in size.items())
                raise ValueError(
                    f"budgets: {budget:g} FLOPs buy {steps} batches of {step} tokens at {where}, fewer than {LEAST_STEPS}"
                )
            cells.append(size | {"tokens": steps * step})
    return cells


def _vocabulary(choice: Any) -> int:
    """Of the experiment's ``data``, whose own check says what else is wrong with it."""
    choice = choice if isinstance(choice, dict) else {}
    if choice.get("vocab") is None and choice.get("tokenizer", "bytes") != "bytes":
        raise ValueError("budgets: FLOPs per token depend on the vocabulary; say data.vocab")
    return int(count_of(choice["vocab"])) if _is_count(choice.get("vocab")) else BYTES


def _listed(name: str, values: Any) -> list[Any]:
    """A list of positive numbers."""
    found = [count_of(value) for value in values] if isinstance(values, list | tuple) else []
    if not found or not all(isinstance(value, int | float) and 0 < value < math.inf for value in found):
        raise ValueError(f"{name}: {values} is no list of positive numbers")
    return found


def _is_count(value: Any) -> bool:
    return isinstance(count_of(value), int) and not isinstance(value, bool) and count_of(value) > 0
