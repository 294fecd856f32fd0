"""Sheets with a table somewhere in them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from workbooks import write_workbook

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.cells import read_numbers
from hptransfer.runs.sources.excel import SOURCE
from hptransfer.runs.sources.source import ROW

TINY = 2.0**-40  # what Excel shows of it as text is 0.000000000
HEADER = ["width", "lr", "loss"]


def test_the_first_sheet_that_holds_a_table_is_read(tmp_path: Path) -> None:
    path = write_workbook(
        tmp_path / "runs",
        {
            "about": [["Our sweep"], ["by hand"]],
            "A": [[], ["Our sweep"], [], [None, *HEADER, "loss"], [None, 128, TINY, 5.25, 1], [], [None, 256, 1 / 3, 4.5, 2]],
            "B": [HEADER, [1, 2, 3]],
        },
    )
    assert SOURCE.sniff(path)
    raw = SOURCE.read(path)
    assert raw.frame.to_dict(as_series=False) == {
        ROW: [5, 7],
        "width": [128, 256],
        "lr": [TINY, 1 / 3],
        "loss": [5.25, 4.5],
        "loss (2)": [1, 2],
    }
    assert raw.what == "Excel, sheet 'A'"
    assert "B" in raw.notes[0] and "about" not in raw.notes[0] and "'loss (2)'" in raw.notes[1]


def test_numbers_beside_words_keep_their_digits(tmp_path: Path) -> None:
    rows = [[128, TINY, 1 / 3], ["125M", "1e-3", "diverged"], ["256d", 0.5, "#N/A"], [512, "0,5", "#DIV/0!"]]
    raw = SOURCE.read(write_workbook(tmp_path / "runs.xlsx", {"A": [HEADER, *rows]}))
    assert raw.notes == ()
    assert read_numbers(raw.frame["width"]).values.to_list() == [128, 125e6, 256, 512]
    assert read_numbers(raw.frame["lr"]).values.to_list() == [TINY, 1e-3, 0.5, 0.5]
    loss = read_numbers(raw.frame["loss"])
    assert loss.values.to_list() == [1 / 3, None, None, None] and loss.words.to_list() == [False, True, False, False]


def test_true_is_no_number(tmp_path: Path) -> None:
    raw = SOURCE.read(write_workbook(tmp_path / "runs.xlsx", {"A": [["width", "ok"], [128, True], [256, False]]}))
    assert raw.frame["ok"].to_list() == ["true", "false"]


def test_sheets_without_a_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no rows.*A and B"):
        SOURCE.read(write_workbook(tmp_path / "runs.xlsx", {"A": [["words"]], "B": []}))


def test_what_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "runs.xlsx"
    path.write_text("width,lr\n128,0.1\n")
    assert SOURCE.sniff(str(path)) is None and SOURCE.sniff(str(tmp_path / "none.xlsx")) is None
    with pytest.raises(UsageError, match="cannot be read as Excel"):
        SOURCE.read(str(path))
    with pytest.raises(UsageError, match="no such file"):
        SOURCE.read(str(tmp_path / "none.xlsx"))


def test_what_must_be_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_workbook(tmp_path / "runs.xlsx", {"A": [HEADER, [1, 2, 3]]})
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(UsageError, match=r"pip install 'hptransfer\[excel\]'"):
        SOURCE.read(path)
