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
    point = [*columns.group, *columns.scale, *columns.hp]
    at_point = frame.group_by(point).agg(pl.col(candidates).n_unique())
    at_scale = frame.group_by([*columns.group, *columns.scale]).agg(pl.col(candidates).n_unique())
    groups = frame.group_by(list(columns.group) or pl.lit(0)).agg(pl.col(candidates).n_unique())
    mixed, told = [], list[str]()
    for name in candidates:
        what, points = meaning(name), int((at_point[name] > 1).sum())
        if what in IDENTITY and (groups[name] > 1).any():
            mixed.append(name)
            values = _values(frame[name])
            notes.append(
                f"{name}: {values} in one group of {len(frame):,} runs; --group '{name}' tells them apart, --where keeps one"
            )
        elif points and _recurs(frame, name, point):
            told.append(name)
            values = _values(frame[name])
            words = f"{name}: differs ({values}) at equal {', '.join(point)} ({points:,} settings of {len(frame):,} runs)"
            if what in MOVES:
                mixed.append(name)
                notes.append(f"{words}; --scale or --hp names it, --where keeps one")
            else:
                notes.append(f"{words}, and is not named; what it does counts as noise")
        elif what in MOVES and what != "step" and (at_scale[name] > 1).any():
            values = _values(frame[name])
            notes.append(
                f"{name}: differs ({values}) at equal {', '.join(columns.scale)}, {len(frame):,} runs; --scale or --hp names it"
            )
    _say_repeats(frame, columns, list(dict.fromkeys([*point, *mixed, *told])), notes)
    return tuple(mixed)


def _say_repeats(frame: pl.DataFrame, columns: Columns, told: Sequence[str], notes: list[str]) -> None:
    """Runs that differ in loss, and in nothing that says how they were trained, count as seeds, which must be said."""
    if columns.loss is None:
        return
    names = [name for name in names_of(frame) if meaning(name) == "run" and name not in told]
    seeds = [name for name in names_of(frame) if meaning(name) == "seed" or (name in names and _recurs(frame, name, told))]
    key = list(dict.fromkeys([*told, *seeds]))
    # The rows of one run that go on are told apart later.
    must_differ = [columns.loss, *[name for name in names if name not in seeds][:1]]
    labels = [name for name in names_of(frame) if frame[name].dtype == pl.String and name not in (*key, *names, columns.loss)]
    counts = frame.group_by(key).agg(pl.len().alias("\0rows"), pl.col(*must_differ, *labels).n_unique())
    apart = counts.filter(pl.all_horizontal(pl.col(must_differ) > 1))
    if apart.is_empty():
        return
    beside = [name for name in labels if (apart[name] > 1).any()][:3]
    notes.append(
        f"{', '.join(told)}: {apart[chr(0) + 'rows'].sum():,} runs at {len(apart):,} settings differ in {columns.loss}"
        f"{''.join(f', {name}' for name in beside)}, and in no seed or setting; they count as seeds"
    )


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


def _values(column: pl.Series) -> str:
    values = column.unique(maintain_order=True).to_list()
    shown = [f"{value:.6g}" if isinstance(value, float) else "empty" if value is None else str(value) for value in values[:4]]
    return ", ".join(shown) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
