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
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.runs import Store
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
    return perform("transfer", ["--experiment", "synthetic.yaml", *arguments])


def test_json_contract(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["refused"] == {}
    (printed,) = printed["predictions"]
    job = printed["job"]
    assert printed["name"] == job["point"]["settings"]["optimizer"] == "muon" and job["parameters"] == 2_490_368
    assert job["point"]["scales"] == {"width": 256, "depth": 3, "tokens": 131_072, "batch_tokens": 1024}
    lr = printed["hyperparameters"]["lr"]
    assert lr["low"] < lr["value"] < lr["high"]
    assert {name: found["status"] for name, found in printed["hyperparameters"].items()} == {
        "lr": "fitted", "weight_decay": "rule", "embedding_lr_ratio": "frozen"
    }  # fmt: skip
    assert {drift["scale"] for drift in printed["drifts"]} == {"width"}
    assert {kind["role"] for kind in job["kinds"]} == {"embedding", "hidden", "readout", "vector"}
    assert printed["expected_regret"] > 0
    assert all(check["ok"] for check in printed["checks"])
    assert set(printed["provenance"]["versions"]) == {"hptransfer", "python", "numpy", "scipy"}
    assert len(printed["provenance"]["run_ids"]) == 24
    assert printed["file"] == "predictions/synthetic/muon-256.json"
    written = json.loads(Path(printed.pop("file")).read_text())
    assert written.pop("digest") and written == printed
    assert read_prediction("predictions/synthetic/muon-256.json").run.run_id


def test_people_see_one_table_and_the_next_command(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--set", "name=other") == 1  # sp is not searched
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in ("best lr at width 64", "lr ~ width^", "weight_decay, final", "expected regret", "hold-out"):
        assert captured.err.count(words) == 2  # once per optimizer
    assert "FAILED" not in captured.err
    assert "refused: adamw-sp of experiment other has 0 complete runs at width 128 and needs 3" in captured.err
    assert "written: predictions/other/adamw-256.json\nwritten: predictions/other/muon-256.json" in captured.err
    assert "hptransfer validate --experiment synthetic.yaml --set name=other --optimizer adamw,muon" in captured.err


def test_several_optimizers_are_a_list(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert [prediction["name"] for prediction in printed["predictions"]] == ["adamw", "muon"]
    assert {name: refusal["code"] for name, refusal in printed["refused"].items()} == {
        "adamw-sp": "too_few_runs",
        "muon-sp": "too_few_runs",
    }


def test_sp_uses_the_base_width_runs_that_mup_made(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(Truth(gamma=-1.0), recipe="adamw", parametrization="sp", experiment=EXPERIMENT.model_copy(update={"widths": (128,)}))
    assert transfer("--optimizer", "adamw", "--parametrization", "sp", "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    assert printed["file"] == "predictions/synthetic/adamw-sp-256.json"
    assert [optimum["runs"] for optimum in printed["optima"]] == [12, 12]
    assert printed["drifts"][0]["theory"] == -1


def test_refused_optimizer_leaves_the_other(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = EXPERIMENT.model_copy(update={"optimizers": ("adamw", "soap")})
    Path("synthetic.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json", exclude_none=True)))
    earlier = Path("predictions/synthetic/soap-256.json")
    assert transfer("--optimizer", "adamw", "--output", str(earlier)) == 0  # as if soap had been predicted before
    fill(recipe="soap", lr_range=(1.5, 20.0))
    capsys.readouterr()
    assert transfer("--json") == 1
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert [prediction["name"] for prediction in printed["predictions"]] == ["adamw"]
    assert "soap at width 64" in printed["refused"]["soap"]["text"]
    assert "refused: soap at width 64" in captured.err
    assert not earlier.exists()
    assert transfer("--optimizer", "soap", "--json") == 1
    assert json.loads(capsys.readouterr().out)["predictions"] == []
    assert not earlier.exists()


def test_no_file_is_removed_or_replaced_that_hptransfer_did_not_write(study: Path) -> None:
    """A refused prediction used to remove whatever --output named."""
    fill(recipe="soap", lr_range=(1.5, 20.0))
    for name, content in (("thesis.tex", "years of work"), ("mine.json", '{"lr": 0.1}'), ("list.json", "[1, 2]")):
        Path(name).write_text(content)
        assert transfer("--optimizer", "soap", "--output", name) == 1
        with pytest.raises(UsageError, match=f"{name} is there and is no prediction file"):
            transfer("--optimizer", "muon", "--output", name)
        assert Path(name).read_text() == content


def test_failed_precondition_is_refused_and_with_force_written_shown_and_exit_code_1(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = ("--optimizer", "muon", "--width", "8192", "--output", "out/far.json")
    assert transfer(*far) == 1
    assert "muon: no prediction, extrapolation: 64x in width" in capsys.readouterr().err
    assert not Path("out/far.json").exists()
    assert transfer(*far, "--force") == 1
    assert "FAILED: extrapolation" in capsys.readouterr().err
    assert not all(check.ok for check in read_prediction("out/far.json").checks)


def test_another_horizon_and_batch_at_the_target(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--tokens", "1048576", "--batch-tokens", "4096", "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    scales = printed["job"]["point"]["scales"]
    assert (scales["tokens"], scales["batch_tokens"]) == (1_048_576, 4096)
    assert printed["file"] == "predictions/synthetic/muon-256-t1048576-b4096.json"
    assert "interval widened" in {check["name"]: check["detail"] for check in printed["checks"]}["horizon"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--optimizer moun", "unknown arm or recipe 'moun'; did you mean 'muon'?"),
        (
            "--optimizer shampoo",
            "shampoo of experiment synthetic has 0 complete runs at width 64 and needs 3; go on with",
        ),
        ("--width 128", "target_width 128 is also searched"),
        ("--width 100", "width 100 is not a multiple of head_dim 64"),
        ("--store nowhere", "store nowhere is empty"),
        ("--output one.json", "--output one.json is one file for 4 arms"),
        ("--optimizer muon --output synthetic.yaml/x.json", "synthetic.yaml/x.json cannot be written"),
        ("--set widht=3", "unknown key 'widht'"),
        ("--batch-tokens 1000", "adamw at width 256: batch_tokens 1000 is no positive multiple of the context, 128"),
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
    assert done.stderr == "error: unknown arm or recipe 'moun'; did you mean 'muon'?\n"


def test_at_says_all_scales_at_once(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--at", "width=512, depth=6,tokens=1.048576e6,batch_tokens=2048", "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    assert printed["job"]["point"]["scales"] == {"width": 512, "depth": 6, "tokens": 1_048_576, "batch_tokens": 2048}
    assert printed["file"] == "predictions/synthetic/muon-512-d6-t1048576-b2048.json"
    assert printed["job"]["details"]["residual_multiplier"] == 0.5
    short = ("--at", "width=512,depth=6", "--tokens", "1048576", "--batch-tokens", "2048")
    assert transfer("--optimizer", "muon", *short, "--json") == 0
    (other,) = json.loads(capsys.readouterr().out)["predictions"]
    assert other["hyperparameters"] == printed["hyperparameters"] and other["file"] == printed["file"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--at layers=3", "unknown scale 'layers'"),
        ("--at width=512 --width 512", "says width, and so does --width"),
        ("--at depth=2.5", "--at depth=2.5: depth is no whole number"),
        ("--at depth=1e300", "--at depth=1e+300: depth is no whole number"),
    ],
)
def test_mistakes_of_at_are_one_line(study: Path, arguments: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        transfer(*shlex.split(arguments))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_scales_of_the_experiments_target_name_its_file(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the command that comes next looks for it there."""
    assert transfer("--optimizer", "muon", "--set", "target.depth=6", "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    assert printed["file"] == "predictions/synthetic/muon-256-d6.json"
    assert perform("export", ["--experiment", "synthetic.yaml", "--optimizer", "muon", "--set", "target.depth=6"]) == 0


def test_one_step_at_the_target_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--tokens", "100000", "--batch-tokens", "131072", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["predictions"] == [] and "50 are the least" in found["refused"]["muon"]["text"]
    assert [optimum["scales"]["width"] for optimum in found["refused"]["muon"]["optima"]] == [64, 128]


def test_what_comes_next_names_a_file_that_is_not_the_usual_one(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer("--optimizer", "muon", "--output", "mine.json") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next:")]
    assert line.endswith("--optimizer muon --predictions mine.json")
    assert transfer("--optimizer", "muon") == 0
    assert "--predictions" not in capsys.readouterr().err
