"""What a program says: patterns in its output and keys of its files, as it comes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from hptransfer.trainers.command.output import Key, Pattern, as_number


def test_the_last_match_counts_and_a_step_in_its_line_is_its_step(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one = Pattern(r"val loss ([-+.0-9e]+|nan)", log)
    assert list(one.new()) == []
    log.write_text("step 10/100: train loss 5, val loss 3.5\n")
    assert list(one.new()) == [(10, 3.5)]
    with log.open("a") as file:
        file.write("iter: 20 val loss 3.2\rIteration 30, val loss 3.1\nval loss na")
    assert list(one.new()) == [(20, 3.2), (30, 3.1)]
    with log.open("a") as file:
        file.write("n")
    assert list(one.new()) == []
    ((step, value),) = one.new(ended=True)
    assert step is None and math.isnan(value)


def test_groups_may_be_named(tmp_path: Path) -> None:
    (log := tmp_path / "log").write_text("[7] ppl 12.5 loss 2.5\n")
    assert list(Pattern(r"\[(?P<step>\d+)\] ppl (?P<ppl>\S+) loss (?P<loss>\S+)", log).new()) == [(7, 2.5)]


def test_output_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    (log := tmp_path / "log").write_bytes(b"\xff\xfe loss 2.5\n")
    assert list(Pattern(r"loss (\S+)", log).new()) == [(None, 2.5)]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.5", 3.5), ("1,234.5", 1234.5), ("2.5,", 2.5), ("-inf", -math.inf), (True, None), ("none", None), (None, None)],
)
def test_numbers(text: object, value: float | None) -> None:
    assert as_number(text) == value


def test_a_log_of_json_lines_is_read_as_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    one = Key("val/loss", file)
    assert list(one.new()) == []
    file.write_text('{"step": 1, "val/loss": 3.0}\n{"step": 2, "train/loss": 2.9}\n{"step": 3, "val": {"lo')
    assert list(one.new()) == [(1, 3.0)]
    file.write_text('{"step": 1, "val/loss": 3.0}\n{"step": 2, "train/loss": 2.9}\n{"step": 3, "val": {"loss": "2.5"}}\n')
    os.utime(file, ns=(1, 1))
    assert list(one.new()) == [(3, 2.5)]


def test_a_file_that_is_written_anew_is_new_even_where_it_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"loss": 3.0}))
    os.utime(file, ns=(1, 1))
    one = Key("loss", file)
    assert list(one.new()) == [(None, 3.0)] and list(one.new(ended=True)) == []
    file.write_text(json.dumps({"loss": 3.0}))
    assert list(one.new(ended=True)) == [(None, 3.0)]


def test_a_table_whose_last_number_may_be_half_written(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("step,loss\n1,3.25\n2,3.")
    one = Key("loss", file)
    assert list(one.new()) == [(1, 3.25)]
    file.write_text("step,loss\n1,3.25\n2,3.125")
    os.utime(file, ns=(1, 1))
    assert list(one.new()) == []
    assert list(one.new(ended=True)) == [(2, 3.125)] and list(one.new(ended=True)) == []
