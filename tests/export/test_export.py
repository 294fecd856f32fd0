from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.factory import experiment, prediction, write_all

from hptransfer.base.errors import UsageError
from hptransfer.export.canonical import canonical
from hptransfer.export.command import main
from hptransfer.transfer.prediction import Prediction


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_all(tmp_path, experiment(("adamw", "shampoo")), tested=False)
    return tmp_path


@pytest.fixture
def shampoo() -> Prediction:
    return prediction(experiment(), "shampoo")


def test_numbers_are_final_and_their_meaning_is_spelled_out(shampoo: Prediction) -> None:
    record = canonical(shampoo)
    optimizer = record["optimizer"]
    for group in shampoo.spec.groups():
        (exported,) = (weight for weight in optimizer["weights"] if weight["kind"] == group.kind)
        assert (exported["lr"], exported["weight_decay"]) == (group.lr, group.weight_decay)
        assert exported["epsilons"] == group.epsilons and exported["sides"]["left"] == (group.role == "hidden")
        if group.role == "hidden":
            assert optimizer["roles"]["hidden"]["lr"] == group.lr
    assert "independent: W -= s(t) * (lr * U + q(t) * weight_decay * W)" in optimizer["meaning"]["weight_decay"]
    assert record["prediction"] == shampoo.digest


def test_options_are_resolved_and_hold_no_epsilon_to_scale(shampoo: Prediction) -> None:
    options = canonical(shampoo)["optimizer"]["options"]
    assert options["block_size"] == 32  # the base width
    assert options["beta2"] == 0.95 and options["adam"] == {"beta1": 0.9, "beta2": 0.95}
    assert not {"eps", "graft_eps", "matrix_eps", "lr_convention"}.intersection(options)


def test_the_run_can_be_repeated_from_the_record(shampoo: Prediction) -> None:
    record = canonical(shampoo)
    training, spec = record["training"], shampoo.spec
    assert training["steps"] * training["batch_sequences"] * training["context"] == training["tokens"] == spec.tokens
    assert training["schedule"]["warmup_steps"] == 8 and training["schedule"]["shape"] == "linear"
    assert record["model"]["width"] == 256 and record["parametrization"]["base"]["width"] == 32
    assert record["model"]["init"]["readout"] == "zero"
    assert json.loads(json.dumps(record)) == record


def test_command_writes_the_default_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--prediction", "predictions/shampoo-256.json", "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((folder / "exports/shampoo-256.json").read_text())
    assert "written: exports/shampoo-256.json" in err


def test_optimizer_and_experiment_name_the_prediction(folder: Path) -> None:
    main(["--experiment", "sample.yaml", "--optimizer", "adamw", "--output", "out/run.json"])
    assert json.loads((folder / "out/run.json").read_text())["optimizer"]["recipe"] == "adamw"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "jsn"], "unknown export target 'jsn'; did you mean 'json'"),
        (["--experiment", "sample.yaml"], "name one with --optimizer"),
        (["--experiment", "sample.yaml", "--optimizer", "shampo"], "unknown recipe 'shampo'; did you mean 'shampoo'"),
        (["--experiment", "sample.yaml", "--optimizer", "muon"], "make it with `python -m hptransfer.transfer`"),
        (["--prediction", "sample.yaml"], "is not a prediction file"),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        main(arguments)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
