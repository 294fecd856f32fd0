"""The search on a real Ray: killed, resumed, continued. Runs are tiny; nothing else is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hptransfer.runs import Store

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

TINY = [
    "--set=model.depth=1",
    "--set=model.context=32",
    "--set=batch_sequences=4",
    "--set=horizon.tokens=8192",
    "--set=schedule.warmup_tokens=512",
    "--set=evaluation.tokens=2048",
    "--optimizer=shampoo",
]


def command(store: Path, *argv: str) -> list[str]:
    return [sys.executable, "-m", "hptransfer.search", *TINY, "--store", str(store), "--json", *argv]


def search(store: Path, *argv: str) -> dict:
    done = subprocess.run(command(store, *argv), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ids(result: dict) -> list[list[str]]:
    return [study["run_ids"] for study in result["studies"]]


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[Path, dict]:
    store = tmp_path_factory.mktemp("straight") / "runs"
    return store, search(store, "--trials=8")


def test_the_json_says_what_was_done(straight):
    store, result = straight
    records = Store(store).records()
    assert result["store"] == str(store)
    assert [(s["arm"], s["optimizer"], s["parametrization"], s["width"]) for s in result["studies"]] == [
        ("shampoo", "shampoo", "mup", 32),
        ("shampoo", "shampoo", "mup", 64),
    ]
    for study in result["studies"]:
        assert study["runs_total"] == study["runs_new"] == len(set(study["run_ids"])) == 8
        assert set(study["run_ids"]) <= set(records)
        best = records[study["best"]["run_id"]]
        assert (study["best"]["lr"], study["best"]["loss"]) == (best.point["lr"], best.loss)


def test_the_same_command_runs_nothing_again_and_more_trials_add_exactly_those(straight):
    store, result = straight
    again = search(store, "--trials=8")
    assert ids(again) == ids(result)
    assert [study["runs_new"] for study in again["studies"]] == [0, 0]
    more = search(store, "--trials=10")
    assert [study["runs_new"] for study in more["studies"]] == [2, 2]
    assert [run_ids[:8] for run_ids in ids(more)] == ids(result)


@pytest.mark.slow
def test_a_driver_killed_in_mid_search_loses_and_repeats_nothing(straight, tmp_path):
    store = tmp_path / "runs"
    process = subprocess.Popen(command(store, "--trials=8"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(store.glob("runs/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(3)  # its Ray notices and goes; a run that was about to finish may still do so
    finished = {path.stem: path.stat().st_mtime_ns for path in store.glob("runs/*.json")}
    assert 3 <= len(finished) < 16
    resumed = search(store, "--trials=8")
    assert ids(resumed) == ids(straight[1])
    assert sum(study["runs_new"] for study in resumed["studies"]) == 16 - len(finished)
    assert {run_id: (store / f"runs/{run_id}.json").stat().st_mtime_ns for run_id in finished} == finished
    assert not list(store.glob("**/*.tmp"))


@pytest.mark.slow
def test_a_search_whose_budget_is_spent_says_what_is_left_and_where_the_time_went(straight, tmp_path):
    first = Store(straight[0]).get(straight[1]["studies"][0]["run_ids"][0])
    budget = f"--set=budget.flops={4.5 * first.job.flops}"
    done = subprocess.run(
        command(tmp_path / "runs", "--trials=8", budget, "--profile"), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line.split()[:2] for line in done.stderr.splitlines() if line.endswith(" left")] == [
        [f"{number}/4", "shampoo"] for number in range(1, 5)
    ]
    assert done.stderr.strip().splitlines()[-1] == (
        f"error: the budget of {4.5 * first.job.flops:.4g} flops is spent; trials left undone: shampoo width 32: 4, "
        "shampoo width 64: 8; the same command with more budget goes on"
    )
    result = json.loads(done.stdout)
    assert [study["run_ids"] for study in result["studies"]] == [straight[1]["studies"][0]["run_ids"][:4], []]
    profile = result["profile"]
    assert profile["wall"] == pytest.approx(sum(profile["seconds"].values()))
    assert profile["seconds"]["training"] > 0 and 0 < profile["ray_and_scheduling"] < 1


@pytest.mark.slow
def test_a_diverging_lr_is_a_state_and_the_study_goes_on(tmp_path):
    wild = ["--set=spaces.shampoo.lr.low=0.001", "--set=spaces.shampoo.lr.high=1000", "--widths=32", "--trials=7"]
    result = search(tmp_path / "runs", *wild)
    records = Store(tmp_path / "runs").records().values()
    states = [record.state for record in records]
    assert result["studies"][0]["runs_total"] == 7
    assert "diverged" in states and "complete" in states
    assert all((record.loss is None) == (record.state == "diverged") for record in records)
    assert all(record.outcome.reason for record in records if record.state == "diverged")


@pytest.mark.slow
def test_a_trial_that_cannot_run_stops_the_search_in_one_line_and_keeps_the_rest(tmp_path):
    """The data in this process is not what the trials find: they fail, and the search says which run."""
    env = os.environ | {"HPTRANSFER_CACHE": str(tmp_path / "cache")}
    broken = subprocess.Popen(
        command(tmp_path / "runs", "--trials=4", "--widths=32"),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    shard = None
    while shard is None and time.monotonic() < deadline:
        shards = (tmp_path / "cache").glob("hptransfer/*/train_*.bin")
        shard = next((shard for shard in shards if shard.parent.suffix != ".partial"), None)
        time.sleep(0.02)
    assert shard is not None
    shard.write_bytes(b"damaged")
    _, errors = broken.communicate(timeout=200)
    assert broken.returncode == 1, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: run ") and "train_" in last and "the same command goes on" in last


@pytest.mark.slow
def test_two_scales_from_a_file_to_a_prediction(tmp_path):
    """A star over width and tokens, as a user writes it; the second command finds nothing to do."""
    (tmp_path / "two.yaml").write_text(
        "name: two\nmodel: {depth: 1, head_dim: 8, context: 32}\nscales: {width: [16, 32], tokens: [12800, 51200]}\n"
        "target: {width: 64, tokens: 102400}\nbatch_sequences: 4\nschedule: {warmup_tokens: 1280}\n"
        "evaluation: {tokens: 2048, points: 2}\noptimizers: [adamw]\nsearch: {trials: 8}\n"
    )

    def run(stage: str) -> dict:
        argv = [sys.executable, "-m", f"hptransfer.{stage}", "--experiment", "two.yaml", "--json"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    found = run("search")["studies"]
    assert [(one["width"], one["tokens"], one["runs_new"]) for one in found] == [(16, 12800, 8), (16, 51200, 8), (32, 12800, 8)]
    assert [one["runs_new"] for one in run("search")["studies"]] == [0, 0, 0]
    said = run("transfer")
    assert said["predictions"] or said["refused"]["adamw"]["code"].endswith("_edge")
    for told in said["predictions"]:
        assert {drift["scale"] for drift in told["drifts"] if drift["hyperparameter"] == "lr"} == {"width", "tokens"}
