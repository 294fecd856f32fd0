"""The train command: transferred values, two workers under a real Ray Train, one line for every mistake."""

import json
from pathlib import Path

import pytest
import yaml
from records import record_of
from synthetic import Truth, make_records

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.experiment import DataChoice, Experiment
from hptransfer.plan.hardware import HARDWARE, peak
from hptransfer.runs import CurvePoint, Job, Point, Store
from hptransfer.train.command import transferred
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Prediction

TINY = {
    "name": "tiny",
    "model": {"depth": 1, "head_dim": 16, "context": 32},
    "base_width": 16,
    "widths": [16, 32],
    "target_width": 48,
    "horizon": {"tokens": 8192},
    "batch_sequences": 4,
    "evaluation": {"tokens": 1024, "points": 2},
    "optimizers": ["muon"],
}


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    experiment, data = Experiment.model_validate(TINY), load_corpus(DataChoice()).spec
    target = resolve(experiment.point(experiment.arm("muon"), data, width=48, lr=1.0, weight_decay=0.0))
    group = Group("muon", tuple(make_records(Truth(), experiment, recipe="muon", data=data)))
    return predict_group(group, target, resolve, draws=30)


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
        cli.main(["train", "--experiment", "tiny.yaml", "--prediction", "muon.json", "--json", *argv])
    printed = capsys.readouterr()
    return stopped.value.code, json.loads(printed.out or "{}"), printed.err


def test_a_run_at_another_width_has_the_values_transferred(prediction: Prediction) -> None:
    job = prediction.run
    assert transferred(prediction, {"width": 48}) == job
    wide = transferred(prediction, {"width": 96})
    assert wide.point["width"] == 96
    assert wide.point["lr"] == pytest.approx(job.point["lr"] * 2**prediction.drift.used)
    assert wide.weight_decay == pytest.approx(job.weight_decay / 2)
    with pytest.raises(UsageError, match=r"width 50: .*50 is not a multiple of head_dim 16"):
        transferred(prediction, {"width": 50})


def test_a_run_at_other_scales_has_the_values_transferred(prediction: Prediction) -> None:
    """Along a scale that the runs say nothing of by the usual rule: the root of the batch, and nothing with tokens."""
    point = prediction.point
    long = transferred(prediction, {"width": 48, "tokens": 4 * int(point["tokens"])})
    assert long.point["tokens"] == 4 * point["tokens"] and long.point["lr"] == pytest.approx(point["lr"])
    large = transferred(prediction, {"batch_tokens": 4 * int(point["batch_tokens"])})
    assert large.point["lr"] == pytest.approx(2 * point["lr"])
    both = transferred(prediction, {"width": 96, "batch_tokens": 4 * int(point["batch_tokens"])})
    assert both.point["lr"] == pytest.approx(2 * transferred(prediction, {"width": 96}).point["lr"])
    along = prediction.drift.model_copy(update={"scale": "tokens", "used": -0.5})
    told = transferred(
        prediction.model_copy(update={"drifts": (*prediction.drifts, along)}), {"tokens": 4 * int(point["tokens"])}
    )
    assert told.point["lr"] == pytest.approx(point["lr"] / 2)


def test_an_override_is_refused_where_the_prediction_has_another_value(folder: Path, prediction: Prediction, capsys) -> None:
    file = Path("predictions/tiny/muon-48.json")
    file.parent.mkdir(parents=True)
    file.write_text(prediction.model_dump_json())
    Store("runs").add(record_of(prediction.run, 2.0))

    def train(*argv: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "--experiment", "tiny.yaml", *argv])
        return stopped.value.code, capsys.readouterr().err

    code, said = train("--set", "horizon.tokens=16384")
    assert (code, len(said.splitlines())) == (2, 1)
    assert f"{file} has tokens 8192, and --set says 16384, which is not heeded" in said
    assert train("--set", "schedule.shape=cosine")[0] == 2
    assert train("--set", "horizon.tokens=8192", "--set", "target_loss=3.0", "--set", "search.trials=20")[0] == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--set", "horizon.tokens=16384"], "--set horizon.tokens=16384 is not heeded with --prediction"),
        (["--at", "tokens=100"], "--at tokens=100: the run's tokens are"),
        (["--at", "layers=3"], "unknown scale 'layers'"),
        (["--width", "64", "--at", "width=64"], "says width, and so does --width 64"),
        (["--workers", "3"], "--workers 3 x --accumulate 1 does not divide the batch of 4 sequences"),
        (["--workers", "2", "--accumulate", "4"], "--workers 2 x --accumulate 4 does not divide the batch of 4 sequences"),
        (["--workers", "0"], "argument --workers: '0' is no whole number from 1"),
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


def test_a_finished_run_is_told_from_its_record(prediction: Prediction, folder: Path, capsys) -> None:
    """Without Ray; what nobody timed is unknown."""
    curve = [
        CurvePoint(step=step, tokens=tokens, schedule=0.5, train=loss, val=loss)
        for step, tokens, loss in ((32, 4096, 3.0), (64, 8192, 2.0))
    ]
    record = record_of(prediction.run, 2.0, curve=curve, device="NVIDIA H100 80GB HBM3", workers=2)
    Store("runs").add(record)
    code, found, err = command(capsys, "--target-loss", "2.5")
    assert code == 0 and "is in the store: nothing is trained" in err
    assert (found["run_id"], found["loss"], found["tokens_to_target_loss"]) == (prediction.run.run_id, 2.0, 6144)
    assert found["mfu"] == pytest.approx(record.outcome.flops / 2.0 / (2 * 989e12))
    Store("untimed").add(record_of(prediction.run, 2.0, training_wall_seconds=None, optimizer_wall_seconds=None))
    code, found, err = command(capsys, "--store", "untimed")
    assert (code, found["mfu"], found["training_wall_seconds"]) == (0, None, None)


def test_a_table_has_no_run_to_train(prediction: Prediction, folder: Path, capsys) -> None:
    bare = prediction.model_copy(update={"job": Job(run_id="", point=Point(scales={"width": 48}, hyperparameters={"lr": 0.1}))})
    Path("bare.json").write_text(bare.model_dump_json())
    code, _, err = command(capsys, "--prediction", "bare.json")
    assert code == 2 and err.splitlines() == ["error: bare.json is of a table: there is no run to train"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_two_workers_train_the_prediction_once(prediction: Prediction, folder: Path, capsys) -> None:
    """The second time it is in the store."""
    two = ["--workers", "2"]
    code, ddp, err = command(capsys, *two, "--target-loss", "5.4")
    assert code == 0, err
    assert ddp["run_id"] == prediction.run.run_id and ddp["state"] == "complete"
    assert f"step     32/{prediction.run.steps}" in err and "MFU" in err
    assert 0 < ddp["tokens_to_target_loss"] <= 8192
    record = Store("runs").get(prediction.run.run_id)
    assert (record.outcome.workers, record.loss) == (2, ddp["loss"])
    code, again, err = command(capsys, *two)
    assert code == 0 and "is in the store: nothing is trained" in err
    assert again["loss"] == ddp["loss"]
    code, _, err = command(capsys, "--workers", "4", "--threads", "64", "--store", "third")
    assert code == 2 and "can never fit" in err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_sharded_workers_train_what_one_does_and_a_wider_model(prediction: Prediction, folder: Path, capsys) -> None:
    code, one, err = command(capsys)
    assert code == 0, err
    sharded = ["--workers", "2", "--strategy", "fsdp", "--accumulate", "2"]
    code, fsdp, err = command(capsys, *sharded, "--store", "others")
    assert code == 0, err
    assert fsdp["loss"] == pytest.approx(one["loss"], rel=1e-4)
    code, wide, err = command(capsys, "--width", "64")
    assert code == 0, err
    assert wide["width"] == 64 and "the prediction was made for width 48" in err
