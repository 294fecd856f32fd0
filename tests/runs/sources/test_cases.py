"""Real situations (`tests/cases`, one file each) and what must come out of each: a value, a note that names it, or one line.

lr* = 0.01 (width/128)^-0.15 in all that have a value, which is 0.0066 at width 2048.
"""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.runs import Store
from hptransfer.runs.sources.intake import intake
from hptransfer.runs.sources.meanings import Asked
from hptransfer.runs.sources.reading import read_rows

CASES = Path(__file__).parents[2] / "cases"
TRUTH = 0.0066


class Answer(NamedTuple):
    """What a command said: the predicted LR with its interval, the notes, and why it refused."""

    value: float | None
    low: float | None
    high: float | None
    notes: str
    refused: str


def answer(case: str, options: str, capsys: pytest.CaptureFixture[str]) -> Answer:
    """``transfer`` of a case; a mistake of the user is what it refused."""
    try:
        perform("transfer", ["--table", str(CASES / case), *shlex.split(options), "--json"])
    except UsageError as error:
        assert "\n" not in str(error)
        return Answer(None, None, None, "", str(error))
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    refused = "; ".join(one["text"] for one in found["refused"].values())
    said = " | ".join(line.removeprefix("note: ") for line in printed.err.splitlines() if line.startswith("note: "))
    if not found["predictions"]:
        return Answer(None, None, None, said, refused)
    lr = next(iter(found["predictions"][0]["hyperparameters"].values()))
    return Answer(lr["value"], lr["low"], lr["high"], said, refused)


AT = "--at width=2048"
LR_OF = {"log_lr": lambda value: 10.0**value}

# -- those that have an answer: options, what must be said beside it ---------------------------------------------------

ANSWERED = [
    ("plain.csv", AT, []),
    ("06_crashed_finite.csv", AT, ["State: left out 1 crashed"]),
    ("06_killed_no_loss.csv", AT, ["State: left out 1 killed"]),
    ("12_optuna_trials.csv", AT, ["state: left out 1 pruned, 1 fail", "value: 1 runs without a finite value"]),
    ("12_optuna.db", AT, ["state: left out 1 pruned, 1 fail", "value: 1 runs without a finite value"]),
    ("12_optuna_journal.log", AT, ["state: left out 1 pruned, 1 fail", "value: 1 runs without a finite value"]),
    ("12_ray", AT, ["val_loss: 2 runs without a finite value"]),
    (
        "12_ray_all_results.jsonl",
        AT,
        ["training_iteration: 105 rows are the history of 21 runs", "2 runs without a finite value"],
    ),
    ("08_duplicates.csv", AT, ["21 rows repeat another"]),
    ("23_same_seed_once.csv", AT, []),
    ("23_two_decimals.csv", AT, []),
    ("07_history.csv", AT, ["_step: 1,050 rows are the history of 21 runs"]),
    ("16_log_lr.csv", f"--hp log_lr {AT}", ["log_lr: read as logarithms to base 10"]),
    ("22_import.csv", AT, []),
    ("22_import.jsonl", AT, []),
    ("22_import.tsv", AT, []),
    ("22_import_floatseed.csv", AT, []),
    ("22_import_seednan.csv", AT, []),
    ("22_import_quoted.csv", AT, ["loss: 2 runs without a finite value"]),
    ("10_comment.csv", AT, []),
    ("10_diverged_words.csv", AT, ["loss: 2 runs without a finite value"]),
    ("10_infinity.csv", AT, ["loss: 3 runs without a finite value"]),
    ("10_na.csv", AT, ["loss: 2 runs without a finite value"]),
    ("10_plain.csv.gz", AT, []),
    ("10_plain.xlsx", AT, []),
    ("10_semicolon.csv", AT, []),
    ("10_tab.csv", AT, []),
    ("10_tab.tsv", AT, []),
    ("10_units.csv", AT, []),
    ("10_utf16.csv", AT, []),
    ("11_api.jsonl", AT, ["summary.val/loss: 2 runs without a finite value"]),
    ("11_flat_nan.jsonl", AT, ["loss: 2 runs without a finite value"]),
    ("11_list.json", AT, []),
    ("11_nested.jsonl", AT, []),
    ("03_wd_zero.csv", f"--hp lr,weight_decay {AT}", ["weight_decay: left out 21 rows where it is 0", "coupled"]),
    ("13_accuracy.csv", f"--loss accuracy --maximize {AT}", []),
    ("13_neg.csv", f"--loss neg_loss --maximize {AT}", []),
    ("13_perplexity.csv", AT, []),
    ("28_comma_column.csv", f"--hp 'opt{{lr, wd}}' {AT}", []),
    ("28_dup_columns.csv", AT, ["2 columns are called 'loss'"]),
]


@pytest.mark.parametrize(("case", "options", "said"), ANSWERED, ids=[case for case, _, _ in ANSWERED])
def test_the_value_and_what_was_left_out(case: str, options: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(case, options, capsys)
    assert found.value is not None and found.low is not None and found.high is not None, found.refused
    low, value, high = (10.0**end if "log_lr" in options else end for end in (found.low, found.value, found.high))
    assert low < TRUTH < high and abs(math.log(value / TRUTH)) < 0.2
    assert all(words in found.notes for words in said)
    assert bool(found.notes) == bool(said)


def test_seeds_are_runs_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Their noise is large, and so is the interval; none of 63 is left out."""
    found = answer("23_seeds.csv", AT, capsys)
    assert found.low and found.low < 0.0092 and not found.notes
    assert len(intake(read_rows(CASES / "23_seeds.csv"), Asked()).frame) == 63


def test_a_clean_table_gives_the_same_in_every_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    plain = answer("plain.csv", AT, capsys)
    for case in (
        "10_comment.csv",
        "10_plain.csv.gz",
        "10_plain.xlsx",
        "10_semicolon.csv",
        "10_tab.csv",
        "10_utf16.csv",
        "11_list.json",
    ):
        assert answer(case, AT, capsys)[:3] == pytest.approx(plain[:3], rel=1e-9)


# -- those that are refused, or must say what differs ------------------------------------------------------------------

REFUSED = [
    ("06_running.csv", AT, "edge", "State: left out 4 running"),
    ("25_optimizer.csv", AT, "optimizer adamw, optimizer muon", "optimizer: adamw, muon in one group of 48 runs; --group"),
    (
        "25_nested_optimizer.csv",
        AT,
        "config.optimizer.name adamw",
        "config.optimizer.name: adamw, muon in one group of 48 runs; --group",
    ),
    ("14_batch_hidden.csv", AT, "batch_size 64, batch_size 256", "batch_size: differs (64, 256) at equal width, lr"),
    ("14_tokens_hidden.csv", AT, "tokens 100000000", "tokens: differs (100000000, 1600000000) at equal width, lr"),
    ("15_categorical.csv", AT, "lr_schedule cosine", "lr_schedule: cosine, linear in one group of 42 runs"),
    ("16_ln_lr.csv", f"--hp ln_lr {AT}", "as of a LayerNorm, rename the column", ""),
    ("09_chart.csv", AT, "export the runs table", ""),
    ("13_accuracy.csv", AT, "--maximize", ""),
    ("13_accuracy.csv", f"--loss accuracy {AT}", "--maximize", ""),
    ("13_neg.csv", f"--loss neg_loss {AT}", "--maximize", ""),
    ("01_mup66_wide.csv", AT, "make the table long", ""),
    ("28_row_column.csv", AT, "row 5: loss 'x' is not a number", ""),
    ("21_one_width.csv", f"--group optimizer {AT}", "width 128", ""),
    ("26_marin7381.csv", "--hp lr_mult --group attention --at d_model=4096", "one cell", ""),
    ("17_edge_one.csv", AT, "lower edge", ""),
]


@pytest.mark.parametrize(
    ("case", "options", "why", "said"), REFUSED, ids=[f"{case} {options}" for case, options, _, _ in REFUSED]
)
def test_what_cannot_be_answered_is_refused_in_words(
    case: str, options: str, why: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(case, options, capsys)
    assert why in found.refused and said in found.notes


@pytest.mark.parametrize(
    ("case", "options", "said"),
    [
        ("27_crash_three.csv", "--hp muonh_mult --at d_model=2048", "state: left out 1 crashed"),
        ("27_marin5737_crash.csv", "--hp adam_mult --at d_model=2048", "state: left out 1 crashed"),
        ("06_running.csv", "", "State: left out 4 running"),
        ("03_nanochat644.csv", "--hp lr,wd", "wd: left out"),
        ("03_wd_zero.csv", AT, "weight_decay: differs (0, 0.05, 0.1, 0.2 and 1 more) at equal width, lr"),
    ],
)
def test_what_is_left_out_or_not_named_is_counted(case: str, options: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(case, options, capsys)
    assert said in found.notes


@pytest.mark.parametrize(("case", "lowest"), [("10_params.csv", 125e6), ("10_thousands.csv", 1024.0)])
def test_units_and_thousands_are_numbers(case: str, lowest: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform("transfer", ["--table", str(CASES / case), "--json"]) == 0
    optima = json.loads(capsys.readouterr().out)["predictions"][0]["optima"]
    assert next(iter(optima[0]["scales"].values())) == lowest


# -- backtest and import hear the same ---------------------------------------------------------------------------------


def test_backtest_takes_the_same_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for case, said in (
        ("07_history.csv", "history of 21 runs"),
        ("06_crashed_finite.csv", "left out 1 crashed"),
        ("12_optuna.db", "1 pruned"),
    ):
        assert perform("backtest", [str(CASES / case), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert any(said in note for note in found["notes"])
        assert found["rules"]["hptransfer"]["robust_mean_regret"] < 0.01


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "name": "mine",
                "trainer": {
                    "command": "python3 train.py --width {width} --lr {lr} --wd {weight_decay} --seed {seed}",
                    "loss": "loss (.*)",
                },
                "arms": {"mine": {}},
                "parametrizations": ["unknown"],
                "widths": [32, 64],
                "target_width": 256,
                "spaces": {"mine": {"lr": {"low": 1e-4, "high": 1}, "weight_decay": {"low": 1e-4, "high": 1}}},
            }
        )
    )
    return file


def taken_in(experiment: Path, case: str, *more: str) -> tuple[dict[str, Any], list[Any]]:
    assert perform("import", [str(CASES / case), "--experiment", str(experiment), "--json", *more]) == 0
    return {}, sorted(Store("runs").records().values(), key=lambda record: (record.point["width"], record.point["lr"]))


@pytest.mark.parametrize(
    ("case", "states"),
    [
        ("22_import.csv", (14, 0)),
        ("22_import.jsonl", (14, 0)),
        ("22_import.tsv", (14, 0)),
        ("22_import_floatseed.csv", (14, 0)),
        ("22_import_seednan.csv", (14, 0)),
        ("22_import_quoted.csv", (12, 2)),
        ("22_import_running.csv", (5, 0)),
    ],
)
def test_import_takes_what_finished(experiment: Path, case: str, states: tuple[int, int]) -> None:
    _, records = taken_in(experiment, case)
    assert tuple(sum(one.state == state for one in records) for state in ("complete", "diverged")) == states


def test_a_weight_decay_is_asked_for_and_a_coupled_one_made_independent(experiment: Path) -> None:
    with pytest.raises(UsageError, match="weight_decay_coupled=weight_decay"):
        taken_in(experiment, "22_import_wd.csv")
    _, records = taken_in(experiment, "22_import_wd.csv", "--columns", "weight_decay_coupled=weight_decay")
    assert [one.point["weight_decay"] for one in records] == pytest.approx([0.1 * one.point["lr"] for one in records])


def test_a_weight_decay_that_is_none_is_one_line(experiment: Path) -> None:
    with pytest.raises(UsageError, match=r"row 2: weight_decay nan is not a positive number"):
        taken_in(experiment, "22_import_wdnan.csv")
    assert not Path("runs").exists() or not Store("runs").records()


# -- a look --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    sorted(path.name for path in CASES.iterdir() if path.suffix not in (".py", ".md") and path.name not in ("corpora", "tok")),
)
def test_a_look_at_every_case_is_one_screen_and_its_command_works(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = perform("import", [str(CASES / case), "--look", "--json"])
    except UsageError as error:
        assert case == "09_chart.csv" and "\n" not in str(error)
        return
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert len(printed.err.splitlines()) <= 45
    assert (code == 1) == bool(found["refused"]) == (found["next"] is None)
    if found["next"]:
        words = shlex.split(found["next"])
        assert words[:2] == ["hptransfer", "transfer"]
        assert perform("transfer", [*words[2:], "--json"]) in (0, 1)
