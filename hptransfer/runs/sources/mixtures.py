"""What differs between runs that a table's columns say are alike: by which they do not belong together, or that must be said."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from hptransfer.runs.sources.meanings import Columns, names_of
from hptransfer.runs.sources.names import is_result, meaning

# What one group of runs must share, whatever its points.
IDENTITY = ("optimizer", "recipe", "parametrization", "corpus", "schedule", "family")
# What moves the best hyperparameters, and mixes two sweeps where it differs at the same point.
MOVES = ("width", "depth", "parameters", "tokens", "batch", "experts", "horizon", "step")


def mixtures(frame: pl.DataFrame, columns: Columns, notes: list[str]) -> tuple[str, ...]:
    """The columns by which runs of one group do not belong together; each is said, with the values and the way out, and so is any
    other setting that differs between runs at the same scale and hyperparameters."""
    candidates = [name for name in names_of(frame) if name not in (*columns.named, columns.loss) and _is_setting(frame, name)]
    if not candidates:
        return ()
    point = [*columns.group, *columns.scale, *columns.hp]
    at_point = frame.group_by(point).agg(pl.col(candidates).n_unique())
    at_scale = frame.group_by([*columns.group, *columns.scale]).agg(pl.col(candidates).n_unique())
    groups = frame.group_by(list(columns.group) or pl.lit(0)).agg(pl.col(candidates).n_unique())
    mixed = []
    for name in candidates:
        what, points = meaning(name), int((at_point[name] > 1).sum())
        if what in IDENTITY and (groups[name] > 1).any():
            mixed.append(name)
            values = _values(frame[name].unique(maintain_order=True).to_list())
            notes.append(
                f"{name}: {values} in one group of {len(frame):,} runs; --group '{name}' tells them apart, --where keeps one"
            )
        elif points and _recurs(frame, name, point):
            values = _values(frame[name].unique(maintain_order=True).to_list())
            words = f"{name}: differs ({values}) at equal {', '.join(point)} ({points:,} settings of {len(frame):,} runs)"
            if what in MOVES:
                mixed.append(name)
                notes.append(f"{words}; --scale or --hp names it, --where keeps one")
            else:
                notes.append(f"{words}, and is not named; what it does counts as noise")
        elif what in MOVES and what != "step" and (at_scale[name] > 1).any():
            values = _values(frame[name].unique(maintain_order=True).to_list())
            notes.append(
                f"{name}: differs ({values}) at equal {', '.join(columns.scale)}, {len(frame):,} runs; --scale or --hp names it"
            )
    return tuple(mixed)


def _is_setting(frame: pl.DataFrame, name: str) -> bool:
    """Whether a column may be a setting: it takes few values, and is not what came of a run."""
    if meaning(name) not in (*IDENTITY, *MOVES) and is_result(name):
        return False
    if meaning(name) in IDENTITY:
        return frame[name].n_unique() > 1
    return 1 < frame[name].n_unique() <= max(2, len(frame) // 3) and not frame[name].dtype.is_nested()


def _recurs(frame: pl.DataFrame, name: str, point: Sequence[str]) -> bool:
    """Whether most of its values are at several points: what is measured is another number each time."""
    points = frame.group_by(name).agg(pl.struct(point).n_unique().alias("points"))["points"]
    return int((points > 1).sum()) * 2 > len(points)


def _values(values: Sequence[object]) -> str:
    shown = [f"{value:.6g}" if isinstance(value, float) else "empty" if value is None else str(value) for value in values[:4]]
    return ", ".join(shown) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
