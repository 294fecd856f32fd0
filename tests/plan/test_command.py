"""``python -m hptransfer.plan``: its costs are those of the search and the validation that follow, and its JSON says so."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from records import DATA, record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer import cli
from hptransfer.cli import perform
from hptransfer.experiment import DataChoice, Experiment
from hptransfer.plan import command
from hptransfer.plan.cost import cost_of, total
from hptransfer.plan.simulate import PUBLIC, expect
from hptransfer.runs import Job, Point, Record, Store
from hptransfer.search.studies import make_studies
from hptransfer.trainers import inputs_of_arms
from hptransfer.trainers.ours import points
from hptransfer.trainers.ours.data.corpus import identify
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group
from hptransfer.validate.protocol import Protocol

Plan = Callable[..., dict[str, Any]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plan:
    """Runs the command on an experiment in an empty folder, with few simulated studies; returns its JSON."""
    monkeypatch.setattr(command, "expect", functools.partial(expect, studies=2))

    def run(experiment: Experiment, *argv: str) -> dict[str, Any]:
        (here / "e.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
        perform("plan", ["--experiment", "e.yaml", "--json", *argv])
        return dict(json.loads(capsys.readouterr().out))

    return run


def searched(experiment: Experiment) -> list[Job]:
    """Every run that a search makes, as it makes them: it is fed with records of made-up losses."""
    studies = make_studies(experiment, inputs_of_arms(experiment, experiment.compared))
    records: dict[str, Record] = {}
    while todo := studies.missing(records):
        for job in todo:
            records[job.run_id] = record_of(job, 2.0 + 0.02 * math.log(job.point["lr"] / 0.01) ** 2)
    return [record.job for record in records.values()]


def test_the_search_costs_what_its_runs_do(experiment: Experiment, plan: Plan) -> None:
    small = experiment.model_copy(update={"search": experiment.search.model_copy(update={"trials": 6, "sampler": "random"})})
    found = plan(small)
    jobs = searched(small)
    for recipe in small.optimizers:
        for width in small.widths:
            own = [job for job in jobs if (job.point.settings["optimizer"], job.point["width"]) == (recipe, width)]
            [stage] = [s for s in found["stages"] if (s["arm"], s["stage"], s["width"]) == (recipe, "search", width)]
            assert stage["runs"] == len(own) == 6
            assert stage["tokens"] == sum(job.point["tokens"] for job in own)
            assert stage["flops"] == pytest.approx(sum(job.flops for job in own))


def test_the_validation_costs_what_its_runs_do(plan: Plan) -> None:
    experiment = make_experiment(
        optimizers=["adamw", "muon"], validation={"seeds": 3, "probe_octaves": [1, 2], "ladder": [0.5, 2]}
    )
    found = plan(experiment)
    predictions = {}
    for recipe in experiment.optimizers:
        group = Group(recipe, tuple(make_records(Truth(), experiment, recipe=recipe)))
        target = resolve(experiment.point(experiment.arm(recipe), DATA, width=256, lr=1.0, weight_decay=0.0))
        predictions[recipe] = predict_group(group, target, resolve)
    jobs = Protocol(predictions, experiment.validation, "adamw", resolve).planned({})
    stages = [stage for stage in found["stages"] if stage["stage"] in ("validation", "ladder")]
    assert Counter((s["arm"], s["stage"], s["runs"]) for s in stages) == Counter(
        [("adamw", "validation", 13), ("adamw", "ladder", 6), ("muon", "validation", 13)]
    )
    assert sum(stage["tokens"] for stage in stages) == sum(job.point["tokens"] for job in jobs)
    assert sum(stage["flops"] for stage in stages) == pytest.approx(sum(job.flops for job in jobs))


def test_its_work_grows_with_the_cells_and_the_arms(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is resolved a fixed number of times."""
    resolved: list[Point] = []
    monkeypatch.setattr(points, "resolve", lambda point: resolved.append(point) or resolve(point))

    def resolutions(widths: int, *recipes: str) -> int:
        resolved.clear()
        plan(make_experiment(widths=[64 * (one + 1) for one in range(widths)], target_width=1024, optimizers=recipes))
        return len(resolved)

    few = resolutions(4, "adamw", "muon")
    assert few < resolutions(8, "adamw", "muon") <= 2 * few
    assert resolutions(4, "adamw", "muon", "soap", "shampoo") <= 2 * few


def test_no_ladder_without_a_challenger_or_a_baseline(experiment: Experiment, plan: Plan) -> None:
    for recipe in experiment.optimizers:
        assert {stage["stage"] for stage in plan(experiment, "--optimizer", recipe)["stages"]} == {"search", "validation"}


def test_arms_are_planned_each_with_its_own_changes(experiment: Experiment, plan: Plan) -> None:
    """Both parametrizations with a ladder for each baseline; an arm of another horizon costs what that does."""
    arms = {"longer": {"optimizer": "shampoo", "horizon.tokens": 8192}}
    both = experiment.model_copy(update={"arms": arms, "parametrizations": ("mup", "sp")})
    found = plan(both)
    assert [one["arm"] for one in found["expected"]] == ["adamw", "shampoo", "adamw-sp", "shampoo-sp", "longer"]
    assert {stage["arm"] for stage in found["stages"] if stage["stage"] == "ladder"} == {"adamw", "adamw-sp"}
    flops = {s["arm"]: s["flops"] for s in found["stages"] if s["stage"] == "search" and s["width"] == 16}
    assert flops["longer"] == pytest.approx(2 * flops["shampoo"])
    assert {one["arm"] for one in plan(both, "--arm", "longer,shampoo")["expected"]} == {"longer", "shampoo"}


def test_what_is_unknown_of_one_run_is_unknown_of_all(make_run: Callable[..., Job]) -> None:
    known = make_run("adamw")
    unknown = cost_of(known.model_copy(update={"flops": None}), 3, lambda job: 1e9)
    assert unknown.runs == 3 and unknown.flops is unknown.hours is None
    both = total([cost_of(known, 2, lambda job: 1e9), unknown])
    assert both.runs == 5 and both.tokens == 5 * known.point["tokens"] and both.flops is both.hours is None


def test_json(experiment: Experiment, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(experiment, "--hardware", "h100", "--utilization", "0.5", "--devices", "4", "--trials", "10")
    assert set(found) == {"experiment", "hardware", "stages", "total", "expected", "runs_in_store"}
    assert found["hardware"]["name"] == "h100"
    assert found["hardware"]["devices"] == 4
    assert found["runs_in_store"] == 0
    for stage in found["stages"]:
        assert set(stage) == {"arm", "stage", "width", "runs", "tokens", "flops", "hours"}
        assert stage["hours"] == pytest.approx(stage["flops"] / (989e12 * 0.5 * 4) / 3600)
    for key in ("runs", "tokens", "flops", "hours"):
        assert found["total"][key] == pytest.approx(sum(stage[key] for stage in found["stages"]))
    for one in found["expected"]:
        assert set(one) == {"arm", "source", "budgets", "target_sweep"}
        assert one["source"] == PUBLIC.source
        assert [budget["trials"] for budget in one["budgets"]] == [5, 10, 20]
        assert all(set(b) == {"trials", "regret", "standard_error", "interval_factor", "search_flops"} for b in one["budgets"])
        search = sum(s["flops"] for s in found["stages"] if s["stage"] == "search" and s["arm"] == one["arm"])
        assert one["budgets"][1]["search_flops"] == pytest.approx(search)
        [validation] = [s for s in found["stages"] if s["stage"] == "validation" and s["arm"] == one["arm"]]
        assert one["target_sweep"]["runs"] == 10
        assert one["target_sweep"]["flops"] == pytest.approx(validation["flops"] / validation["runs"] * 10)
        assert one["target_sweep"]["over_search"] == pytest.approx(one["target_sweep"]["flops"] / search)


def test_the_next_command_is_the_same_search(experiment: Experiment, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cli.console, "print", lambda *words, **_: said.extend(map(str, words)))
    plan(experiment, "--optimizer", "shampoo", "--trials", "7", "--widths", "16", "32")
    [line] = [line for line in said if line.startswith("next:")]
    assert line == "next:    hptransfer search --experiment e.yaml --set 'widths=[16,32]' --optimizer shampoo --trials 7"


def stored(plan: Plan, noise: float, seconds: dict[int, float]) -> tuple[Experiment, dict[str, Any]]:
    """The plan of an experiment whose muon runs are in the store; they took ``seconds`` by width, on two workers."""
    experiment = make_experiment()
    data = identify(DataChoice())
    store = Store("runs")
    for record in make_records(Truth(noise=noise), experiment, runs=16, data=data):
        timed = {"training_wall_seconds": seconds[record.point["width"]], "workers": 2, "device": "machine B"}
        store.add(record.model_copy(update={"outcome": record.outcome.model_copy(update=timed)}))
    return experiment, plan(experiment, "--devices", "1")


def test_the_speed_is_that_of_the_runs_in_the_store(plan: Plan) -> None:
    """At each width its own, beyond them that of the nearest, and for another recipe that of the one there is."""
    _, found = stored(plan, 0.003, {64: 3.0, 128: 5.0})
    assert found["hardware"]["name"] == "machine B"
    assert found["runs_in_store"] == 32
    flops = {s["width"]: s["flops"] / s["runs"] for s in found["stages"] if s["stage"] != "ladder"}
    for stage in found["stages"]:
        seconds, width = {64: (3.0, 64), 128: (5.0, 128), 256: (5.0, 128)}[stage["width"]]
        speed = flops[width] / (2 * seconds)
        assert stage["hours"] == pytest.approx(stage["flops"] / speed / 3600)


def test_named_hardware_goes_before_the_store(plan: Plan) -> None:
    experiment, _ = stored(plan, 0.003, {64: 3.0, 128: 5.0})
    assert plan(experiment, "--hardware", "a100")["hardware"]["name"] == "a100"
    measured = plan(experiment, "--flops-per-second", "1e9")
    assert measured["total"]["hours"] == pytest.approx(measured["total"]["flops"] / 1e9 / 3600)


def test_the_surface_is_that_of_the_runs_in_the_store(plan: Plan) -> None:
    _, found = stored(plan, 0.003, {64: 3.0, 128: 5.0})
    sources = {one["arm"]: one["source"] for one in found["expected"]}
    assert sources == {"muon": "muon by the fit of 32 runs in the store", "adamw": PUBLIC.source}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--hardware", "h10"], "unknown hardware 'h10'; did you mean 'h100'?"),
        (["--hardware", "abacus-9000"], "unknown hardware 'abacus-9000'; known: a100, b200, cpu"),
        (["--utilization", "0.5"], "--utilization 0.5 is not heeded without --hardware"),
        (["--hardware", "h100", "--flops-per-second", "1e9"], "not allowed with argument"),
        (["--optimizer", "shampo"], "unknown arm or recipe 'shampo'; did you mean 'shampoo'?"),
        (["--trials", "2"], "search.trials 2 is too few"),
    ],
)
def test_mistakes(here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["plan", *argv])
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed.out == ""
    [line] = printed.err.strip().splitlines()
    assert says in line


def test_a_search_over_cells_costs_what_its_runs_do(plan: Plan) -> None:
    scales = {"tokens": [131_072, 262_144], "depth": [3, 6]}
    experiment = make_experiment(scales=scales, target={"tokens": 1_048_576}, search={"trials": 8, "batch": 4})
    stages = [stage for stage in plan(experiment)["stages"] if stage["stage"] == "search"]
    jobs = searched(experiment)
    assert sum(stage["runs"] for stage in stages) == len(jobs) == 2 * 4 * 8
    assert sum(stage["flops"] for stage in stages) == pytest.approx(sum(job.flops or 0.0 for job in jobs))
    assert [stage["cell"] for stage in stages[:4]] == list(experiment.searched_cells)


def test_of_one_width_costs_are_told_and_that_nothing_can_be_predicted_from_it(
    experiment: Experiment, plan: Plan, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = experiment.model_copy(update={"widths": (16,)})
    printed = plan(one)
    assert printed["expected"] == [] and printed["total"]["runs"] > 0
    perform("plan", ["--experiment", "e.yaml"])
    assert "one cell, width 16, shows no drift; add runs at a second one" in capsys.readouterr().err
