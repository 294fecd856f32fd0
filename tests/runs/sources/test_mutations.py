"""Seeded mutations of good tables: harmless ones give the clean runs, harmful ones are refused, or said with column and count."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from hptransfer.api import predict
from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.intake import Intake, intake
from hptransfer.runs.sources.meanings import Asked
from hptransfer.runs.sources.reading import read_rows

Rng = np.random.Generator
SEEDS = range(250)  # of each kind


def good(rng: Rng) -> pl.DataFrame:
    """A clean sweep: three or four widths, seven to nine learning rates, one or two seeds, independent weight decay or none."""
    widths = [int(128 * 2**k) for k in range(rng.integers(3, 5))]
    lrs = [float(f"{0.1 * 2.0**-k:.6g}") for k in range(rng.integers(7, 10))]
    seeds, decays = range(rng.integers(1, 3)), [1e-4, 3e-4, 1e-3] if rng.random() < 0.3 else [None]
    rows = []
    for width in widths:
        best = 0.01 * (width / 128) ** -0.15
        for lr in lrs:
            for decay in decays:
                for seed in seeds:
                    bowl = 0.02 * np.log(lr / best) ** 2 + (0.01 * np.log((decay or 3e-4) / 3e-4) ** 2)
                    loss = (2.5 + 20 / width) * (1 + bowl + 0.001 * rng.standard_normal())
                    rows.append({"width": width, "lr": lr, "weight_decay": decay, "seed": seed, "loss": round(float(loss), 6)})
    table = pl.DataFrame(rows)
    return table if decays != [None] else table.drop("weight_decay")


class Written(NamedTuple):
    """A table in a file, and its columns for width, lr and, where it is a hyperparameter, weight decay."""

    file: Path
    hp: tuple[str, ...]


def hp_of(table: pl.DataFrame) -> tuple[str, ...]:
    return tuple(name for name in ("lr", "weight_decay") if name in table.columns)


def as_csv(table: pl.DataFrame, file: Path, **options: object) -> Path:
    table.write_csv(file, **options)  # type: ignore[call-overload]
    return file


def read(file: Path, hp: tuple[str, ...]) -> Intake:
    return intake(read_rows(file), Asked(hp=hp))


def runs(found: Intake) -> list[tuple[float, ...]]:
    """What is fitted, in an order of its own; nan as -1."""
    columns = found.columns
    frame = found.frame.select(
        pl.col(name).cast(pl.Float64).fill_null(-1) for name in (*columns.scale, *columns.hp, columns.loss)
    )
    return sorted(frame.rows())


# -- harmless ----------------------------------------------------------------------------------------------------------

WIDTHS = ("width", "d_model", "hidden_size", "n_embd", "config.model.hidden_dim", "params_width", "model/d_model")
LRS = ("lr", "learning_rate", "config.lr", "optimizer/lr", "params_lr", "peak_lr", "config.optimizer.learning_rate")
LOSSES = ("loss", "val_loss", "eval_loss", "val/loss", "summary.eval/loss", "final_loss", "validation_loss")
DECAYS = ("weight_decay", "wd", "config.weight_decay", "optimizer/weight_decay")


def renamed(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    names = {"width": WIDTHS, "lr": LRS, "loss": LOSSES, "weight_decay": DECAYS}
    chosen = {name: str(rng.choice(usual)) for name, usual in names.items() if name in table.columns}
    return Written(as_csv(table.rename(chosen), folder / "t.csv"), tuple(chosen[name] for name in hp_of(table)))


def shuffled(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    columns = rng.permutation(table.columns).tolist()
    return Written(
        as_csv(table.select(columns).sample(fraction=1, shuffle=True, seed=int(rng.integers(99))), folder / "t.csv"), hp_of(table)
    )


def quoted(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    return Written(as_csv(table, folder / "t.csv", quote_style="always"), hp_of(table))


def repeated(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    again = table.sample(int(rng.integers(1, len(table))), seed=int(rng.integers(99)))
    return Written(as_csv(pl.concat([table, again]), folder / "t.csv"), hp_of(table))


def another_separator(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    return Written(as_csv(table, folder / "t.csv", separator=str(rng.choice([";", "\t", "|"]))), hp_of(table))


def decimal_commas(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    text = table.select(pl.col(name).cast(pl.String).str.replace(".", ",", literal=True) for name in table.columns)
    return Written(as_csv(text, folder / "t.csv", separator=";"), hp_of(table))


def with_units(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    width = pl.col("width")
    worded = [pl.format("{}d", width), pl.format("{}k", width / 1000), pl.format("{}e0", width)][int(rng.integers(3))]
    return Written(as_csv(table.with_columns(worded.alias("width")), folder / "t.csv"), hp_of(table))


def compressed(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    buffer = io.BytesIO()
    table.write_csv(buffer)
    file = folder / f"t.csv{rng.choice(['.gz', ''])}"
    file.write_bytes(gzip.compress(buffer.getvalue()))
    return Written(file, hp_of(table))


def another_form(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    form = str(rng.choice(["parquet", "jsonl", "json", "nested"]))
    file = folder / f"t.{form.replace('nested', 'jsonl')}"
    if form == "parquet":
        table.write_parquet(file)
    elif form == "nested":
        file.write_text(
            "\n".join(json.dumps({"config": row, "summary": {"val/loss": row.pop("loss")}}) for row in table.to_dicts())
        )
        return Written(file, tuple(f"config.{name}" for name in hp_of(table)))
    else:
        rows = table.to_dicts()
        file.write_text(json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows)))
    return Written(file, hp_of(table))


def more_columns(table: pl.DataFrame, rng: Rng, folder: Path) -> Written:
    """What a tracker adds: names, states, times, hosts, and settings that are the same in all."""
    n = len(table)
    added = [
        pl.Series("Name", [f"run-{k}" for k in range(n)]), pl.Series("State", ["finished"] * n), pl.Series("_step", [5000] * n),
        pl.Series("Runtime", rng.uniform(100, 900, n)), pl.Series("batch_size", [64] * n), pl.Series("optimizer", ["adamw"] * n),
        pl.Series("train/loss", rng.uniform(2, 3, n)), pl.Series("host", rng.choice(["a", "b"], n)),
    ]  # fmt: skip
    chosen = [added[k] for k in rng.choice(len(added), 4, replace=False)]
    return Written(as_csv(table.with_columns(chosen), folder / "t.csv"), hp_of(table))


HARMLESS = (
    renamed, shuffled, quoted, repeated, another_separator, decimal_commas, with_units, compressed, another_form, more_columns
)  # fmt: skip


@pytest.mark.parametrize("mutation", HARMLESS)
def test_a_harmless_mutation_gives_the_clean_runs(mutation: Callable[[pl.DataFrame, Rng, Path], Written], tmp_path: Path) -> None:
    for seed in SEEDS[:: len(HARMLESS)]:
        rng = np.random.default_rng([seed, HARMLESS.index(mutation)])
        table = good(rng)
        clean = read(as_csv(table, tmp_path / "clean.csv"), hp_of(table))
        assert clean.notes == () and clean.mixed == ()
        file, hp = mutation(table, rng, tmp_path)
        found = read(file, hp)
        np.testing.assert_allclose(runs(found), runs(clean), rtol=1e-9)
        assert found.mixed == ()
        assert [note for note in found.notes if "repeat another" not in note] == []
        if seed == 0:
            told, wanted = (
                predict(one, {one_width: 4096}, hp=one_hp, loss=one_loss)
                for one, one_width, one_hp, one_loss in (
                    (file, "width", hp, "loss"),
                    (tmp_path / "clean.csv", "width", hp_of(table), "loss"),
                )
            )
            for mine, theirs in zip(told.hyperparameters.values(), wanted.hyperparameters.values(), strict=True):
                assert (mine.value, mine.low, mine.high) == pytest.approx((theirs.value, theirs.low, theirs.high), rel=1e-9)
        file.unlink()


# -- harmful -----------------------------------------------------------------------------------------------------------


class Harm(NamedTuple):
    """A table, the column that is at fault, how many rows or runs it concerns, and the runs that are left (None: any)."""

    table: pl.DataFrame
    column: str
    count: int
    left: pl.DataFrame | None = None


def some(table: pl.DataFrame, rng: Rng) -> np.ndarray:
    chosen = np.zeros(len(table), bool)
    chosen[rng.choice(len(table), int(rng.integers(1, len(table) // 4)), replace=False)] = True
    return chosen


def states_changed(table: pl.DataFrame, rng: Rng) -> Harm:
    name, words = [
        ("State", ["running", "crashed", "killed"]),
        ("status", ["FAILED", "RUNNING", "KILLED"]),
        ("state", ["PRUNED", "FAIL"]),
    ][int(rng.integers(3))]
    chosen = some(table, rng)
    states = np.where(
        chosen, rng.choice(words, len(table)), {"State": "finished", "status": "FINISHED", "state": "COMPLETE"}[name]
    )
    loss = np.where(chosen, table["loss"].to_numpy() + rng.uniform(0.2, 2), table["loss"].to_numpy())
    return Harm(table.with_columns(pl.Series(name, states), loss=pl.Series(loss)), name, int(chosen.sum()), table.filter(~chosen))


def runs_cut_short(table: pl.DataFrame, rng: Rng) -> Harm:
    chosen = some(table, rng)
    per_width = table.with_columns(cut=pl.Series(chosen)).group_by("width").agg(pl.col("cut").mean())
    if (per_width["cut"] >= 0.4).any():
        chosen[:] = False
        chosen[0] = True
    name = str(rng.choice(["_step", "global_step", "training_iteration"]))
    loss = np.where(chosen, table["loss"].to_numpy() + 1, table["loss"].to_numpy())
    steps = np.where(chosen, rng.integers(10, 800, len(table)), 1000)
    return Harm(table.with_columns(pl.Series(name, steps), loss=pl.Series(loss)), name, int(chosen.sum()), table.filter(~chosen))


def history(table: pl.DataFrame, rng: Rng) -> Harm:
    steps = [100, 200, 300]
    parts = [table.with_columns(step=pl.lit(step), loss=pl.col("loss") + (300 - step) / 100) for step in steps]
    rows = pl.concat(parts)
    if rng.random() < 0.5:
        rows = pl.concat([one.with_columns(pl.Series("run_id", [f"r{k}" for k in range(len(table))])) for one in parts])
    return Harm(rows, "step", len(rows), table)


def losses_lost(table: pl.DataFrame, rng: Rng) -> Harm:
    chosen = some(table, rng)
    lost = rng.choice([np.nan, np.inf])
    return Harm(table.with_columns(loss=pl.Series(np.where(chosen, lost, table["loss"].to_numpy()))), "loss", int(chosen.sum()))


def settings_lost(table: pl.DataFrame, rng: Rng) -> Harm:
    chosen, name = some(table, rng), str(rng.choice(["width", "lr"]))
    values = pl.when(pl.Series(chosen)).then(None).otherwise(pl.col(name))
    return Harm(table.with_columns(values.alias(name)), name, int(chosen.sum()), table.filter(~chosen))


def optimizers_mixed(table: pl.DataFrame, rng: Rng) -> Harm:
    name = str(rng.choice(["config.optimizer.name", "optimizer", "config/optim", "params.optimizer.type"]))
    other = table.with_columns(pl.lit("muon").alias(name), lr=pl.col("lr") * 4)
    return Harm(pl.concat([table.with_columns(pl.lit("adamw").alias(name)), other]), name, 2 * len(table))


def settings_mixed(table: pl.DataFrame, rng: Rng) -> Harm:
    name, values = [
        ("batch_size", (64, 256)),
        ("tokens", (10**8, 16 * 10**8)),
        ("config.lr_schedule", ("cosine", "linear")),
        ("n_layer", (4, 8)),
    ][int(rng.integers(4))]
    parts = [
        table.with_columns(pl.lit(value).alias(name), loss=pl.col("loss") * (1 + 0.05 * k)) for k, value in enumerate(values)
    ]
    return Harm(pl.concat(parts), name, 2 * len(table))


def decay_coupled(table: pl.DataFrame, rng: Rng) -> Harm:
    if "weight_decay" not in table.columns:
        table = table.with_columns(weight_decay=pl.Series(rng.choice([1e-4, 3e-4, 1e-3], len(table))))
    table = table.with_columns((pl.col("weight_decay") / pl.col("lr")).round(6))
    return Harm(table, "weight_decay", len(table))


HARMFUL = (states_changed, runs_cut_short, history, losses_lost, settings_lost, optimizers_mixed, settings_mixed, decay_coupled)


@pytest.mark.parametrize("mutation", HARMFUL)
def test_a_harmful_mutation_is_refused_or_said(mutation: Callable[[pl.DataFrame, Rng], Harm], tmp_path: Path) -> None:
    for seed in SEEDS[:: len(HARMFUL)]:
        rng = np.random.default_rng([seed, HARMFUL.index(mutation), 1])
        table = good(rng)
        harm = mutation(table, rng)
        try:
            found = read(as_csv(harm.table, tmp_path / "t.csv"), hp_of(harm.table))
        except UsageError as error:
            assert harm.column in str(error) and "\n" not in str(error)
            continue
        said = [note for note in found.notes if note.startswith(f"{harm.column}:")]
        assert len(said) == 1, (seed, found.notes)
        counts = [int(word.replace(",", "")) for word in re.findall(r"\b\d[\d,]*\b", said[0])]
        assert harm.count in counts or sum(counts) == harm.count, (seed, said)
        if harm.left is not None:
            clean = read(as_csv(harm.left, tmp_path / "left.csv"), hp_of(harm.left))
            np.testing.assert_allclose(runs(found), runs(clean), rtol=1e-9)


@pytest.mark.parametrize("column", ["lr", "width", "loss"])
def test_values_that_cannot_be_are_one_line(column: str, tmp_path: Path) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        table = good(rng)
        wrong = table.with_columns(
            pl.when(pl.Series(some(table, rng))).then(-pl.col(column)).otherwise(pl.col(column)).alias(column)
        )
        with pytest.raises(UsageError, match=rf"row \d+: {column} -") as caught:
            read(as_csv(wrong, tmp_path / "t.csv"), hp_of(table))
        assert "\n" not in str(caught.value)
