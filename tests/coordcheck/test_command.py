"""The command: what it checks, what it says, what it writes, and how it ends."""

import json
from pathlib import Path

import pytest
import yaml
from records import DATA, record_of

from hptransfer import cli
from hptransfer.coordcheck.check import ACTIVATIONS, Run
from hptransfer.coordcheck.measure import measure, measure_run
from hptransfer.coordcheck.runs import SEQUENCES
from hptransfer.experiment import DataChoice, load_experiment
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Store
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.points import resolve


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def jobs(monkeypatch) -> list:
    """Runs that move by the same amount at every width, except at a learning rate above 1; the jobs that were asked for."""
    asked = []

    def measure(given, steps):
        asked.extend(given)
        for job in given:
            moved = job.point["width"] if job.point["lr"] > 1 else 1.0
            yield Run(job.point["width"], job.point.init_seed, {(name, step): moved for name in ACTIVATIONS for step in steps})

    monkeypatch.setattr("hptransfer.coordcheck.measure.measure", measure)
    return asked


def run(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["coordcheck", *argv])
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def test_defaults(here, capsys, jobs):
    code, out, err = run(capsys, "--optimizer", "muon")
    assert (code, out) == (0, "")
    assert "passed: " in err
    assert err.endswith(" --optimizer muon\n") and "next:    hptransfer search --experiment quickstart --set 'arms=" in err
    assert [(job.point["width"], job.point.init_seed, job.point.data_seed) for job in jobs] == [
        (width, seed, seed) for width in (32, 64, 128, 256, 512) for seed in range(5)
    ]
    shapes = {(job.point.settings["parametrization"], job.point.settings["base"]["width"], job.point["depth"]) for job in jobs}
    assert shapes == {("mup", 32, 3)}
    assert {(job.steps, job.weight_decay) for job in jobs} == {(50, 0.0)}
    found = json.loads((here / "reports/coordcheck/muon-mup.json").read_text())
    assert (found["arm"], found["optimizer"], found["parametrization"]) == ("muon", "muon", "mup")
    assert (found["passed"], found["seeds"], found["widths"]) == (True, 5, [32, 64, 128, 256, 512])
    assert [(row["role"], row["step"], row["slope"]) for row in found["slopes"]] == [
        (name, step, 0.0) for name in ACTIVATIONS for step in (3, 10, 50)
    ]
    chart = (here / "reports/coordcheck/muon-mup.svg").read_text()
    assert chart.startswith("<svg") and "muon under mup" in chart and "slope +0.000, passes" in chart


def test_a_failed_check_exits_with_1_and_tells_as_much(here, capsys, jobs):
    code, out, err = run(capsys, "--optimizer", "adamw", "--lr", "2", "--json", "--output", "here/chart.svg")
    result = json.loads(out)
    assert code == 1
    assert result["passed"] is False
    assert result["verdict"].startswith("failed: embedding at t = 3, +1.000; ")
    assert result["verdict"] in err.replace("\n", " ")
    assert "next:" not in err
    assert json.loads((here / "here/chart.json").read_text()) == result
    assert "t = 3: slope +1.000, fails" in (here / "here/chart.svg").read_text()


def rate(capsys, jobs, *argv: str) -> tuple[float, float, str]:
    """Learning rate, embedding ratio, and where the command says they are from."""
    jobs.clear()
    _, out, _ = run(capsys, *argv, "--json")
    (found,) = {(job.point["lr"], job.point["embedding_lr_ratio"]) for job in jobs}
    return *found, json.loads(out)["lr_source"]


def test_the_learning_rate_without_a_store(here, capsys, jobs):
    """A quarter of the geometric centre of 0.001 to 0.064, and the middle of 4, 16, 64."""
    lr, ratio, source = rate(capsys, jobs, "--optimizer", "adamw")
    assert (lr, ratio) == (pytest.approx(0.002), 16)
    assert source == "a quarter of 0.008, from the centre of the search space (store runs has no finished run)"
    assert not (here / "runs").exists()
    assert rate(capsys, jobs, "--optimizer", "adamw", "--lr", "0.5")[:2] == (0.5, 16)


def test_the_learning_rate_from_a_store(here, capsys, jobs):
    """The best run at the smallest width, of this optimizer; at the base width runs are the same under every parametrization."""
    experiment, store = load_experiment("quickstart"), Store("kept")

    def add(recipe: str, width: int, lr: float, loss: float | None, ratio: float = 4.0) -> None:
        arm = Arm.of(recipe, "mup")
        point = experiment.point(arm, DATA, width=width, lr=lr, weight_decay=0.0, embedding_lr_ratio=ratio)
        store.add(record_of(resolve(point), loss))

    add("adamw", 64, lr=0.08, loss=1.5)
    add("adamw", 32, lr=0.04, loss=2.0, ratio=64.0)
    add("adamw", 32, lr=0.01, loss=2.1)
    add("adamw", 32, lr=0.16, loss=None)
    add("shampoo", 32, lr=0.1, loss=1.0)
    for parametrization in ("mup", "sp"):
        lr, ratio, source = rate(capsys, jobs, "--optimizer", "adamw", "--store", "kept", "--parametrization", parametrization)
        assert (lr, ratio) == (pytest.approx(0.01), 64)
        assert source.startswith("a quarter of 0.04, from the best run at width 32 in store kept (")
    lr, ratio, source = rate(capsys, jobs, "--optimizer", "adamw", "--store", "kept", "--lr", "0.5")
    assert (lr, ratio) == (0.5, 64)
    assert source.startswith("--lr, ratio from the best run at width 32 in store kept (")
    assert rate(capsys, jobs, "--optimizer", "muon", "--store", "kept")[0] == pytest.approx(0.01)  # a quarter of its centre


def test_options_reach_the_recipe(here, capsys, jobs):
    argv = ("--optimizer", "soap", "--option", "block_size=0", "--option", "adam.beta1=0.8")
    _, out, err = run(capsys, *argv, "--json")
    options = [job.point.settings["options"] for job in jobs]
    assert {(one["block_size"], one["adam"]["beta1"]) for one in options} == {(0, 0.8)}
    assert json.loads(out)["options"]["block_size"] == 0
    assert "options block_size=0, adam.beta1=0.8" in err.replace("\n", " ")


def test_an_arm_is_checked_as_it_is_searched(here, capsys, jobs):
    """Its options and its model, on the check's own batches and schedule; --option goes over both."""
    arms = {
        "other": {
            "optimizer": "soap",
            "parametrization": "sp",
            "options.adam.beta1": 0.7,
            "options.beta2": 0.8,
            "model.depth": 2,
            "batch_sequences": 16,
            "schedule.shape": "cosine",
        }
    }
    experiment = load_experiment("quickstart").model_dump(mode="json") | {"arms": arms}
    (here / "mine.yaml").write_text(yaml.safe_dump(experiment))
    code, out, _ = run(capsys, "--experiment", "mine.yaml", "--arm", "other", "--option", "beta2=0.6", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["arm"], found["optimizer"], found["parametrization"]) == ("other", "soap", "sp")
    assert (found["options"]["adam"]["beta1"], found["options"]["beta2"], found["model"]["depth"]) == (0.7, 0.6, 2)
    settings = jobs[0].point.settings
    assert (settings["schedule"]["shape"], jobs[0].steps, found["batch_sequences"]) == ("constant", 50, SEQUENCES)
    assert (here / "reports/coordcheck/other-with-options.svg").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--optimizer", "adamv"], "unknown arm or recipe 'adamv'; did you mean 'adamw'?"),
        ([], "one arm is checked at a time: name it with --optimizer (adamw, shampoo)"),
        (["--optimizer", "adamw,muon"], "name it with --optimizer (adamw, muon)"),
        (["--optimizer", "adamw", "--parametrization", "mpu"], "unknown parametrization 'mpu'"),
        (["--optimizer", "adamw", "--widths", "32"], "--widths 32: a slope needs two widths or more"),
        (["--optimizer", "adamw", "--widths", "32", "32"], "--widths 32 32 names a width twice"),
        (["--optimizer", "adamw", "--widths", "32", "40"], "width 40 is not a multiple of head_dim 16"),
        (["--optimizer", "adamw", "--widths", "32", "0"], "argument --widths: '0' is no whole number from 1"),
        (["--optimizer", "adamw", "--lr", "0"], "argument --lr: '0' is no finite number above 0"),
        (["--optimizer", "adamw", "--lr", "nan"], "argument --lr: 'nan' is no finite number above 0"),
        (["--optimizer", "adamw", "--steps", "0", "3"], "argument --steps: '0' is no whole number from 1"),
        (["--optimizer", "adamw", "--steps", "1", "50"], "--steps 1 50: none is from 2 to 10"),
        (["--optimizer", "adamw", "--seeds", "0"], "argument --seeds: '0' is no whole number from 1"),
        (["--optimizer", "soap", "--option", "block_size"], "--option 'block_size' is not of the form a.b=value"),
        (["--optimizer", "soap", "--option", "blocksize=0"], "unknown key 'blocksize'; did you mean 'block_size'?"),
        (["--optimizer", "soap", "--option", "block_size=-1"], "block_size: Input should be greater than or equal to 0 (got -1)"),
        (["--optimizer", "adamw", "--output", "chart.png"], "--output chart.png does not end in .svg"),
        (["--optimizer", "adamw", "--set", "model.dept=4"], "unknown key 'model.dept'"),
        (["--optimizer", "adamw", "--store", "nonsense://x"], "store nonsense://x"),
    ],
)
def test_a_mistake_is_one_line(here, capsys, argv, says):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert says in err


def test_an_output_that_cannot_be_written(here, capsys, jobs):
    (here / "file").write_text("")
    code, _, err = run(capsys, "--optimizer", "adamw", "--output", "file/chart.svg")
    assert code == 2 and not jobs  # before anything is measured
    assert "error: --output file/chart.svg: there is a file in the place of its folder" in err


@pytest.mark.slow
def test_the_whole_way_in_worker_processes(here, capsys, monkeypatch):
    """AdamW under sp on the embedded corpus fails the check; workers find the very numbers that this process does."""
    asked = []
    monkeypatch.setattr("hptransfer.coordcheck.measure.measure", lambda jobs, steps: asked.extend(jobs) or measure(jobs, steps))
    argv = ["--optimizer", "adamw", "--parametrization", "sp", "--lr", "0.004", "--widths", "128", "16", "--steps", "3"]
    argv += ["--seeds", "1", "--set", "base_width=16", "--set", "model.depth=1", "--json"]
    code, out, err = run(capsys, *argv)
    result = json.loads(out)
    assert code == 1
    assert "hidden at t = 3, +" in result["verdict"]
    assert "2 runs in " in err
    corpus = load_corpus(DataChoice())
    here_and_now = {job.point["width"]: measure_run(job, corpus, [3]).rms for job in asked}
    for row in result["slopes"]:
        assert row["rms"] == {str(width): here_and_now[width][row["role"], 3] for width in (16, 128)}
