from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from export.samples import prediction, samples
from records import DATA
from synthetic import make_experiment

import hptransfer
from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.model import ModelChoice
from hptransfer.export.canonical import canonical, model_words
from hptransfer.export.command import default_output
from hptransfer.export.hosts import HOSTS
from hptransfer.models import FAMILIES
from hptransfer.trainers.ours.points import spec_of
from hptransfer.transfer.prediction import Prediction, default_path

EXPERIMENT = make_experiment(name="sample", base_width=64, optimizers=["adamw", "shampoo"], schedule={"warmup_tokens": 8192})


@pytest.fixture(scope="module")
def shampoo() -> Prediction:
    return prediction("shampoo")


@pytest.fixture(scope="module")
def adamw() -> Prediction:
    return prediction("adamw")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adamw: Prediction, shampoo: Prediction) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample.yaml").write_text(yaml.safe_dump(EXPERIMENT.model_dump(mode="json")))
    for one in (adamw, shampoo):
        path = default_path("sample", one.name, 256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one.model_dump_json())
    return tmp_path


def test_numbers_are_final_and_their_meaning_is_spelled_out(shampoo: Prediction) -> None:
    record = canonical(shampoo).model_dump(mode="json")
    optimizer = record["optimizer"]
    groups = spec_of(shampoo.point).groups()  # what the optimizer receives
    assert [weight["kind"] for weight in optimizer["weights"]] == [group.kind for group in groups]
    for group, exported in zip(groups, optimizer["weights"], strict=True):
        assert (exported["role"], exported["lr"], exported["weight_decay"]) == (group.role, group.lr, group.weight_decay)
        assert exported["epsilons"] == group.epsilons and exported["sides"] == group.sides._asdict()
        assert exported["sides"]["left"] == (group.role == "hidden")
        if group.role == "hidden":
            assert optimizer["roles"]["hidden"]["lr"] == group.lr
    assert "independent: W -= s(t) * (lr * U + q(t) * weight_decay * W)" in optimizer["meaning"]["weight_decay"]
    assert record["prediction"] == shampoo.digest
    interval = record["interval_80"]
    assert interval["lr"]["low"] < record["parametrization"]["base_lr"] == interval["lr"]["value"] < interval["lr"]["high"]
    assert interval["weight_decay"]["value"] == optimizer["roles"]["hidden"]["weight_decay"]


def test_options_are_resolved_and_hold_no_epsilon_to_scale(shampoo: Prediction) -> None:
    options = canonical(shampoo).known.optimizer.options
    assert options == spec_of(shampoo.point).unscaled_options()
    assert options["block_size"] == 64  # the base width
    assert options["beta2"] == 0.95 and options["adam"] == {"beta1": 0.9, "beta2": 0.95}
    assert not {"eps", "graft_eps", "matrix_eps", "lr_convention"}.intersection(options)


def test_the_run_can_be_repeated_from_the_record(shampoo: Prediction) -> None:
    record = canonical(shampoo).model_dump(mode="json")
    training, spec = record["training"], spec_of(shampoo.point)
    assert training["steps"] * training["batch_sequences"] * training["context"] == training["tokens"] == spec.tokens
    assert training["schedule"]["warmup_steps"] == 8 and training["schedule"]["shape"] == "linear"
    assert record["model"]["width"] == 256 and record["parametrization"]["base"]["width"] == 64
    assert record["model"]["mlp_width"] == 1024 and record["model"]["parameters"] == shampoo.run.parameters
    assert record["parametrization"]["residual_multiplier"] == spec.residual_multiplier
    assert record["model"]["init"]["readout"] == "zero"
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("preset", sorted(FAMILIES.get("gpt").presets))
def test_the_model_is_described_as_it_is(preset: str) -> None:
    experiment = EXPERIMENT.model_copy(update={"model": ModelChoice.model_validate({"preset": preset})})
    point = experiment.point(experiment.arm("adamw"), DATA, width=256, lr=0.01, weight_decay=0.0)
    model, found = experiment.model.config, model_words(point)
    words = found["architecture"].split(", ")
    assert ("RMSNorm with gains" in words) == model.norm_gains == ("norm gains" in found["init"])
    assert ("QK-norm" in words) == model.qk_norm
    assert ("learned positions" in words) == (model.positions == "learned") == ("position" in found["init"])
    assert ("SwiGLU" in words) == (model.activation == "swiglu") == ("MLP input and gate" in found["init"])


def test_command_writes_a_folder_for_each_host(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perform("export", ["--prediction", "predictions/sample/shampoo-256.json", "--target", "json,torch", "--json"])
    out, err = capsys.readouterr()
    home = folder / "exports/sample/shampoo-256"
    assert json.loads(out)["record"] == json.loads((home / "json/run.json").read_text())
    assert json.loads(out)["written"] == [
        f"exports/sample/shampoo-256/{name}" for name in ("json/run.json", "torch/hptransfer_optimizer.py", "torch/run.json")
    ]
    assert "written: exports/sample/shampoo-256/json/run.json" in err


def test_what_others_wrote_stays(folder: Path) -> None:
    Path("out/json").mkdir(parents=True)
    Path("out/json/run.json").write_text('{"name": "my notes on hptransfer"}')
    with pytest.raises(UsageError, match="is no export of hptransfer"):
        perform("export", ["--prediction", "predictions/sample/adamw-256.json", "--target", "json,torch", "--output", "out"])
    assert "my notes" in Path("out/json/run.json").read_text() and not Path("out/torch").exists()
    for _ in range(2):  # its own it replaces
        perform("export", ["--prediction", "predictions/sample/adamw-256.json", "--output", "own"])


def test_exports_are_filed_as_their_predictions_are() -> None:
    assert default_output(Path("predictions/a/muon-256-t1000.json")) == Path("exports/a/muon-256-t1000")
    assert default_output(Path("/elsewhere/mine.json")) == Path("exports/mine")


def test_optimizer_and_experiment_name_the_prediction(folder: Path) -> None:
    perform("export", ["--experiment", "sample.yaml", "--optimizer", "adamw", "--output", "out"])
    assert json.loads((folder / "out/json/run.json").read_text())["optimizer"]["recipe"] == "adamw"


def test_a_table_exports_what_is_known(folder: Path) -> None:
    """Its value and interval, and what is not known by name; a host that steps an optimizer is refused, exit code 1."""
    table = samples()["table"]
    Path("bare.json").write_text(table.model_dump_json())
    assert perform("export", ["--prediction", "bare.json", "--target", "all", "--output", "out"]) == 0
    record = json.loads(Path("out/json/run.json").read_text())
    assert record["interval_80"]["lr"]["value"] == table.lr.value and record["scales"] == {"width": 1024}
    assert {"optimizer", "schedule", "batch"} <= {*record["unknown"]} and "optimizer" not in record
    assert perform("export", ["--prediction", "bare.json", "--target", "torch", "--output", "out"]) == 1
    assert not Path("out/torch").exists()
    with pytest.raises(UsageError, match="cannot be exported to torch: predicted from a table"):
        hptransfer.export(table, "torch")


def test_a_program_exports_its_command() -> None:
    record = json.loads(hptransfer.export(samples()["command"])["run.json"])
    assert record["command"] == "python train.py --lr 0.01 --wd 0.001" and "optimizer" not in record


def test_without_a_target_there_is_nothing_to_export(adamw: Prediction) -> None:
    with pytest.raises(UsageError, match="without a target"):
        hptransfer.export(adamw.model_copy(update={"job": None}))


def test_a_record_reads_back_as_it_was_written(shampoo: Prediction) -> None:
    record = canonical(shampoo)
    text = hptransfer.export(shampoo)["run.json"]
    assert type(record).model_validate_json(text) == record


@pytest.mark.parametrize("host", HOSTS.names())
def test_every_prediction_is_written_or_refused_in_words(host: str) -> None:
    """All recipes, tables, programs, open intervals, other units: never an error."""
    for name, one in samples().items():
        record = canonical(one)
        why = HOSTS.get(host).refuse(record)
        assert why is None or ("\n" not in why and why), name
        if why is None:
            assert all(text and "hptransfer" in text for text in HOSTS.get(host).render(record).values()), name


@pytest.mark.parametrize("host", sorted({*HOSTS.names()} - {"nanochat", "levanter"}))  # which take none of the samples
def test_no_text_of_a_prediction_ends_a_comment(host: str) -> None:
    """Scripts and modules are run: a name with a line break must not be more than a name."""
    evil = 'x\nEVIL = 1\r\nEVIL # """ \''
    origin = {"experiment": evil, "store": evil, "run_ids": [evil]}
    records = [canonical(one.model_copy(update={"name": evil, "provenance": origin})) for one in samples().values()]
    found = [text for one in records if HOSTS.get(host).refuse(one) is None for text in HOSTS.get(host).render(one).values()]
    assert not [line for text in found for line in text.splitlines() if line.lstrip().startswith("EVIL")]
    assert any("EVIL" in text for text in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "jsn"], "unknown export target 'jsn'; did you mean 'json'"),
        (["--experiment", "sample.yaml"], "name one with --optimizer"),
        (["--experiment", "sample.yaml", "--optimizer", "shampo"], "unknown arm or recipe 'shampo'; did you mean 'shampoo'"),
        (["--experiment", "sample.yaml", "--optimizer", "muon"], "make it with `hptransfer transfer`"),
        (["--prediction", "sample.yaml"], "is not a prediction file"),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        perform("export", arguments)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_kept_norms_are_part_of_the_record() -> None:
    """A trainer that starts those matrices at zero could not repeat the run."""
    drawn = {}
    for recipe in ("muon", "muonh"):
        point = EXPERIMENT.point(Arm.of(recipe, "mup"), DATA, width=256, lr=0.01, weight_decay=0.0)
        drawn[recipe] = [start for what, start in model_words(point)["init"].items() if "would be zero" in what]
    assert drawn["muon"] == [] and ["1/sqrt(d_in)" in start for start in drawn["muonh"]] == [True]
