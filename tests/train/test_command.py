"""The train command: transferred values, two workers under a real Ray Train, one line for every mistake."""

import json
from pathlib import Path

import pytest
import yaml
from synthetic import Truth, make_records

from hptransfer.base.errors import UsageError
from hptransfer.cli import run
from hptransfer.experiment import DataChoice, Experiment
from hptransfer.plan.hardware import HARDWARE, peak
from hptransfer.runs import Store
from hptransfer.train.command import main, transferred
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.spec import OptimizerSpec
from hptransfer.transfer.decision import predict
from hptransfer.transfer.prediction import Prediction

TINY = {
    "name": "tiny",
    "model": {"depth": 1, "head_dim": 16, "context": 32},
    "base_width": 16,
    "widths": [16, 32],
    "target_width": 48,
    "horizon": {"tokens": 4096},
    "batch_sequences": 4,
    "evaluation": {"tokens": 1024, "points": 2},
    "optimizers": ["muon"],
}


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    experiment, data = Experiment.model_validate(TINY), load_corpus(DataChoice()).spec
    target = experiment.run_spec(data, OptimizerSpec(recipe="muon", lr=1), width=48, parametrization="mup")
    return predict(make_records(Truth(), experiment, recipe="muon", data=data), target, draws=30)


@pytest.fixture
def folder(prediction: Prediction, tmp_path: Path, monkeypatch) -> Path:
    """A working directory with the experiment and its prediction."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    Path("muon.json").write_text(prediction.model_dump_json())
    return tmp_path


def command(capsys, *argv: str) -> tuple[int, dict, str]:
    """Exit code, the JSON, and what was said."""
    with pytest.raises(SystemExit) as stopped:
        run(lambda: main(["--experiment", "tiny.yaml", "--prediction", "muon.json", "--json", *argv]))
    printed = capsys.readouterr()
    return stopped.value.code, json.loads(printed.out or "{}"), printed.err


def test_a_run_at_another_width_has_the_values_transferred(prediction: Prediction) -> None:
    spec = prediction.spec
    assert transferred(prediction, 48) == spec
    wide = transferred(prediction, 96)
    assert wide.model.width == 96
    assert wide.optimizer.lr == pytest.approx(spec.optimizer.lr * 2**prediction.drift.used)
    assert wide.weight_decay == pytest.approx(spec.weight_decay / 2)
    with pytest.raises(UsageError, match=r"width 50: .*50 is not a multiple of head_dim 16"):
        transferred(prediction, 50)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--workers", "3"], "--workers 3 x --accumulate 1 does not divide the batch of 4 sequences"),
        (["--workers", "2", "--accumulate", "4"], "--workers 2 x --accumulate 4 does not divide the batch of 4 sequences"),
        (["--workers", "0"], "--workers 0 is below 1"),
        (["--width", "50"], "width 50 is not a multiple of head_dim 16"),
        (["--prediction", "none.json"], "prediction none.json: No such file"),
    ],
)
def test_a_mistake_is_one_line(argv: list[str], said: str, folder: Path, capsys) -> None:
    code, _, err = command(capsys, *argv)
    assert code == 2
    assert said in err.splitlines()[-1] and "Traceback" not in err


def test_the_peak_is_found_by_the_name_that_a_device_gives_itself() -> None:
    for name, key in [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA L40S", "l40s"),
    ]:
        assert peak(name) == HARDWARE[key].flops_per_second
    assert peak("AMD EPYC 7B12, 2 cores") is None


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_two_workers_train_the_prediction_and_a_wider_model(prediction: Prediction, folder: Path, capsys) -> None:
    """Under DDP and FSDP2, with the same loss; the second time from the store."""
    two = ["--workers", "2"]
    code, ddp, err = command(capsys, *two, "--target-loss", "5.4")
    assert code == 0, err
    assert ddp["run_id"] == prediction.spec.run_id and ddp["state"] == "complete"
    assert f"step     32/{prediction.spec.steps}" in err and "MFU" in err
    assert 0 < ddp["tokens_to_target_loss"] <= 4096
    record = Store("runs").get(prediction.spec.run_id)
    assert (record.workers, record.loss) == (2, ddp["loss"])
    code, again, err = command(capsys, *two)
    assert code == 0 and "is in the store: nothing is trained" in err
    assert again["loss"] == ddp["loss"]

    sharded = ["--strategy", "fsdp", "--accumulate", "2"]
    code, fsdp, err = command(capsys, *two, *sharded, "--store", "others")
    assert code == 0, err
    assert fsdp["loss"] == pytest.approx(ddp["loss"], rel=1e-4)
    code, wide, err = command(capsys, "--width", "64")
    assert code == 0, err
    assert wide["width"] == 64 and "the prediction was made for width 48" in err
    code, _, err = command(capsys, "--workers", "4", "--threads", "64", "--store", "third")
    assert code == 2 and "can never fit" in err.splitlines()[-1]
