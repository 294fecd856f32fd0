"""``python -m hptransfer.transfer`` as a user meets it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hptransfer.runs.query import runs_of
from records import record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.runs import Store
from hptransfer.transfer.command import main, select
from hptransfer.transfer.prediction import read_prediction

EXPERIMENT = make_experiment(parametrizations=["mup", "sp"])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an experiment file and a store of adamw and muon runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic.yaml").write_text(yaml.safe_dump(EXPERIMENT.model_dump(mode="json", exclude_none=True)))
    for recipe in ("adamw", "muon"):
        fill(recipe=recipe)
    return tmp_path


def fill(truth: Truth = Truth(), **options: Any) -> None:  # noqa: B008  frozen
    store = Store("runs")
    for record in make_records(truth, options.pop("experiment", EXPERIMENT), **options):
        store.add(record)


def transfer(*arguments: str) -> int:
    return main(["--experiment", "synthetic.yaml", *arguments])


def test_json_contract(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["optimizer"] == "muon" and printed["parametrization"] == "mup"
    assert printed["target"] == {
        "width": 256, "depth": 3, "tokens": 131_072, "batch_tokens": 1024, "parameters": 2_490_368
    }  # fmt: skip
    lr, decay = printed["hyperparameters"]["lr"], printed["hyperparameters"]["weight_decay"]
    assert lr["low"] < lr["value"] < lr["high"]
    assert set(decay) == {"value", "low", "high", "status"}
    assert set(printed["drift"]) == {"theory", "fitted", "low", "high", "used", "reason"}
    for role in ("embedding", "hidden", "readout", "vector"):
        assert set(printed["roles"][role]) == {"lr", "weight_decay", "epsilons"}
    assert printed["expected_regret"] > 0
    assert all(set(check) == {"name", "ok", "detail"} and check["ok"] for check in printed["checks"])
    assert set(printed["provenance"]["versions"]) == {"hptransfer", "python", "numpy", "scipy"}
    assert len(printed["provenance"]["run_ids"]) == 24
    assert printed["file"] == "predictions/muon-256.json"
    written = json.loads(Path(printed.pop("file")).read_text())
    assert written == printed
    assert read_prediction("predictions/muon-256.json").spec.run_id


def test_people_see_one_table_and_the_next_command(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--set", "name=other") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in ("best lr at width 64", "drift of lr", "weight_decay at width 256", "expected regret", "hold-out"):
        assert captured.err.count(words) == 2  # once per optimizer
    assert "FAILED" not in captured.err
    assert "written: predictions/adamw-256.json\nwritten: predictions/muon-256.json" in captured.err
    assert "python -m hptransfer.validate --experiment synthetic.yaml --set name=other --optimizer adamw,muon" in captured.err


def test_several_optimizers_are_a_list(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [prediction["optimizer"] for prediction in printed["predictions"]] == ["adamw", "muon"]
    assert printed["refused"] == {}


def test_sp_uses_the_base_width_runs_that_mup_made(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(Truth(gamma=-1.0), recipe="adamw", parametrization="sp", experiment=EXPERIMENT.model_copy(update={"widths": (128,)}))
    assert transfer("--optimizer", "adamw", "--parametrization", "sp", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["file"] == "predictions/adamw-sp-256.json"
    assert [optimum["runs"] for optimum in printed["optima"]] == [12, 12]
    assert printed["drift"]["theory"] == -1


def test_refused_optimizer_leaves_the_other(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = Path("predictions/soap-256.json")
    stale.parent.mkdir(exist_ok=True)
    stale.write_text("from another day")
    experiment = EXPERIMENT.model_copy(update={"optimizers": ("adamw", "soap")})
    Path("synthetic.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json", exclude_none=True)))
    fill(recipe="soap", lr_range=(1.5, 20.0))
    assert transfer("--json") == 1
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert [prediction["optimizer"] for prediction in printed["predictions"]] == ["adamw"]
    assert "soap at width 64" in printed["refused"]["soap"]
    assert "refused: soap at width 64" in captured.err
    assert not stale.exists()
    with pytest.raises(CheckFailed, match="soap at width 64"):
        transfer("--optimizer", "soap")
    assert not Path("predictions/soap-256.json").exists()


def test_failed_precondition_is_refused_and_with_force_written_shown_and_exit_code_1(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = ("--optimizer", "muon", "--width", "8192", "--output", "out/far.json")
    with pytest.raises(CheckFailed, match=r"muon: no prediction, extrapolation: 64x in width .* \(--force"):
        transfer(*far)
    assert transfer(*far, "--force") == 1
    assert "FAILED: extrapolation" in capsys.readouterr().err
    assert not all(check.ok for check in read_prediction("out/far.json").checks)


def test_another_horizon_and_batch_at_the_target(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--tokens", "1048576", "--batch-tokens", "4096", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["target"]["tokens"], printed["target"]["batch_tokens"]) == (1_048_576, 4096)
    assert printed["file"] == "predictions/muon-256-t1048576-b4096.json"
    assert "interval widened" in {check["name"]: check["detail"] for check in printed["checks"]}["horizon"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--optimizer moun", "unknown recipe 'moun'; did you mean 'muon'?"),
        ("--optimizer shampoo", "store runs has no shampoo runs (mup) of experiment synthetic"),
        ("--optimizer ,", "names no optimizer"),
        ("--width 128", "target_width 128 is also searched"),
        ("--width 100", "width 100 is not a multiple of head_dim 64"),
        ("--width -64", "target_width"),
        ("--store nowhere", "store nowhere is empty"),
        ("--output one.json", "--output one.json is one file for 2 optimizers"),
        ("--optimizer muon --output synthetic.yaml/x.json", "--output synthetic.yaml/x.json cannot be written"),
        ("--set widht=3", "unknown key 'widht'"),
        ("--batch-tokens 1000", "--batch-tokens 1000 is no positive multiple of the context, 128"),
        ("--tokens -5", "the target: horizon.tokens"),
        ("--experiment nothing", "unknown experiment 'nothing'"),
    ],
)
def test_mistakes_are_one_line(study: Path, arguments: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        transfer(*shlex.split(arguments))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_process_exits_with_the_code_and_one_line(study: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hptransfer.transfer", "--experiment", "synthetic.yaml", "--optimizer", "moun", "--json"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown recipe 'moun'; did you mean 'muon'?\n"


CHANGES: dict[str, dict[str, Any]] = {
    "horizon": {"horizon": {"policy": "tokens", "tokens": 262_144}},
    "schedule": {"schedule": {"shape": "cosine"}},
    "batch": {"batch_sequences": 16},
    "model": {"model": {"depth": 2}},
    "base": {"base_width": 128},
    "weight decay rule": {"weight_decay_rule": "constant"},
    "widths": {"widths": [192]},
    "corpus": {"data": {"corpus": "elsewhere"}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_runs_of_another_experiment_do_not_belong(change: dict[str, Any]) -> None:
    records = make_records(Truth(), EXPERIMENT, runs=2)
    assert len(select(runs_of(records, EXPERIMENT)[0], EXPERIMENT, "muon", "mup")[0]) == 4
    other = make_experiment(**change)
    assert select(runs_of(records, other)[0], other, "muon", "mup")[0] == []


def test_runs_of_other_numerics_do_not_belong() -> None:
    """A run whose spec makes another name now was trained by a version that computes otherwise."""
    records = make_records(Truth(), EXPERIMENT, runs=2)
    old = [record.model_copy(update={"run_id": "0" * 16}) for record in records[:1]]
    assert runs_of([*old, *records[1:]], EXPERIMENT) == (records[1:], 0)


def test_the_newest_version_of_the_corpus_counts() -> None:
    """However many runs the old one has."""
    old = make_records(Truth(), EXPERIMENT, runs=3)
    new = [
        record_of(r.spec.at(**{"data.sha256": "f" * 64}), r.loss, finished_at="2026-11-22T20:00:00+00:00")
        for r in make_records(Truth(), EXPERIMENT, runs=2)
    ]
    kept, left_out = runs_of([*old, *new], EXPERIMENT)
    assert (len(kept), left_out) == (4, 6)
    assert {record.spec.data.sha256 for record in kept} == {"f" * 64}


def test_the_newest_optimizer_options_count() -> None:
    records = make_records(Truth(), EXPERIMENT, runs=3)
    newer = [
        record_of(r.spec.at(**{"optimizer.options": {"momentum": 0.9}}), r.loss, finished_at="2026-11-22T20:00:00+00:00")
        for r in make_records(Truth(), EXPERIMENT, runs=2)
    ]
    kept, left_out = select([*records, *newer], EXPERIMENT, "muon", "mup")
    assert (len(kept), left_out) == (4, 6)
