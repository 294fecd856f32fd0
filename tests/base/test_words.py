"""Numbers as people read them."""

from __future__ import annotations

import pytest

from hptransfer.base import words
from hptransfer.base.errors import one_line
from hptransfer.base.intervals import Interval


@pytest.mark.parametrize(
    ("write", "value", "written"),
    [
        (words.plain, 0.001, "0.00100"),
        (words.plain, 0.0123456, "0.0123"),
        (words.plain, 0.00009996, "0.000100"),
        (words.plain, 12.345, "12.3"),
        (words.plain, 123456.0, "123,456"),
        (words.plain, 1e-8, "1.00e-8"),
        (words.plain, 0.0, "0"),
        (words.count, 950, "950"),
        (words.count, 8192, "8,192"),
        (words.count, 2_490_368, "2.49 M"),
        (words.count, 7.1e9, "7.10 G"),
        (words.count, 4e15, "4.00e15"),
        (words.duration, 0.412, "0.41 s"),
        (words.duration, 59.7, "60 s"),
        (words.duration, 310, "5 min 10 s"),
        (words.duration, 12_000, "3 h 20 min"),
        (words.probability, 0.0003, "< 0.001"),
        (words.probability, 0.9999, "> 0.999"),
        (words.probability, 0.0312, "0.031"),
        (words.probability, 0.3, "0.30"),
        (one_line, "a\nb\x1b[31m\u202ec", "a b [31m c"),
    ],
)
def test_numbers_and_text_in_words(write, value: object, written: str) -> None:
    assert write(value) == written


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [(1, 3, "1.00\N{EN DASH}3.00"), (1, None, "from 1.00"), (None, 3, "up to 3.00"), (None, None, "no interval")],
)
def test_the_ends_of_an_interval(low: float | None, high: float | None, written: str) -> None:
    interval = Interval(value=2, low=low, high=high)
    assert words.ends(interval) == written
    assert words.within(interval) == f"2.00 ({written})"
