"""``python -m hptransfer.transfer --table``: a prediction from sweeps that somebody already has."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform


def rows(gamma: float = -0.5, widths: tuple[int, ...] = (64, 128, 256), **more: Any) -> list[dict[str, Any]]:
    """lr* = 0.01 (width/64)^gamma on grids of factor sqrt 2."""
    rng = np.random.default_rng(0)
    found = []
    for width in widths:
        for step in np.arange(-6, 7):
            u = step * math.log(math.sqrt(2)) + 0.1
            lr = 0.01 * (width / 64) ** gamma * math.exp(u)
            loss = 3 * math.exp(0.02 * u**2 + 0.0005 * rng.standard_normal())
            found.append({"width": width, "lr": lr, "val_loss": loss, **more})
    return found


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    frame = pl.DataFrame(values)
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson}[path.suffix](path)
    return path


def transfer(path: Path, text: str = "--loss val_loss --width 1024", *more: str) -> int:
    return perform("transfer", ["--table", str(path), *shlex.split(text), *more])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_prediction_with_interval(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer(write(tmp_path / f"runs{suffix}", rows()), "--loss val_loss --width 1024 --json") == 0
    captured = capsys.readouterr()
    group = json.loads(captured.out)["predictions"][0]
    lr = group["hyperparameters"]["lr"]
    assert lr["value"] == pytest.approx(0.01 / 4, rel=0.2)
    assert lr["low"] < 0.01 / 4 < lr["high"]
    assert group["drifts"][0]["fitted"] == pytest.approx(-0.5, abs=0.1)
    assert [optimum["scales"] for optimum in group["optima"]] == [{"width": 64}, {"width": 128}, {"width": 256}]
    assert 0 < group["expected_regret"] < 0.01
    assert "lr ~ width^" in captured.err and "predicted lr" in captured.err


def test_without_a_target_there_are_optima_and_exponents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer(write(tmp_path / "runs.csv", rows()), "--loss val_loss --json") == 0
    found = json.loads(capsys.readouterr().out)["predictions"][0]
    assert found["hyperparameters"] == {} and found["job"] is None


NANOCHAT = [
    {"width": width, "depth": width // 64, "weight_decay": wd}
    for width, wd in ((512, 0.4), (768, 0.22), (1024, 0.1), (1280, 0.08))
]


def test_optima_without_losses_are_a_line_with_an_interval_from_their_scatter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """nanochat's best Muon weight decay by width (its dev/LOG.md, 11 January 2026): least squares gives -1.85, the log -1.97."""
    assert transfer(write(tmp_path / "wd.csv", NANOCHAT), "--hp weight_decay --width 2048 --json") == 0
    group = json.loads(capsys.readouterr().out)["predictions"][0]
    exponent = group["drifts"][0]
    assert exponent["fitted"] == pytest.approx(-1.8485, abs=1e-3)
    assert exponent["low"] < -1.97 < exponent["high"] < -1
    rules = {rule["name"]: (rule["exponent"], rule["inside"]) for rule in exponent["rules"]}
    assert rules["inverse width squared"] == (-2.0, True) and rules["inverse width"] == (-1.0, False)
    assert group["hyperparameters"]["weight_decay"]["value"] == pytest.approx(42110.9 * 2048**-1.8485, rel=0.2)


def test_scales_that_go_together_are_one_dial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There nanochat's depth is width / 64: a fit along both knows what they do together, and nothing of either alone."""
    table = write(tmp_path / "wd.csv", NANOCHAT)

    def predicted(scales: str, at: str) -> dict:
        assert transfer(table, "--hp weight_decay --scale", scales, "--at", at, "--json") == 0
        return json.loads(capsys.readouterr().out)["predictions"][0]

    alone, both = predicted("width", "width=2048"), predicted("width,depth", "width=2048,depth=32")
    width, depth = both["drifts"]
    assert [width[end] for end in ("fitted", "low", "high")] == [alone["drifts"][0][end] for end in ("fitted", "low", "high")]
    assert depth["fitted"] is depth["low"] is depth["high"] is None
    assert all(rule["inside"] is None for rule in depth["rules"])
    assert set(both["notes"]) - set(alone["notes"]) == {both["notes"][1]} and "coupled" in alone["notes"][0]
    leaving = predicted("width,depth", "width=2048,depth=16")
    assert len(leaving["notes"][1]) > len(both["notes"][1])

    def reach(group: dict) -> float:
        decay = group["hyperparameters"]["weight_decay"]
        return decay["high"] / decay["low"]

    assert reach(leaving) > reach(both)


def test_refused_groups_leave_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "runs.csv", [*rows(who="a"), *rows(widths=(64,), who="b")])
    assert transfer(path, "--loss val_loss --group who --width 1024 --json") == 1
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["refused"]) == ["b"]
    assert "refused: b: no prediction, scales: one cell, width 64, shows no drift; add runs at a second one" in captured.err


def test_refusals_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(path: Path, *options: str) -> str:
        assert transfer(path, *options) == 1
        return " ".join(capsys.readouterr().err.split())

    one = write(tmp_path / "one.csv", rows(widths=(64,)))
    assert "refused: all: no prediction, scales: one cell, width 64, shows no drift" in refused(one)
    mixed = write(tmp_path / "mixed.csv", [*rows(corpus="c4"), *rows(corpus="fineweb")])
    assert "do not belong together: corpus c4, corpus fineweb" in refused(mixed)
    assert transfer(mixed, "--loss val_loss --width 1024 --force") == 1  # the check still fails
    schedules = write(tmp_path / "schedules.csv", [*rows(schedule="wsd"), *rows(schedule="cosine")])
    assert "schedule wsd, schedule cosine" in refused(schedules)
    edge = write(tmp_path / "edge.csv", [row for row in rows() if row["width"] < 256 or row["lr"] > 0.0065])
    assert "all at width 256: the best lr is at the lower edge of its sweep (0.0" in refused(edge)
    plain = write(tmp_path / "plain.csv", rows())
    assert "64x in width beyond the largest run, 32x is the most" in refused(plain, "--loss val_loss --width 16384")
    assert transfer(plain, "--loss val_loss --width 16384 --force") == 1


@pytest.mark.parametrize("seed", [1.5, math.inf])
def test_a_seed_that_is_no_whole_number_is_refused(tmp_path: Path, seed: float) -> None:
    runs = rows(seed=0)
    runs[3]["seed"] = seed
    with pytest.raises(UsageError, match=rf"row 5: seed {seed} is no whole number"):
        transfer(write(tmp_path / "runs.csv", runs), "--loss val_loss")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--loss loss", "unknown column 'loss'"),
        ("--loss val_loss --at depth=3", "unknown column 'depth'"),
        ("--loss val_loss --hp lr,who", "row 2: who 'me' is not a number"),
        ("--loss val_loss --scale zero", "row 2: zero 0 is not positive"),
        ("--loss val_loss --scale endless", "row 2: endless inf is not finite"),
        ("--loss val_loss --where 'width > 1e6'", "keeps none of the 39 rows"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, options: str, message: str) -> None:
    path = write(tmp_path / "runs.csv", rows(who="me", zero=0, endless=math.inf))
    with pytest.raises(UsageError) as caught:
        transfer(path, options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


ODD = {"list": [1], "struct": {"a": 1}, "binary": b"\xff\0", "nothing": None, "number": 5}


@pytest.mark.parametrize("column", ["list", "struct", "binary", "nothing", "lr,lr"])
@pytest.mark.parametrize("role", ["--scale", "--hp", "--loss"])
def test_a_column_without_numbers_has_no_part(tmp_path: Path, column: str, role: str) -> None:
    path = write(tmp_path / "runs.parquet", [one | ODD for one in rows()])
    with pytest.raises(UsageError):
        transfer(path, f"{role} {column}")


@pytest.mark.parametrize("column", ["list", "binary", "nothing", "number"])
def test_a_column_of_any_kind_tells_groups_apart(tmp_path: Path, column: str) -> None:
    assert transfer(write(tmp_path / "runs.parquet", [one | ODD for one in rows()]), f"--width 1024 --group {column}") == 0


def test_two_optima_are_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "two.csv", [{"width": 64, "lr": 0.1}, {"width": 128, "lr": 0.05}])
    assert transfer(path, "--width 1024 --json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["predictions"] == [] and "2 optima are too few" in found["refused"]["all"]["text"]


def test_a_group_that_no_fit_can_take_is_refused_and_the_others_are_predicted(tmp_path: Path, monkeypatch, capsys) -> None:
    from scipy.spatial import QhullError

    from hptransfer import cli
    from hptransfer.transfer import decision

    rows = [
        f"{name},{width},{2.0**octave},{3 + 0.02 * octave**2}"
        for name in ("good", "odd")
        for width in (64, 128, 256)
        for octave in range(-3, 4)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["optimizer,width,lr,loss", *rows]))
    fit_group = decision.fit_group

    def fit(group, *rest, **more):
        if group.name == "odd":
            raise QhullError("flat simplex")
        return fit_group(group, *rest, **more)

    monkeypatch.setattr(decision, "fit_group", fit)
    argv = ["--table", str(tmp_path / "t.csv"), "--group", "optimizer", "--at", "width=512", "--json"]
    assert cli.perform("transfer", argv) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in printed["predictions"]] == ["good"]
    assert printed["refused"]["odd"]["code"] == "no_fit"
