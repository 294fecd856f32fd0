"""Marks, lines and shades: the second channel beside the colour of an arm."""

from __future__ import annotations

from collections.abc import Iterable

from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import get_recipe

_SHIFT: dict[str, int] = {parametrization: i for i, parametrization in enumerate(PARAMETRIZATIONS)}
_SHAPES = ("circle", "square", "triangle-up", "triangle-down", "M0,-1L0.95,-0.31L0.59,0.81L-0.59,0.81L-0.95,-0.31Z")
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4])
_GREY = (150, 150, 150)


def places(arms: Iterable[tuple[str | None, str]]) -> list[int]:
    """Which mark and which line each arm has, by recipe and parametrization: different within a family of recipes, and between
    the arms of one recipe."""
    found: list[tuple[str | None, int]] = []
    for optimizer, parametrization in arms:
        first = (get_recipe(optimizer).rank if optimizer else 0) + _SHIFT.get(parametrization, 0)
        free = (place for place in range(first, first + len(_SHAPES)) if (optimizer, place % len(_SHAPES)) not in found)
        found.append((optimizer, next(free, first) % len(_SHAPES)))
    return [place for _, place in found]


def shape(place: int) -> str:
    """The mark at a place; places beyond the last begin anew."""
    return _SHAPES[place % len(_SHAPES)]


def dash(place: int) -> list[int]:
    """The line at a place; places beyond the last begin anew."""
    return _DASHES[place % len(_DASHES)]


def shades(hue: str, n: int) -> list[str]:
    """From a greyed tone for the narrowest width to the full colour for the widest."""
    full = [int(hue[i : i + 2], 16) for i in (1, 3, 5)]
    strengths = [0.2 + 0.8 * i / (n - 1) if n > 1 else 1.0 for i in range(n)]
    mixed = ([round(s * c + (1 - s) * g) for c, g in zip(full, _GREY, strict=True)] for s in strengths)
    return ["#" + "".join(f"{value:02x}" for value in rgb) for rgb in mixed]
