"""The public API as somebody uses it in a notebook, and as somebody reads it with ``help``."""

from __future__ import annotations

import doctest
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from report.factory import experiment as sample
from report.factory import write_all
from synthetic import Truth, make_experiment, make_records

import hptransfer
from hptransfer import HptransferError, Prediction, Refused, Store, UsageError
from hptransfer.cli import perform

EXPERIMENT = make_experiment()


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Widths 64 to 512; the best lr is .02 at 64 and falls as width^-.5; one run diverged."""
    rng, found = np.random.default_rng(0), []
    for width in (64, 128, 256, 512):
        for step in np.arange(-3, 3.5, 0.5):
            lr = 0.02 * 2**step
            u = math.log(lr / (0.02 * (width / 64) ** -0.5))
            loss = 3 * (width / 64) ** -0.05 * math.exp(0.02 * u**2 + 0.0005 * rng.standard_normal())
            found.append({"recipe": "adamw", "width": width, "lr": float(lr), "loss": loss})
    return [*found, {"recipe": "adamw", "width": 512, "lr": 0.32, "loss": None}]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder with an experiment file and a store of adamw and muon runs."""
    monkeypatch.chdir(tmp_path)
    Path("synthetic.yaml").write_text(yaml.safe_dump(EXPERIMENT.model_dump(mode="json", exclude_none=True)))
    found = Store("runs")
    for recipe in ("adamw", "muon"):
        for record in make_records(Truth(), EXPERIMENT, recipe=recipe):
            found.add(record)
    return found


def content(prediction: Prediction) -> dict[str, Any]:
    return prediction.model_dump(exclude={"provenance"})


# -- from a table ------------------------------------------------------------------------------------------------------


def test_a_table_is_predicted_wherever_it_is(rows, tmp_path) -> None:
    frame = pl.DataFrame(rows)
    frame.write_csv(tmp_path / "sweep.csv")
    frame.write_parquet(tmp_path / "sweep.parquet")
    tables = (frame, frame.to_pandas(), frame.to_arrow(), rows, frame.to_dict(as_series=False), str(tmp_path / "sweep.csv"))
    found = [hptransfer.predict(table, {"width": 2048}) for table in (*tables, tmp_path / "sweep.parquet")]
    lr = found[0].lr
    assert lr.low < 0.02 * 32**-0.5 < lr.high and lr.value == pytest.approx(0.02 * 32**-0.5, rel=0.1)
    assert all(content(one) == content(found[0]) for one in found[1:])


def test_columns_have_whatever_names_and_units(rows) -> None:
    frame = pl.DataFrame(rows).select(
        pl.col("width").alias("d_model"), pl.col("lr").log(2).alias("log2_rate"), pl.col("loss").alias("val/loss")
    )
    found = hptransfer.predict(frame, {"d_model": 2048}, hp="log2_rate", loss="val/loss", where="d_model > 64")
    rate, truth = found.hyperparameters["log2_rate"], math.log2(0.02 * 32**-0.5)
    assert rate.value == pytest.approx(truth, abs=0.4) and rate.low < truth < rate.high
    assert found.budget == {"d_model 128": 13, "d_model 256": 13, "d_model 512": 14}


def test_without_a_target_the_optima_and_their_drift_are_told(rows) -> None:
    found = hptransfer.predict(rows)
    assert found.hyperparameters == {} and found.job is None
    assert found.drift.used == pytest.approx(-0.5, abs=0.05) and len(found.optima) == 4


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"hp": "beta"}, "unknown column 'beta'"),
        ({"at": {"depth": 3}}, "unknown column 'depth'"),
        ({"at": {"width": -1}}, "does not give a positive value to each scale: width=VALUE"),
        ({"at": {"width": 2048}, "scale": ("width", "depth")}, "unknown column 'depth'"),
        ({"where": "width >"}, "expression 'width >'"),
        ({"arm": "adamw"}, "open a store with hptransfer.Store"),
    ],
)
def test_a_mistake_is_one_line(rows, named, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        hptransfer.predict(rows, **named)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_one_line(rows) -> None:
    with pytest.raises(UsageError, match="no table with a row for each run"):
        hptransfer.predict(42)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"nowhere\.csv: no such file"):
        hptransfer.predict("nowhere.csv")


def test_what_the_runs_do_not_allow_is_refused_with_a_code(rows) -> None:
    low = [row for row in rows if row["lr"] < 0.006 and row["width"] < 256]
    with pytest.raises(Refused, match="upper edge of its sweep") as caught:
        hptransfer.predict(low, {"width": 2048})
    assert caught.value.refusal.code == "upper_edge" and isinstance(caught.value, HptransferError)


# -- from a store ------------------------------------------------------------------------------------------------------


def test_an_arm_is_predicted_as_the_command_does(store, capsys) -> None:
    assert perform("transfer", ["--experiment", "synthetic.yaml", "--optimizer", "muon", "--output", "muon.json"]) == 0
    found = hptransfer.predict(store, experiment="synthetic.yaml", arm="muon")
    assert content(found) == content(hptransfer.read_prediction("muon.json"))
    assert found.provenance["run_ids"] == hptransfer.read_prediction("muon.json").provenance["run_ids"]
    assert found.job is not None and found.job.point["width"] == 256


def test_the_target_may_be_another_run(store) -> None:
    usual = hptransfer.predict(store, experiment=EXPERIMENT, arm="muon")
    found = hptransfer.predict(store, {"width": 512, "tokens": 2.5e5}, experiment=EXPERIMENT, arm="muon")
    assert (found.point["width"], found.point["tokens"]) == (512, 249_856)  # whole batches
    assert found.lr.high / found.lr.low > usual.lr.high / usual.lr.low


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({}, "needs experiment"),
        ({"experiment": EXPERIMENT}, "several arms; name one with arm: adamw, muon"),
        ({"experiment": EXPERIMENT, "arm": "moun"}, "did you mean 'muon'"),
        ({"experiment": "nothing"}, "unknown experiment 'nothing'"),
        ({"experiment": EXPERIMENT, "arm": "muon", "at": {"width": 128}}, "target_width 128 is also searched"),
        ({"experiment": EXPERIMENT, "arm": "muon", "at": {"lr": 128}}, "lr: muon's runs .* do not have it"),
    ],
)
def test_what_an_arm_lacks_is_said(store, named, words) -> None:
    with pytest.raises(UsageError, match=words):
        hptransfer.predict(store, **named)


def test_an_arm_that_is_not_searched_is_refused(store) -> None:
    with pytest.raises(Refused, match="soap of experiment synthetic has 0 complete runs"):
        hptransfer.predict(store, experiment=make_experiment(optimizers=["adamw", "soap"]), arm="soap")


def test_a_prediction_is_written_read_and_exported(store) -> None:
    found = hptransfer.predict(store, experiment=EXPERIMENT, arm="muon")
    assert hptransfer.write_prediction(found, "kept/muon.json") == Path("kept/muon.json")
    assert hptransfer.read_prediction("kept/muon.json") == found
    files = hptransfer.export(found)
    assert files == hptransfer.export("kept/muon.json") and json.loads(files["run.json"])["optimizer"]["recipe"] == "muon"
    with pytest.raises(UsageError, match="unknown export target 'yaml'"):
        hptransfer.export(found, "yaml")
    Path("mine.json").write_text("{}")
    with pytest.raises(UsageError, match="not overwritten"):
        hptransfer.write_prediction(found, "mine.json")


def test_a_prediction_from_a_table_exports_what_is_known(rows) -> None:
    found = hptransfer.predict(rows, {"width": 2048})
    assert "optimizer" in json.loads(hptransfer.export(found)["run.json"])["unknown"]
    with pytest.raises(UsageError, match="predicted from a table"):
        hptransfer.export(found, "torch")


# -- backtest, validate, report ----------------------------------------------------------------------------------------


def test_a_backtest_tells_regret_and_calibration(rows) -> None:
    found = hptransfer.backtest(rows, group="recipe", nested=True)
    assert [split.hold_out for split in found.splits] == ["width > 128", "width > 256"]
    assert found.regret["hptransfer"]["mean_regret"] < 0.002 < found.regret["base"]["mean_regret"]
    assert found.calibration["optima"] == len(found.cells) == 3
    assert json.loads(json.dumps(found.as_dict()))["groups"][0]["cells"][0]["scale"] == {"width": 256}


def test_a_backtest_compares_published_laws(rows) -> None:
    found = hptransfer.backtest(rows, rules={"truth": {"lr": "0.02 * pow(width / 64.0, -0.5)"}}, hold_out="width = 512")
    assert found.regret["truth"]["mean_regret"] < 0.002
    with pytest.raises(UsageError, match="a formula for each of lr"):
        hptransfer.backtest(rows, rules={"truth": {"rate": "1"}})


def test_a_backtest_says_what_it_leaves_out(rows) -> None:
    found = hptransfer.backtest([*rows, {"recipe": "adamw", "width": 1024, "lr": 0.02, "loss": 2.9}], leave_one_out="width")
    assert any("fewer than 3 finished runs" in note for note in found.notes)
    assert any(note.startswith("all, width = 1024: skipped") for note in found.notes)
    with pytest.raises(UsageError, match="three ways to hold out"):
        hptransfer.backtest(rows, nested=True, hold_out="width = 512")
    with pytest.raises(UsageError, match="unknown column 'widht'; did you mean 'width'"):
        hptransfer.backtest(rows, leave_one_out="widht")
    with pytest.raises(UsageError, match="nothing to predict"):
        hptransfer.backtest(rows[:20])


def test_a_store_is_backtested_by_arms(tmp_path) -> None:
    store = Store(tmp_path)
    for recipe in ("adamw", "muon"):
        for record in make_records(Truth(), make_experiment(widths=[64, 128, 512]), recipe=recipe):
            store.add(record)
    found = hptransfer.backtest(store)
    assert [split.group.split(",")[0] for split in found.splits] == ["adamw", "muon"]


def test_a_store_is_validated_and_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_all(tmp_path, sample())
    found = hptransfer.validate(file, tmp_path / "runs")
    assert set(found) == {"adamw", "muon"}
    assert found["adamw"].speedup is None and found["muon"].speedup is not None
    assert found["muon"].speedup.compute_multiplier["flops"].value > 1
    folder = hptransfer.build_report(file, Store("runs"))
    assert folder == Path("reports") / sample().name
    assert {"index.html", "report.md", "summary.json", "runs.csv"} <= {path.name for path in folder.iterdir()}
    assert hptransfer.build_report(file, "runs", "elsewhere") == Path("elsewhere")


# -- the package -------------------------------------------------------------------------------------------------------


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_to_import_it_costs_nothing() -> None:
    code = "import sys, hptransfer; print([name for name in sys.modules if name.startswith('hptransfer.')]); "
    code += "print([n for n in ('torch', 'ray', 'polars', 'pydantic', 'numpy', 'rich', 'yaml') if n in sys.modules])"
    assert run(code).splitlines() == ["[]", "[]"]


def test_predictions_and_reports_need_neither_torch_nor_ray() -> None:
    code = "import sys, hptransfer\nfor name in hptransfer.__all__: getattr(hptransfer, name)\n"
    assert run(code + "print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])") == "[]"


@pytest.mark.parametrize("first", ["import hptransfer.{0}", "from hptransfer.{0} import command", "import hptransfer.api"])
def test_a_function_keeps_its_name_whatever_is_imported_before_and_after(first: str) -> None:
    """Folders of modules, which bear the names of the commands, have the same ones."""
    lines = []
    for name in ("backtest", "export", "validate"):
        lines += [first.format(name), "import hptransfer", f"found = hptransfer.{name}", f"import hptransfer.{name}.command"]
        lines += [f"from hptransfer import {name}", f"assert found is {name} is hptransfer.{name}", "print(found.__module__)"]
    assert run("\n".join(lines)).splitlines() == ["hptransfer.api"] * 3


def test_every_public_name_is_listed_once_and_has_one_home() -> None:
    assert hptransfer.__all__ == sorted(set(hptransfer.__all__))
    assert set(hptransfer.__all__) == {*hptransfer._HOMES, "__version__"} <= set(dir(hptransfer))
    for name, home in hptransfer._HOMES.items():
        at_home = getattr(hptransfer, name).__module__
        assert at_home == home or at_home.startswith(f"{home}."), name
    with pytest.raises(AttributeError, match="no attribute 'backtset'"):
        hptransfer.backtset  # noqa: B018  type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["predict", "backtest", "convert_lr"])
def test_the_examples_on_tables_are_true(name: str) -> None:
    """Those on stores need one."""
    words = (inspect.getdoc(getattr(hptransfer, name)) or "").partition(">>> store =")[0]
    test = doctest.DocTestParser().get_doctest(words, {}, name, None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0 < len(test.examples)


FUNCTIONS = [name for name in hptransfer._HOMES if inspect.isfunction(getattr(hptransfer, name))]


@pytest.mark.parametrize("name", sorted(hptransfer._HOMES))
def test_help_stands_alone(name: str) -> None:
    """Every public name has help of its own; every function has types, an example, and says of each argument what it is."""
    found = getattr(hptransfer, name)
    words = inspect.getdoc(found) or ""
    assert len(words) > 80 and not words.startswith(("Return", "This"))
    if name in FUNCTIONS:
        signature = inspect.signature(found)
        assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())
        assert ">>> " in words and ("Raises" in words)
        assert [one for one in signature.parameters if len(signature.parameters) > 1 and f"``{one}``" not in words] == []
