"""Cells of text that stand for numbers, and those that stand for two."""

from __future__ import annotations

import math

import polars as pl
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.cells import EMPTY, decimal_mark, numbers_of, read_numbers, with_numbers


def column(*cells: str | None) -> pl.Series:
    return pl.Series("width", cells, dtype=pl.String)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("128", 128),
        (" 0.0625 ", 0.0625),
        ("+1e-5", 1e-5),
        ("6.25E-02", 0.0625),
        ("\N{MINUS SIGN}5", -5),
        (".5", 0.5),
        ("125M", 125e6),
        ("1.3B", 1.3e9),
        ("2.3b", 2.3e9),
        ("160 m", 160e6),
        ("4k", 4000),
        ("1T", 1e12),
        ("2G", 2e9),
        ("768d", 768),
        ("300B tokens", 300e9),
        ("2.5 Btok", 2.5e9),
        ("70M params", 70e6),
        ("1e9", 1e9),
        ("1_024", 1024),
        ("131_072", 131072),
        ("1 024", 1024),
        ("1\u202f024,5", 1024.5),
        ("1'024'000", 1024000),
        ("1,024,000", 1024000),
        ("1,024.5", 1024.5),
        ("1.024.000", 1024000),
        ("1.024,5", 1024.5),
        ("0,0625", 0.0625),
        ("5,2655", 5.2655),
        ("0,125", 0.125),
        ("1,024e-3", 1.024e-3),
        ("1,3B", 1.3e9),
        ("2^-8", 2**-8),
        ("2**10", 1024),
        ("3*2^-8", 3 * 2**-8),
        ("10^{-3}", 1e-3),
        ("5%", 0.05),
        ("2,5 %", 0.025),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("\u221e", math.inf),
    ],
)
def test_a_number_in_any_writing(cell: str, number: float) -> None:
    found = numbers_of(column(cell, None))
    assert found is not None and found[1] is None
    assert found[0] == number if math.isinf(number) else found[0] == pytest.approx(number, rel=1e-15)


@pytest.mark.parametrize("cell", ["nan", "NaN", "NAN", "-nan"])
def test_no_number_is_not_empty(cell: str) -> None:
    found = numbers_of(column(cell))
    assert found is not None and math.isnan(found[0])


def test_empty_cells_in_all_their_words() -> None:
    found = numbers_of(column("1", *EMPTY, "None", "N/A", "NULL", " ", None))
    assert found is not None and found.to_list() == [1.0] + [None] * (len(EMPTY) + 5)


@pytest.mark.parametrize(
    "cell",
    [
        *("diverged", "3e847291", "1e99999999999", "1.2.3", "2026-11-25", "12:30", "0x10", "1,2,3", "5 5", "--5", "e5", ".", ","),
        *("1,,024", "2^", "10M5", "1e", "$5", "0 days", "2^1e9"),
    ],
)
def test_words_are_no_numbers(cell: str) -> None:
    numbers = read_numbers(column("5", cell, ""))
    assert numbers.values.to_list() == [5.0, None, None]
    assert numbers.words.to_list() == [False, True, False]
    assert numbers_of(column("5", cell)) is None


@pytest.mark.parametrize(
    ("cells", "mark", "numbers"),
    [
        (("1,024", "2,048"), ".", (1024, 2048)),  # by the other columns
        (("5,105", "4,998"), ",", (5.105, 4.998)),
        (("5,105", "5,2655"), None, (5.105, 5.2655)),  # by its own cells
        (("5,105", "5,2655"), ".", (5.105, 5.2655)),
        (("1,024", "512.5"), None, (1024, 512.5)),
        (("1,024", "512"), ".", (1024, 512)),
        (("1.024", "2.048.000"), None, (1024, 2048000)),
        (("1.024", "2.048"), None, (1.024, 2.048)),  # as programs write
        (("5.105", "5.2655"), ",", (5.105, 5.2655)),
        (("0,5", "0.25"), None, (0.5, 0.25)),  # mixed, and each of them clear
    ],
)
def test_a_mark_is_what_its_column_shows_else_its_table(
    cells: tuple[str, ...], mark: str | None, numbers: tuple[float, ...]
) -> None:
    found = numbers_of(column(*cells), mark)  # type: ignore[arg-type]
    assert found is not None and found.to_list() == list(numbers)


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (("1,024", "2,048"), None),
        (("1,024", "512"), ","),  # 512 beside 1.024 would be odd, and so would 0,5 in another column beside 1,024 for a thousand
        (("1.024", "2.048"), ","),
        (("1.024", "0,5"), None),
        (("1,024", "0,5", "0.25"), None),
    ],
)
def test_what_may_mean_two_numbers_is_refused(cells: tuple[str, ...], mark: str | None) -> None:
    with pytest.raises(UsageError) as refused:
        read_numbers(column(*cells), mark)  # type: ignore[arg-type]
    said = str(refused.value)
    assert "'width'" in said and repr(cells[0]) in said and "1024" in said and "1.024" in said and "\n" not in said


def test_the_mark_of_a_table_is_that_of_its_numbers() -> None:
    commas = {"width": ["1,024"], "lr": ["0,5"]}
    assert decimal_mark(pl.DataFrame(commas)) == ","
    assert decimal_mark(pl.DataFrame({**commas, "lr": ["0.5"]})) == "."
    assert decimal_mark(pl.DataFrame({"width": ["1,024"], "lr": ["1e-3"]})) is None
    assert decimal_mark(pl.DataFrame({**commas, "loss": ["2.5"]})) is None
    assert decimal_mark(pl.DataFrame({**commas, "layers": ["1.2.3"], "note": ["a, b"]})) == ","


def test_a_table_has_numbers_where_all_cells_are() -> None:
    frame = pl.DataFrame(
        {
            "width": ["1,024", "512"],
            "lr": ["0.01", ""],
            "loss": ["5.1", "diverged"],
            "steps": ["10", "20"],
            "ok": [True, False],
            "seed": [1, 2],
        }
    )
    found = with_numbers(frame)
    assert found["width"].to_list() == [1024.0, 512.0]
    assert found["lr"].to_list() == [0.01, None]
    assert found["loss"].to_list() == ["5.1", "diverged"]
    assert found.select("ok", "seed").equals(frame.select("ok", "seed"))


def test_a_column_of_two_readings_is_refused_when_it_is_asked_for() -> None:
    frame = pl.DataFrame({"width": ["1,024", "2,048"], "lr": ["1e-3", "1e-4"]})
    assert with_numbers(frame)["width"].to_list() == ["1,024", "2,048"]


@pytest.mark.parametrize("values", [[True, False], [[1.0], [2.0]], [{"a": 1}, {"a": 2}]])
def test_what_is_neither_text_nor_number_is_none(values: list[object]) -> None:
    numbers = read_numbers(pl.Series("lr", values))
    assert numbers.words.to_list() == [True, True] and numbers.values.to_list() == [None, None]


def test_numbers_stay_what_they_are() -> None:
    numbers = read_numbers(pl.Series("lr", [1, None, 3]))
    assert numbers.values.to_list() == [1.0, None, 3.0] and not numbers.words.any()


def test_numbers_among_words_are_written_as_programs_do() -> None:
    """So that they mean the same without the table whose marks made them clear."""
    frame = pl.DataFrame({"lr": ["0,5", "0,25", "0,1"], "loss": ["5,105", "diverged", "4"], "name": ["1", "b", "1.0"]})
    found = with_numbers(frame)
    assert found["loss"].to_list() == ["5.105", "diverged", "4"] and found["name"].to_list() == ["1", "b", "1.0"]
    assert read_numbers(found["loss"]).values.to_list() == [5.105, None, 4.0]


def test_a_column_that_would_be_misread_alone_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="'width'"):
        with_numbers(pl.DataFrame({"lr": ["0,5", "0,25"], "width": ["1.024", "2.048"]}))
