"""Folders that Ray Tune wrote."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from known_sweep import assert_fitted, assert_found, everything
from own_ray import environment

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.ray_tune import SOURCE
from hptransfer.runs.sources.source import read_source

CASES = Path(__file__).parents[4] / "shared" / "cases"

# In a process of its own: Ray reads its environment once. One actor serves all trials; the last has an error.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
import ray
from ray import tune
from known_sweep import LRS, WIDTHS, loss

def train(config):
    width, lr = config["model"]["width"], config["lr"]
    for step in (1, 2, 3):
        if lr == 0.9 and step == 2:
            raise RuntimeError("boom")
        tune.report({"eval": {"loss": 0.5 if lr == 0.9 else loss(width, lr) + 3 - step}, "worst": float("nan")})

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=80_000_000)
configs = [{"lr": lr, "model": {"width": width}} for width in WIDTHS for lr in LRS] + [{"lr": 0.9, "model": {"width": WIDTHS[0]}}]
tune.Tuner(
    lambda config: train(config["of"]),
    param_space={"of": tune.grid_search(configs)},
    tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
    run_config=tune.RunConfig(name="sweep", storage_path=sys.argv[1], verbose=0),
).fit()
ray.shutdown()
"""


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_sweep_comes_back(tmp_path):
    tests = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), tests],
        env=environment(RAY_AUTH_MODE="disabled", PYTHONPATH=tests),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "sweep"
    before = everything(folder)
    raw, why = read_source(str(folder))
    assert everything(folder) == before
    assert why.startswith("source ray")
    assert dict(raw.roles) == {"run": "trial_id", "state": "state", "step": "training_iteration"} and not raw.notes
    finished = raw.frame.filter(pl.col("state") == "finished")
    assert_found(finished, "config.of.model.width", "config.of.lr", "eval.loss")
    assert_fitted(folder)
    assert finished["training_iteration"].to_list() == [3] * 10 and finished["worst"].is_nan().all()
    errored = raw.frame.filter(pl.col("state") == "ERROR")
    assert errored.select("config.of.lr", "eval.loss", "training_iteration").rows() == [(0.9, 0.5, 1)]
    one, _ = read_source(str(next(folder.glob("*/error.txt")).parent))
    assert one.frame["state"].to_list() == ["ERROR"]


def trial(folder: Path, *results: str, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(config))
    (folder / "result.json").write_text("\n".join(results))
    return folder


def test_a_line_that_is_being_written_is_not_read(tmp_path):
    trial(tmp_path / "a", '{"loss": 2, "training_iteration": 1}', '{"loss": 1, "train', lr=0.1)
    trial(tmp_path / "b", lr=0.2)
    frame = SOURCE.read(str(tmp_path)).frame
    assert frame.select("config.lr", "loss").rows() == [(0.1, 2), (0.2, None)]


def test_a_table_serves_where_there_is_no_json(tmp_path):
    folder = trial(tmp_path / "a", lr=0.1)
    (folder / "result.json").unlink()
    (folder / "progress.csv").write_text("loss,eval/loss,done,config/lr\n3,4,False,0.1\n2,nan,True,0.1\n1,")
    raw = SOURCE.read(str(tmp_path))
    assert raw.frame.select("config.lr", "loss", "eval.loss", "state").rows() == [(0.1, "2", "nan", "finished")]


def test_a_trial_that_never_reported_is_there(tmp_path):
    """Ray's own file of the experiment knows it; the newest of two counts."""
    trial(tmp_path / "a", '{"loss": 2, "done": false}', lr=0.1)
    states = {"a": "TERMINATED", "b": "PENDING"}
    entries = [
        [json.dumps({"relative_logdir": name, "trial_id": name, "status": status, "config": {"lr": 0.5}}), "{}"]
        for name, status in states.items()
    ]
    (tmp_path / "experiment_state-2026-01-02.json").write_text(json.dumps({"trial_data": entries}))
    (tmp_path / "experiment_state-2026-01-01.json").write_text(json.dumps({"trial_data": []}))
    frame = SOURCE.read(str(tmp_path)).frame
    assert frame.select("trial_id", "state", "config.lr", "loss").rows() == [
        ("a", "finished", 0.1, 2),
        ("b", "PENDING", 0.5, None),
    ]


def test_without_a_word_there_is_no_state(tmp_path):
    """A trial whose function returned is never marked as done in its own files."""
    trial(tmp_path / "a", '{"loss": 2, "done": false}', lr=0.1)
    assert "state" not in SOURCE.read(str(tmp_path)).roles


def test_an_unreadable_configuration_is_said(tmp_path):
    (trial(tmp_path / "a", '{"loss": 2}') / "params.json").write_text('{"lr": ')
    assert "1 trial" in SOURCE.read(str(tmp_path)).notes[0]


def test_another_folder_is_none(tmp_path):
    assert SOURCE.sniff(str(tmp_path)) is None
    with pytest.raises(UsageError):
        SOURCE.read(str(tmp_path))


def test_the_public_case():
    if not CASES.is_dir():
        pytest.skip("no ../shared/cases")
    raw, why = read_source(str(CASES / "12_ray"))
    assert why.startswith("source ray") and len(raw.frame) == 21
    assert raw.frame["val_loss"].is_nan().sum() == 2
    assert set(raw.frame["config.width"]) == {128, 256, 512}
