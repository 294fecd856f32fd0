"""JSON in the shapes that tools and people give it."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.cells import read_numbers
from hptransfer.runs.sources.json_rows import SOURCE
from hptransfer.runs.sources.source import ROW

RUNS = [{"width": 128, "lr": 0.0625, "loss": 5.2655}, {"width": 256, "lr": 0.03125, "loss": 4.105}]
COLUMNS = {name: [run[name] for run in RUNS] for name in RUNS[0]}


def write(folder: Path, content: object, name: str = "runs.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def columns(path: str) -> dict[str, list[Any]]:
    return SOURCE.read(path).frame.drop(ROW).to_dict(as_series=False)


def refusal(path: str) -> str:
    with pytest.raises(UsageError) as refused:
        SOURCE.read(path)
    assert path in str(refused.value) and "\n" not in str(refused.value)
    return str(refused.value)


SHAPES: dict[str, tuple[object, str]] = {
    "a list": (RUNS, "a list of objects"),
    "a list on many lines": (json.dumps(RUNS, indent=2), "a list of objects"),
    "lines": ("\n\n".join(map(json.dumps, RUNS)) + "\n\n", "an object a line"),
    "lines of Windows": ("\r\n".join(map(json.dumps, RUNS)), "an object a line"),
    "a list under a name": ({"project": "p", "tags": ["a"], "data": {"runs": RUNS}}, "a list of objects under 'data.runs'"),
    "lists for columns": (json.dumps(COLUMNS, indent=1), "a list for each column"),
    "pandas, columns": (
        json.dumps({name: dict(enumerate(c)) for name, c in COLUMNS.items()}, indent=1),
        "an object for each column",
    ),
    "pandas, index": (json.dumps(dict(enumerate(RUNS)), indent=1), "an object for each row"),
    "pandas, split": (
        json.dumps({"columns": list(COLUMNS), "index": [0, 1], "data": [list(run.values()) for run in RUNS]}, indent=1),
        "columns and data",
    ),
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_read_and_named(tmp_path: Path, shape: str, indent: int | None) -> None:
    content, what = SHAPES[shape]
    path = write(tmp_path, content if isinstance(content, str) else json.dumps(content, indent=indent))
    assert SOURCE.sniff(path) == "it is JSON"
    assert SOURCE.read(path).what == f"JSON, {what}" and SOURCE.read(path).notes == ()
    assert columns(path) == COLUMNS


def test_an_object_for_each_run_by_its_name(tmp_path: Path) -> None:
    assert columns(write(tmp_path, dict(zip("ab", RUNS, strict=True)), "x")) == {"name": ["a", "b"], **COLUMNS}


def test_objects_inside_of_objects(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "config": {"lr": {"value": 0.1, "desc": None}, "model": {"width": 128, "empty": {}}}, "betas": [0.9, 0.95]},
        {"config": {"lr": {"value": 0.2}}, "id": "b", "a.b": 1, "a": {"b": 2}},
    ]
    assert columns(write(tmp_path, rows)) == {
        "id": ["a", "b"],
        "config.lr": [0.1, 0.2],
        "config.model.width": [128, None],
        "betas": ["[0.9, 0.95]", None],
        "a.b": [None, 1],
        "a.b (2)": [None, 2],
    }


def test_a_configuration_as_text(tmp_path: Path) -> None:
    """As W&B's API sends it."""
    rows = [{"node": {"name": name, "config": json.dumps({"lr": {"value": 0.1}})}} for name in "ab"]
    path = write(tmp_path, {"data": {"project": {"runs": {"edges": rows}}}})
    assert columns(path) == {"node.name": ["a", "b"], "node.config.lr": [0.1, 0.1]}


def test_numbers_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, '{"loss": NaN, "seed": 1}\n{"loss": -Infinity, "seed": null}\n{"loss": 2, "seed": ""}\n')
    loss = columns(path)["loss"]
    assert math.isnan(loss[0]) and loss[1:] == [-math.inf, 2.0]
    assert columns(path)["seed"] == ["1", None, None]


def test_numbers_beside_words_keep_their_digits(tmp_path: Path) -> None:
    column = SOURCE.read(write(tmp_path, [{"loss": 1 / 3}, {"loss": "diverged"}, {"loss": 1e-9}, {"loss": math.nan}])).frame[
        "loss"
    ]
    numbers = read_numbers(column)
    assert numbers.values.to_list()[:3] == [1 / 3, None, 1e-9] and math.isnan(numbers.values[3])
    assert numbers.words.to_list() == [False, True, False, False]


def test_numbers_of_any_size(tmp_path: Path) -> None:
    path = write(tmp_path, [{"seed": 2**70, "flops": 10**400}, {"seed": 1, "flops": 1}])
    assert columns(path) == {"seed": [2.0**70, 1.0], "flops": [math.inf, 1.0]}


def test_the_last_line_may_still_be_written(tmp_path: Path) -> None:
    text = "\n".join(map(json.dumps, RUNS))
    raw = SOURCE.read(write(tmp_path, text + '\n{"width": 512, "lr"'))
    assert raw.frame["width"].to_list() == [128, 256] and raw.frame[ROW].to_list() == [1, 2]
    assert len(raw.notes) == 1 and "line 3" in raw.notes[0]
    assert "line 2" in refusal(write(tmp_path, text.replace("\n", "\n{\n")))


def test_packed_lines(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"  # its name does not count
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, RUNS)).encode()))
    assert SOURCE.sniff(str(path)) and columns(str(path)) == COLUMNS
    assert SOURCE.read(str(path)).what == "JSON, an object a line, gzip"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("[]", "a list"),
        ("{}", "no rows"),
        ("[1, 2]", "a list"),
        ('"words"', "text"),
        ('[{"a": 1},', "no JSON"),
        ('{"a": 1}\n[1]\n{"a": 2}', "line 2 holds a list"),
        ('{\n"a": [1, 2],\n"b": [1]}', "length"),
        ('{\n"a": [{"x": 1}],\n"b": [{"x": 2}]}', "a and b"),
        ('{"columns": ["a", "b"], "data": [[1, 2], [3]]}', "row 2"),
        ('[{"a": ' + "9" * 5000 + "}]", "digits"),
        ("[" * 100_000, "deeply"),
        ("nothing of the kind", "no JSON"),
    ],
)
def test_what_holds_no_runs(tmp_path: Path, content: str, said: str) -> None:
    assert said in refusal(write(tmp_path, content))


def test_what_is_nested_without_end(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"lr": 0.1}
    for _ in range(400):
        deep = {"x": deep}
    (column,) = columns(write(tmp_path, [deep])).values()
    assert column[0].startswith('{"x": {"x": ')


def test_what_is_not_taken(tmp_path: Path) -> None:
    assert SOURCE.sniff(write(tmp_path, "{lr},loss\n1,2\n", "runs.csv")) is None
    assert SOURCE.sniff(write(tmp_path, "", "runs.json")) is None and SOURCE.sniff(str(tmp_path)) is None
    assert "no such file" in refusal(str(tmp_path / "none.json"))


def test_half_a_character_is_shown_as_a_question_mark(tmp_path: Path) -> None:
    """JSON can have it; no table can."""
    path = write(tmp_path, '{"lr": 1, "na\\ud800me": "a\\ud800b"}\n{"lr": 2, "na\\ud800me": null}\n', "runs.jsonl")
    assert columns(path) == {"lr": [1, 2], "na?me": ["a?b", None]}
