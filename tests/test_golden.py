"""The numbers that hptransfer gave before a run became a point: the same stores and tables give them today.

``golden/<experiment>/store`` is a store of a committed experiment as version 89e35fb left it (`make demo` on two cores of an AMD
EPYC, 26 November 2026), ``golden/*.json`` what its commands printed.
Keys have new names since; the functions here that turn today's output into the old shape are the map. What the model of a
prediction says (``transfer.json``, ``plan.json``, and of ``report.json`` what it shows of predictions) was made anew when
hypotheses began to compete, and compute multipliers when the exponent between horizons was learned: HPTRANSFER_GOLDEN=1 writes
the numbers of today over those of the same place. The runs at the held-out width are of the predictions that the stores
registered, so that validations and pages are made of these.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hptransfer.cli import perform
from hptransfer.runs import Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.prediction import Bowl, Prediction, default_path, read_prediction, write_prediction

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared" / "data"
CLOSE = 1e-6  # a fit stops where the kernels of its processor lead it: 1e-9 apart on an EPYC, 2e-8 between that and a Xeon
# A backtest of real sweeps has fits that are nearly flat: between the same two processors a predicted LR is 2 % apart
# (.03 octaves), and regrets, small differences of losses, up to 4 %.
FLAT, OCTAVES = 5e-2, 0.05
# Named otherwise, or not a number of the result: digests, dates, versions, words, places of files.
NOT_NUMBERS = {"digest", "prediction", "provenance", "file", "reason", "detail", "words", "text", "command", "missing", "source"}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number, truth value and null by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in NOT_NUMBERS:
                yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    elif not isinstance(value, str):
        yield path, value


def assert_same(old: Any, new: Any, close: float = CLOSE) -> None:
    """Every number of ``old`` is in ``new``, to ``close``, and nothing that was known is unknown."""
    found, expected = dict(leaves(new)), dict(leaves(old))
    assert expected
    missing = expected.keys() - found.keys()
    assert not missing, sorted(missing)[:5]
    for path, value in expected.items():
        if isinstance(value, bool) or value is None:
            assert found[path] == value, (path, value, found[path])
        else:
            near = OCTAVES if close == FLAT and path.endswith("error_log2") else 1e-12
            assert found[path] is not None and math.isclose(found[path], value, rel_tol=close, abs_tol=near), (
                path, value, found[path]
            )  # fmt: skip


def golden(name: str, command: str) -> Any:
    return json.loads((GOLDEN / name / f"{command}.json").read_text())


def settled(old: Any, new: Any) -> Any:
    """``old`` with the numbers of ``new``."""
    if isinstance(old, dict):
        if not isinstance(new, dict):
            return old
        kept = {*old} - {*new} | NOT_NUMBERS | {"checks"}
        return {key: value if key in kept else settled(value, new[key]) for key, value in old.items()}
    if isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        return [settled(*pair) for pair in zip(old, new, strict=True)]
    return old if isinstance(old, str) else new


def make_anew(name: str, command: str, content: Any) -> None:
    if os.environ.get("HPTRANSFER_GOLDEN"):
        (GOLDEN / name / f"{command}.json").write_text(json.dumps(content) + "\n")


def of(command: str, slow: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """The experiments for which the output of a command was kept; ``slow``: those for which it takes long."""
    names = sorted(path.parent.name for path in GOLDEN.glob(f"*/{command}.json"))
    found = [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]
    return pytest.mark.parametrize("experiment", found, indirect=True)


@pytest.fixture
def experiment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working folder with the store of an experiment, brought up to date."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / request.param / "store", "runs")
    assert perform("store", ["--upgrade"]) == 0
    return str(request.param)


@pytest.fixture
def registered(experiment: str) -> str:
    """The same with the predictions that the store registered, whatever the model says today."""
    assert perform("transfer", ["--experiment", experiment]) == 0
    for file in (GOLDEN / experiment / "store/predictions").glob("*.json"):
        old = json.loads(file.read_text())["prediction"]
        path = default_path(experiment, old["optimizer"], old["target"]["width"])
        now, (ends, decay) = read_prediction(path), (old["hyperparameters"][name] for name in ("lr", "weight_decay"))
        values = {name: old["spec"]["optimizer"][name] for name in now.hyperparameters}
        tuned = {name: now.hyperparameters[name].model_copy(update={"value": value}) for name, value in values.items()}
        tuned["lr"] = now.lr.model_copy(update=ends)
        point = now.point.model_copy(update={"hyperparameters": now.point.hyperparameters | values})
        pairs = zip(now.optima, old["optima"], strict=True)  # "same hyperparameters" are the optimum of the base width
        optima = tuple(
            one.model_copy(update={"best": {"lr": one.lr.model_copy(update=was["lr"])}, "loss": was["loss"]})
            for one, was in pairs
        )
        fit = {"optima": optima, "noise": old["noise"], "bowl": Bowl(**old["surface"])}
        then = now.model_copy(update={"hyperparameters": tuned, "job": resolve(point), **fit})
        assert math.isclose(then.weight_decay.value, decay["value"], rel_tol=CLOSE)
        write_prediction(then, path)
    return experiment


def printed(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> Any:
    capsys.readouterr()
    assert perform(command, [*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# -- the map -----------------------------------------------------------------------------------------------------------


def old_prediction(prediction: Prediction) -> dict[str, Any]:
    """Version 3 of the prediction file."""
    scales, decay = prediction.point.scales, prediction.weight_decay
    ends = ("value", "low", "high")
    return {
        "target": {**scales, "parameters": prediction.run.parameters},
        "hyperparameters": {
            "lr": prediction.lr.model_dump(include=set(ends)),
            "weight_decay": decay.model_dump(include=set(ends)),
            "embedding_lr_ratio": prediction.hyperparameters["embedding_lr_ratio"].value,
        },
        "drift": prediction.drift.model_dump(),
        "roles": {role: numbers.model_dump() for role, numbers in prediction.roles.items()},
        "expected_regret": prediction.expected_regret,
        "noise": prediction.noise,
        "budget": {cell.removeprefix("width "): runs for cell, runs in prediction.budget.items()},
        "optima": [
            {"width": o.width, "lr": o.lr.model_dump(), "loss": o.loss, "runs": o.runs, "diverged": o.diverged}
            for o in prediction.optima
        ],
        "surface": prediction.bowl.model_dump() if prediction.bowl else None,
        "hold_out": (held := prediction.hold_out)
        and {"width": held.scales["width"], "predicted_lr": held.predicted, "own_lr": held.own, "regret": held.regret},
        "checks": sorted(check.ok for check in prediction.checks),
        "spec": {"optimizer": prediction.point.hyperparameters, "init_seed": prediction.point.init_seed},
    }


def shared_keys(old: dict[str, Any]) -> dict[str, Any]:
    """What of a prediction of version 3 the map holds: its spec is the point's settings now."""
    spec = {"optimizer": {k: old["spec"]["optimizer"][k] for k in ("lr", "weight_decay", "embedding_lr_ratio")}}
    kept = {key: value for key, value in old.items() if key not in ("prediction_version", "checks", "spec")}
    return kept | {"checks": sorted(check["ok"] for check in old["checks"]), "spec": spec}


# -- what is compared --------------------------------------------------------------------------------------------------


@of("transfer")
def test_transfer(experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    old = golden(experiment, "transfer")
    new = printed(capsys, "transfer", "--experiment", experiment)
    assert [one["optimizer"] for one in old["predictions"]] == [one["name"] for one in new["predictions"]]
    assert old["refused"] == new["refused"] == {}
    found = [Prediction.model_validate({key: one[key] for key in one if key != "file"}) for one in new["predictions"]]
    pairs = list(zip(old["predictions"], found, strict=True))
    make_anew(experiment, "transfer", old | {"predictions": [settled(before, old_prediction(now)) for before, now in pairs]})
    for before, prediction in pairs:
        assert_same(shared_keys(before), old_prediction(prediction))
        assert sorted(prediction.provenance["run_ids"]) == sorted(before["provenance"]["run_ids"])


@of("validate")
def test_validate(registered: str, experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is in the store, so that nothing is trained; run_ids are those of before, or it would be."""
    runs = len(Store("runs").records())
    old, new = golden(experiment, "validate"), printed(capsys, "validate", "--experiment", experiment)
    assert len(Store("runs").records()) == runs
    assert [one["optimizer"] for one in old["validations"]] == [one["arm"] for one in new["validations"]]
    make_anew(experiment, "validate", settled(old, new))
    assert_same(old, new)
    for before, now in zip(old["validations"], new["validations"], strict=True):
        for kind in ("runs", "baseline_runs"):
            assert [run["run_ids"] for run in before[kind]] == [run["run_ids"] for run in now[kind]]


def old_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """An entry of summary.json's ``optimizers``: ``arms`` today."""
    found = {key: value for key, value in answer.items() if key != "checks"}
    tuned = answer["hyperparameters"]
    held = answer["hold_out"]
    return found | {
        "drift": answer["drifts"][0],
        "hyperparameters": {
            "lr": tuned["lr"],
            "weight_decay": answer["weight_decay"],
            "embedding_lr_ratio": tuned["embedding_lr_ratio"]["value"],
        },
        "budget": {cell.removeprefix("width "): runs for cell, runs in answer["budget"].items()},
        "hold_out": held
        and {
            "width": held["scales"]["width"],
            "predicted_lr": held["predicted"],
            "own_lr": held["own"],
            "regret": held["regret"],
        },
        "checks": sorted(check["ok"] for check in answer["checks"]),
    }


@of("report")
def test_report(registered: str, experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = golden(experiment, "report"), printed(capsys, "report", "--experiment", experiment)
    assert [one["optimizer"] for one in old["optimizers"]] == [one["optimizer"] for one in new["arms"]]
    new["optimizers"] = [old_answer(answer) for answer in new.pop("arms")]
    make_anew(experiment, "report", settled(old, new))
    for answer in old["optimizers"]:
        answer["checks"] = sorted(check["ok"] for check in answer["checks"])
    assert_same(old, new)
    assert new["missing"] == [] or [part["sentence"] for part in new["missing"]] == [part["sentence"] for part in old["missing"]]


@of("plan", slow=("four-optimizers",))
def test_plan(experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = golden(experiment, "plan"), printed(capsys, "plan", "--experiment", experiment, "--devices", "2")
    assert [one["optimizer"] for one in old["stages"]] == [one["arm"] for one in new["stages"]]
    make_anew(experiment, "plan", settled(old, new))
    assert_same(old, new)


PAPER = ("paper_lr_sweeps.csv", "--group", "parametrization,optimizer", "--hp", "log2_lr_multiplier")
STEPLAW = ("steplaw_dense.csv", "--scale", "N,D", "--hp", "lr,bs", "--loss", "smooth_loss")
PUBLISHED = ("--rule", "steplaw:lr=1.79*POW(N,-0.713)*POW(D,0.307);bs=0.58*POW(D,0.571)/2048")
TABLES = {
    "paper": (*PAPER, "--hold-out", "width > 512"),
    "paper-nested": (*PAPER, "--nested"),
    "steplaw": (*STEPLAW, *PUBLISHED, "--hold-out", "N > 1e9"),
    "steplaw-each": (*STEPLAW, *PUBLISHED, "--leave-one-out", "N"),
}


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public sweeps are not at hand")
@pytest.mark.parametrize("name", TABLES)
def test_backtest_of_the_readmes_tables(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (table, *arguments), kept = TABLES[name], f"backtest-{name}"
    old, new = golden(".", kept), printed(capsys, "backtest", str(SHARED / table), *arguments)
    make_anew(".", kept, settled(old, new))
    assert_same(old, new, FLAT)
