"""Rows with any keys, as a table."""

import math

import polars as pl
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.rows import flat, parsed, table
from hptransfer.runs.sources.source import ROW


def test_nested_keys_are_joined_by_dots():
    nested = {"lr": 0.1, "model": {"width": 8, "heads": {"n": None}, "empty": {}}, "betas": [0.9, 0.95], 3: True}
    found = {
        "a.lr": 0.1,
        "a.model.width": 8,
        "a.model.heads.n": None,
        "a.model.empty": "{}",
        "a.betas": "[0.9, 0.95]",
        "a.3": True,
    }
    assert flat(nested, "a.") == found


def test_a_column_has_the_type_that_all_of_its_cells_have():
    frame = table([{"a": 1, "b": 1, "c": 1, "d": True}, {"b": math.nan, "c": "x", "e": 2**70}])
    assert dict(frame.schema) == {
        ROW: pl.Int64,
        "a": pl.Int64,
        "b": pl.Float64,
        "c": pl.String,
        "d": pl.Boolean,
        "e": pl.Float64,
    }
    assert frame[ROW].to_list() == [1, 2] and frame["a"].to_list() == [1, None] and math.isnan(frame["b"][1])
    assert frame["e"].to_list() == [None, 2.0**70]


def test_what_holds_itself_ends():
    mapping: dict = {"x": 1}
    mapping["again"] = mapping
    assert flat(mapping)["again.again.x"] == 1
    items: list = []
    items.append(items)
    assert flat({"items": items}) == {"items": "list"}


def test_what_unfolds_without_end_is_refused_at_once():
    mapping: dict = {"x": 1}
    for _ in range(60):
        mapping = {"a": mapping, "b": mapping}
    with pytest.raises(UsageError):
        flat(mapping)
    items: list = [1]
    for _ in range(60):
        items = [items, items]
    assert len(flat({"items": items})["items"]) < 10_000


@pytest.mark.parametrize("text", ["", '{"a": ', "[" * 100_000, "1" * 5_000, b"\xff\xfe"])
def test_what_is_no_json_is_nothing(text):
    assert parsed(text) is None
