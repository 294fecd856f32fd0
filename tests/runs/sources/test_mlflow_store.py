"""Stores that MLflow wrote, and a server that its client asks."""

import json
import math
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from known_sweep import assert_fitted, assert_found, everything

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.mlflow_store import SOURCE
from hptransfer.runs.sources.source import read_source

# In a process of its own: MLflow keeps where it writes to. Beside the sweep: runs that failed, were killed, go on, diverged (to
# NaN and to infinity) and were deleted.
SCRIPT = """
import logging, math, sys
logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[2])
from mlflow import MlflowClient
from known_sweep import RUNS, loss

client = MlflowClient(tracking_uri=sys.argv[1])
sweep, other = client.create_experiment("the sweep"), client.create_experiment("other")

def run(experiment, width, lr, final, status):
    run_id = client.create_run(experiment, run_name=f"w{width}", tags={"team": "a b"}).info.run_id
    client.log_param(run_id, "lr", lr)
    client.log_param(run_id, "model/width", width)
    for step in (10, 20, 5):
        client.log_metric(run_id, "val/loss", final if step == 20 else 9.0, step=step)
    if status:
        client.set_terminated(run_id, status)
    return run_id

for width, lr in RUNS:
    run(sweep, width, lr, loss(width, lr), "FINISHED")
run(other, 128, 0.5, 0.1, "FAILED")
run(other, 128, 0.6, 0.1, "KILLED")
run(other, 128, 0.7, 0.1, None)
run(other, 128, 0.8, math.nan, "FINISHED")
run(other, 128, 0.9, math.inf, "FINISHED")
client.delete_run(run(other, 128, 0.99, 0.1, "FINISHED"))
"""


def written(uri: str, cwd: Path) -> None:
    tests = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, uri, tests],
        env=os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(cwd)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["sqlite", "files"])
def store(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    place = folder / ("mlflow.db" if request.param == "sqlite" else "mlruns")
    written(f"sqlite:///{place}" if request.param == "sqlite" else place.as_uri(), folder)
    return place


def test_a_sweep_comes_back(store):
    before = everything(store.parent)
    raw, why = read_source(str(store))
    assert everything(store.parent) == before
    assert why.startswith("source mlflow")
    check(raw)
    assert_fitted(store, where="experiment = 'the sweep'")


def check(raw) -> None:
    """That it is what `SCRIPT` wrote."""
    assert dict(raw.roles) == {"run": "run_id", "state": "status", "step": "step"} and not raw.notes
    others = raw.frame.filter(pl.col("experiment") == "other")
    states = dict(zip(others["params.lr"], others["status"], strict=True))
    assert states == {"0.5": "FAILED", "0.6": "KILLED", "0.7": "RUNNING", "0.8": "FINISHED", "0.9": "FINISHED"}
    values = dict(zip(others["params.lr"], others["metrics.val/loss"], strict=True))
    assert math.isnan(values["0.8"]) and values["0.9"] == math.inf
    sweep = raw.frame.filter(pl.col("experiment") == "the sweep").cast({"params.model/width": pl.Int64})
    assert_found(sweep, "params.model/width", "params.lr", "metrics.val/loss")
    assert set(raw.frame["step"]) == {20} and set(raw.frame["tags.team"]) == {"a b"}
    assert not [name for name in raw.frame.columns if "mlflow" in name]


def test_a_part_is_a_place_too(store):
    """The database by its URL, and the folder of one experiment."""
    if store.suffix == ".db":
        raw, why = read_source(f"sqlite:///{store}")
        assert why.startswith("source mlflow")
        check(raw)
    else:
        folders = [meta.parent for meta in store.glob("*/meta.yaml") if "the sweep" in meta.read_text()]
        raw, why = read_source(str(folders[0]))
        assert why.startswith("source mlflow") and len(raw.frame) == 10


def test_the_last_value_is_that_of_the_last_whole_line(tmp_path):
    """Later lines of the same step count; a metric may go on after a restart at an earlier step."""
    run = folder(tmp_path, "FINISHED")
    (run / "metrics" / "loss").write_text("1 3.0 10\n2 2.5 20\n3 2.0 20\n4 9.0 15\n5 1.0 2")
    (run / "metrics" / "acc").write_text("1 0.5\n")
    (run / "metrics" / "cut").write_text("17")
    frame = SOURCE.read(str(tmp_path)).frame
    assert frame.select("metrics.loss", "metrics.acc", "step").rows() == [(2.0, 0.5, 20)]
    assert "metrics.cut" not in frame.columns


def test_an_unreadable_run_is_said(tmp_path):
    folder(tmp_path, "FINISHED")
    (folder(tmp_path, "RUNNING") / "meta.yaml").write_text("run_id: [")
    raw = SOURCE.read(str(tmp_path))
    assert raw.frame["status"].to_list() == ["FINISHED"] and "1 run" in raw.notes[0]


def folder(root: Path, status: str) -> Path:
    """A run's folder in an experiment's, as MLflow makes them."""
    experiment = root / "0"
    run = experiment / f"r{status}"
    for name in ("metrics", "params", "tags"):
        (run / name).mkdir(parents=True)
    (experiment / "meta.yaml").write_text("artifact_location: x\nexperiment_id: '0'\nlifecycle_stage: active\nname: a\n")
    number = {"RUNNING": 1, "FINISHED": 3}[status]
    (run / "meta.yaml").write_text(f"run_id: r{status}\nstatus: {number}\nlifecycle_stage: active\nrun_name: n\n")
    return run


class Server(BaseHTTPRequestHandler):
    """A tracking server of two pages, as far as a search asks one (MLflow's REST API 2.0)."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/experiments/search"):
            self.answer({"experiments": [{"experiment_id": "7", "name": "the sweep", "lifecycle_stage": "active"}]})
        else:
            assert asked["experiment_ids"] == ["7"]
            page = int(asked.get("page_token") or 0)
            self.answer({"runs": [self.run_of(page)]} | ({} if page else {"next_page_token": "1"}))

    def do_GET(self):
        self.answer({})

    @staticmethod
    def run_of(page: int) -> dict:
        info = {"run_id": f"r{page}", "run_uuid": f"r{page}", "run_name": "n", "experiment_id": "7", "status": "FINISHED"}
        loss = {"key": "loss", "value": ["NaN", 2.5][page], "timestamp": 1, "step": 20}
        tags = [{"key": "mlflow.user", "value": "me"}]
        data = {"metrics": [loss], "params": [{"key": "lr", "value": str(page + 1)}], "tags": tags}
        return {"info": info | {"lifecycle_stage": "active", "artifact_uri": "x", "start_time": 1}, "data": data}

    def answer(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_a_server_is_asked(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        raw, why = read_source(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert why.startswith("source mlflow")
    rows = raw.frame.select("run_id", "status", "experiment", "params.lr", "step").rows()
    assert rows == [("r0", "FINISHED", "the sweep", "1", 20), ("r1", "FINISHED", "the sweep", "2", 20)]
    assert raw.frame["metrics.loss"].is_nan().to_list() == [True, False]


def test_no_server_is_one_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with pytest.raises(UsageError) as error:
        SOURCE.read("http://me:secret@127.0.0.1:9")
    assert "network" in str(error.value) and "\n" not in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize("place", ["https://wandb.ai/a/b", "https://host/runs.csv", "/nowhere"])
def test_another_place_is_none(place):
    assert SOURCE.sniff(place) is None
