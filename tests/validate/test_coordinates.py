from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.factory import coordinate_check, experiment, write_all

from hptransfer.base.errors import UsageError
from hptransfer.runs import Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.coordinates import read_coordinate_checks
from hptransfer.validate.results import load_results

OURS = experiment()


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_only_the_checks_of_the_experiment_are_read_in_its_order(tmp_path: Path) -> None:
    for optimizer, parametrization in (("muon", "mup"), ("adamw", "mup"), ("soap", "mup"), ("muon", "sp")):
        write(tmp_path, f"{optimizer}-{parametrization}.json", coordinate_check(OURS, optimizer, parametrization))
    found = read_coordinate_checks(tmp_path, OURS)
    assert list(found) == ["adamw", "muon"]
    assert found["muon"].parametrization == "mup" and found["muon"].slopes[4].role == "hidden"
    assert found["muon"].slopes[4].slope == -0.11
    assert read_coordinate_checks(tmp_path / "none", OURS) == {}


def test_a_check_is_that_of_the_arms_with_its_settings(tmp_path: Path) -> None:
    arms = {"same": {"optimizer": "muon"}, "slow": {"optimizer": "muon", "options.momentum": 0.9}}
    ours, check = experiment(("adamw", "muon"), arms=arms), coordinate_check(OURS, "muon")
    for name in ("muon-mup", "same", "slow"):
        write(tmp_path, f"{name}.json", check)
    assert list(read_coordinate_checks(tmp_path, ours)) == ["muon", "same"]
    write(tmp_path, "slow.json", check | {"options": {**check["options"], "momentum": 0.9}})
    assert list(read_coordinate_checks(tmp_path, ours)) == ["muon", "same", "slow"]
    write(tmp_path, "same.json", check | {"changes": {"model.depth": 4}})
    assert list(read_coordinate_checks(tmp_path, ours)) == ["muon", "slow"]


@pytest.mark.parametrize(
    "elsewhere", [{"base_width": 64}, {"corpus": {"corpus": "books", "tokenizer": "bytes", "sha256": "1", "vocab": 256}}]
)
def test_a_check_made_at_another_base_width_or_on_another_corpus_is_not_ours(
    tmp_path: Path, elsewhere: dict[str, object]
) -> None:
    write(tmp_path, "adamw-mup.json", coordinate_check(OURS, "adamw"))
    write(tmp_path, "muon-mup.json", coordinate_check(OURS, "muon", **elsewhere))
    assert list(read_coordinate_checks(tmp_path, OURS)) == ["adamw"]


def test_a_check_of_a_recipe_that_nobody_knows_is_not_ours(tmp_path: Path) -> None:
    write(tmp_path, "muon-mup.json", coordinate_check(OURS, "muon") | {"optimizer": "of another version"})
    assert read_coordinate_checks(tmp_path, OURS) == {}


def test_a_slope_that_no_seed_reached_is_read(tmp_path: Path) -> None:
    check = coordinate_check(OURS, "muon")
    check["slopes"] = [
        {"role": "hidden", "step": 10, "slope": None, "slopes_by_seed": [], "outcome": "fails", "rms": {"32": None}}
    ]
    write(tmp_path, "muon-mup.json", check)
    assert read_coordinate_checks(tmp_path, OURS)["muon"].slopes[0].slope is None


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is damaged: the file"), ({"optimizer": "muon"}, "is damaged: parametrization")]
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: object, said: str) -> None:
    write(tmp_path, "muon-mup.json", content)
    with pytest.raises(UsageError, match=f"muon-mup.json {said}") as error:
        read_coordinate_checks(tmp_path, OURS)
    assert "\n" not in str(error.value)


def test_a_report_finds_the_checks_of_the_experiment(folder: Path) -> None:
    write_all(folder, OURS)
    assert list(load_results(OURS, Store("runs"), resolve, anew=False).coordinate_checks) == ["adamw", "muon"]
