"""Tables as strangers have them: other names, other words for what became of a run, other forms of one number.

lr* = 0.01 (width/128)^-0.15 in all. What is read is compared with the same runs under plain names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.intake import Intake, intake
from hptransfer.runs.sources.meanings import Asked
from hptransfer.runs.sources.names import meaning, plain, unit, without_logarithm
from hptransfer.runs.sources.reading import read_rows

Row = dict[str, Any]
LOST = (3, 9, 17)  # the rows that something is wrong with


def sweep() -> list[Row]:
    found = []
    for width in (128, 256, 512):
        for lr in (2.0**-k for k in range(4, 11)):
            bowl = 1 + 0.0075 * math.log2(lr / (0.01 * (width / 128) ** -0.15)) ** 2
            found.append({"width": width, "lr": lr, "loss": round((3 + 2 * (width / 128) ** -0.5) * bowl, 4)})
    return found


def read(rows: list[Row], folder: Path, asked: Asked = Asked(), maximize: bool | None = None) -> Intake:  # noqa: B008
    file = folder / "runs.csv"
    pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv(file)
    return intake(read_rows(file), asked, maximize=maximize)


def runs(found: Intake) -> np.ndarray:
    assert found.columns.loss
    names = (*found.columns.scale, *found.columns.hp, found.columns.loss)
    return found.frame.select(pl.col(name).cast(pl.Float64) for name in names).to_numpy()


PLAIN = np.array([list(row.values()) for row in sweep()])
LEFT = np.delete(PLAIN, LOST, axis=0)

# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "lr", "loss"),
    [
        ("model.d_model", "opt.lr", "val_loss_final"),
        ("hidden_dim", "train/lr", "Validation Loss"),
        ("n_embd", "LR (peak)", "loss [nats]"),
        ("width (d_model)", "lr (max)", "val loss (nats/token)"),
        ("emb", "lr0", "cross entropy"),
        ("residual_stream_dim", "\u03b7", "loss/validation"),
        ("config/model/dim", "config/optim/initial_lr", "eval_loss_last"),
        ("params.width", "params.step_size", "metrics.val_xent"),
        ("user_attrs_width", "params_lr", "value"),
        ("width", "lr*", "Loss"),
        ("cfg.model.width", "cfg.opt.lr", "negative log-likelihood"),
    ],
)
def test_columns_are_found_by_the_words_in_their_names(width: str, lr: str, loss: str, tmp_path: Path) -> None:
    found = read([{width: one["width"], lr: one["lr"], loss: one["loss"]} for one in sweep()], tmp_path)
    np.testing.assert_allclose(runs(found), PLAIN)
    assert found.notes == () and meaning(lr) == "lr"


@pytest.mark.parametrize("other", ["val_loss_std", "z_loss", "aux/loss", "config.loss", "train/loss_scale"])
def test_what_only_sounds_like_a_loss_is_none(other: str, tmp_path: Path) -> None:
    found = read([one | {other: 0.1} for one in sweep()], tmp_path)
    assert found.columns.loss == "loss"


def test_the_second_of_two_columns_is_another() -> None:
    assert plain("loss (2)") != "loss" and plain("lr (2)") != "lr"


@pytest.mark.parametrize("other", [("hidden_size", lambda one: one["width"]), ("embedding_dim", lambda one: 64)])
def test_a_column_that_says_the_same_or_nothing_is_not_asked_for(other: tuple[str, Callable[[Row], int]], tmp_path: Path) -> None:
    name, value = other
    rows = [{"d_model": one["width"], name: value(one), "lr": one["lr"], "loss": one["loss"]} for one in sweep()]
    assert read(rows, tmp_path, Asked(scale=("width",))).columns.scale == ("d_model",)


@pytest.mark.parametrize("form", ["w{width}-lr{lr}", "d_model={width}_lr={lr}_seed=1", "adamw/width{width}/lr_{lr:.8e}"])
def test_settings_that_only_the_names_of_runs_say(form: str, tmp_path: Path) -> None:
    found = read([{"Name": form.format(**one), "val_loss": one["loss"]} for one in sweep()], tmp_path)
    np.testing.assert_allclose(runs(found), PLAIN)
    assert found.notes == ()


def test_a_name_says_nothing_where_a_column_does(tmp_path: Path) -> None:
    found = read([one | {"Name": f"w{2 * one['width']}-lr{10 * one['lr']}"} for one in sweep()], tmp_path)
    np.testing.assert_allclose(runs(found), PLAIN)


# -- logarithms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "log", "noted"),
    [
        ("log2(lr)", math.log2, False),
        ("log10(lr)", math.log10, False),
        ("ln(lr)", math.log, False),
        ("lr_log2", math.log2, False),
        ("lr (log10)", math.log10, False),
        ("log_2_lr", math.log2, False),
        ("Log10 Learning Rate", math.log10, False),
        ("config.opt.log2lr", math.log2, False),
        ("params_log_lr", math.log10, True),
        ("log_learning_rate", math.log10, True),
    ],
)
def test_logarithms_are_told_by_their_names(name: str, log: Callable[[float], float], noted: bool, tmp_path: Path) -> None:
    found = read([{"width": one["width"], name: log(one["lr"]), "loss": one["loss"]} for one in sweep()], tmp_path)
    assert found.columns.hp == (name,)
    np.testing.assert_allclose(np.exp(runs(found)[:, 1] * unit(name)), PLAIN[:, 1])
    assert meaning(name) == "lr" and without_logarithm(name) != name
    assert [note.startswith(f"{name}: read as logarithms to base 10") for note in found.notes] == [True] * noted


def test_values_are_taken_before_their_logarithms(tmp_path: Path) -> None:
    found = read([one | {"log2_lr": math.log2(one["lr"]), "log2_width": math.log2(one["width"])} for one in sweep()], tmp_path)
    assert (found.columns.scale, found.columns.hp, found.notes) == (("width",), ("lr",), ())


@pytest.mark.parametrize("name", ["neg_log2_lr", "-log2(lr)"])
def test_a_negative_logarithm_is_no_learning_rate(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--hp"):
        read([{"width": one["width"], name: -math.log2(one["lr"]), "loss": one["loss"]} for one in sweep()], tmp_path)


@pytest.mark.parametrize("name", ["logits", "login", "lnorm_eps"])
def test_a_name_that_begins_so_is_no_logarithm(name: str) -> None:
    assert unit(name) == 0


# -- what became of a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("Status", "Completed", "Active"),
        ("trial_status", "COMPLETED", "EARLY_STOPPED"),
        ("status", "Done", "InProgress"),
        ("state", "finished", "FINISHED (killed)"),
        ("State", "finished", "stopped early"),
        ("phase", "Succeeded", "Pending"),
        ("result", "ok", "error"),
        ("outcome", "\u2705", "\u274c"),
        ("finished", "True", "False"),
        ("is_done", 1, 0),
        ("completed", "yes", "no"),
        ("sys/failed", False, True),
        ("pruned", False, True),
        ("crashed", "no", "yes"),
        ("exit_code", 0, 137),
        ("ExitCode", "0:0", "1:0"),
    ],
)
def test_runs_that_did_not_finish_are_left_out_and_counted(column: str, good: Any, bad: Any, tmp_path: Path) -> None:
    rows = [one | {column: bad if row in LOST else good, "loss": one["loss"] - (row in LOST)} for row, one in enumerate(sweep())]
    found = read(rows, tmp_path)
    np.testing.assert_allclose(runs(found), LEFT)
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{column}: left out 3")


@pytest.mark.parametrize("column", ["State", "is_finished", "failed", "sys/failed", "exit_code", "diverged"])
def test_where_all_finished_nothing_is_said(column: str, tmp_path: Path) -> None:
    good = {"State": "finished", "is_finished": True, "exit_code": 0}.get(column, False)
    found = read([one | {column: good} for one in sweep()], tmp_path)
    np.testing.assert_allclose(runs(found), PLAIN)
    assert found.notes == ()


def test_a_run_that_is_said_to_have_diverged_did(tmp_path: Path) -> None:
    found = read(
        [one | {"diverged": row in LOST, "loss": 9.8 if row in LOST else one["loss"]} for row, one in enumerate(sweep())],
        tmp_path,
    )
    assert found.frame["loss"].null_count() == 3 and "loss: 3 runs" in found.notes[0]


def test_states_that_nobody_knows_are_said(tmp_path: Path) -> None:
    found = read([one | {"status": "blue" if row in LOST else "green"} for row, one in enumerate(sweep())], tmp_path)
    assert found.notes[0].startswith("status: green and blue are no states")
    with pytest.raises(UsageError, match=r"row 5: status 'blue' .* = \"done\""):
        read(
            [one | {"status": "blue" if row in LOST else "killed" if row == 1 else "done"} for row, one in enumerate(sweep())],
            tmp_path,
        )


@pytest.mark.parametrize("column", ["use_bias", "qk_norm"])
def test_a_setting_of_yes_and_no_is_no_state(column: str, tmp_path: Path) -> None:
    found = read([one | {column: one["width"] > 128} for one in sweep()], tmp_path)
    assert len(found.frame) == 21 and found.notes == ()


@pytest.mark.parametrize(
    ("cell", "note"),
    [
        ("OOM", "left out 3 oom"),
        ("still running", "left out 3 still running"),
        ("DNF", "left out 3 dnf"),
        ("NaN loss", "3 runs without a finite value"),
        ("diverged at step 300", "3 runs without a finite value"),
        ("#DIV/0!", "3 runs without a finite value"),
    ],
)
def test_words_in_the_place_of_a_loss(cell: str, note: str, tmp_path: Path) -> None:
    found = read([one | {"loss": cell if row in LOST else one["loss"]} for row, one in enumerate(sweep())], tmp_path)
    assert len(found.notes) == 1 and found.notes[0].startswith(f"loss: {note}")
    assert len(found.frame.drop_nulls("loss")) == 18 and len(found.frame) == (18 if "left out" in note else 21)


@pytest.mark.parametrize("form", ["{} \u00b1 0.01", "{} +/- 0.01", "{} nats"])
def test_a_loss_beside_its_error_or_unit(form: str, tmp_path: Path) -> None:
    np.testing.assert_allclose(runs(read([one | {"loss": form.format(one["loss"])} for one in sweep()], tmp_path)), PLAIN)


def test_a_title_above_and_headers_between_are_no_rows(tmp_path: Path) -> None:
    lines = [";".join(str(value) for value in one.values()) for one in sweep()]
    file = tmp_path / "runs.csv"
    file.write_text("\n".join(["My sweep;;", ";;", "width;lr;loss", *lines[:9], "width;lr;loss", *lines[9:]]))
    found = intake(read_rows(file), Asked())
    np.testing.assert_allclose(runs(found), PLAIN)
    assert found.notes == ("left out as the header again: 1 lines, the first line 13",)


# -- steps and repeats -------------------------------------------------------------------------------------------------

STEPS = [
    "iter_num",
    "tokens_seen",
    "num_input_tokens_seen",
    "consumed_samples",
    "it",
    "last_step",
    "train/global_step",
    "Step",
    "progress",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_ended_early_is_left_out_whatever_counts_its_steps(step: str, tmp_path: Path) -> None:
    found = read(
        [one | {step: 1200 if row in LOST else 5000, "loss": one["loss"] - (row in LOST)} for row, one in enumerate(sweep())],
        tmp_path,
    )
    np.testing.assert_allclose(runs(found), LEFT)
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{step}: left out 3 runs")


@pytest.mark.parametrize("step", STEPS)
def test_the_last_step_of_a_history(step: str, tmp_path: Path) -> None:
    rows = [
        one | {"run": f"r{row}", step: at, "loss": one["loss"] + 5 - at} for row, one in enumerate(sweep()) for at in (1, 3, 5)
    ]
    found = read(rows, tmp_path)
    np.testing.assert_allclose(runs(found), PLAIN)
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{step}: 63 rows are the history of 21 runs")


def test_runs_that_nothing_tells_apart_are_said_to_count_as_seeds(tmp_path: Path) -> None:
    twice = [one | {"Notes": word, "loss": one["loss"] + more} for one in sweep() for word, more in (("a", 0), ("b", 0.5))]
    found = read(twice, tmp_path)
    assert len(found.frame) == 42
    [note] = found.notes
    assert note.startswith("width, lr: 42 runs at 21 settings differ in loss, Notes,")


@pytest.mark.parametrize("seed", ["seed", "manual_seed", "train.torch_seed", "rep", "trial", "data_seed"])
def test_seeds_are_told_by_many_names(seed: str, tmp_path: Path) -> None:
    found = read([one | {seed: k, "loss": one["loss"] + k / 1000} for one in sweep() for k in (0, 1, 2)], tmp_path)
    assert len(found.frame) == 63 and found.notes == ()


# -- mixtures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("method", ("adamw", "muon")),
        ("algo", ("adamw", "lion")),
        ("optimizer_class", ("AdamW", "Muon")),
        ("opt_name", ("adamw", "muon")),
        ("config.train.optimiser.cls", ("A", "B")),
        ("config.data.name", ("c4", "fineweb")),
        ("use_mup", (True, False)),
        ("global_batch", (64, 256)),
        ("tokens_per_step", (65536, 262144)),
        ("gbs", (64, 256)),
        ("total_steps", (1000, 16000)),
        ("num_train_epochs", (1, 10)),
        ("tokens_per_param", (20, 40)),
        ("horizon", ("1B", "16B")),
        ("num_blocks", (4, 8)),
    ],
)
def test_two_sweeps_in_one_table_do_not_belong_together(column: str, values: tuple[Any, Any], tmp_path: Path) -> None:
    rows = [one | {column: value, "loss": one["loss"] * (1 + k / 20)} for one in sweep() for k, value in enumerate(values)]
    found = read(rows, tmp_path)
    assert found.mixed == (column,) and found.notes[0].startswith(f"{column}: ")


@pytest.mark.parametrize("name", ["log_likelihood", "val/log_prob", "-loss", "negative_val_loss", "top_score"])
def test_what_is_to_be_maximised_is_asked_for(name: str, tmp_path: Path) -> None:
    rows = [{"width": one["width"], "lr": one["lr"], name: -one["loss"]} for one in sweep()]
    with pytest.raises(UsageError, match="--maximize"):
        read(rows, tmp_path)
    np.testing.assert_allclose(runs(read(rows, tmp_path, maximize=True)), PLAIN)
