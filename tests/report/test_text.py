from __future__ import annotations

import pytest

from hptransfer.base.intervals import Interval
from hptransfer.report import text
from hptransfer.validate.result import Multiplier


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.001, "0.00100"),
        (0.0123456, "0.0123"),
        (0.00009996, "0.000100"),
        (12.345, "12.3"),
        (123456.0, "123,456"),
        (1e-8, "1.00e-8"),
        (0.0, "0"),
    ],
)
def test_plain(value: float, words: str) -> None:
    assert text.plain(value) == words


def test_counts_and_durations() -> None:
    assert [text.count(n) for n in (950, 8192, 2_490_368, 7.1e9, 4e15)] == ["950", "8,192", "2.49 M", "7.10 G", "4.00e15"]
    assert [text.duration(s) for s in (0.412, 42, 59.7, 310, 12_000)] == ["0.41 s", "42 s", "60 s", "5 min 10 s", "3 h 20 min"]


def test_intervals() -> None:
    assert text.bounds(Interval(value=2, low=1, high=3)) == "(1.00\N{EN DASH}3.00)"
    assert text.bounds(Interval(value=2, low=1, high=None)) == "(from 1.00)"
    assert text.bounds(Interval(value=2, low=None, high=3)) == "(up to 3.00)"
    assert text.bounds(Interval(value=2, low=None, high=None)) == "(no interval)"
    assert text.percent_bounds(Interval(value=0.001, low=0.0, high=0.0021)) == "(0.00\N{EN DASH}0.21)"


def test_multipliers() -> None:
    known = Multiplier(value=1.424, low=1.2, high=1.6, bracketed=True)
    assert (text.multiplier(known), text.multiplier_bounds(known)) == ("1.42x", "(1.20\N{EN DASH}1.60)")
    bound = Multiplier(value=2, low=None, high=None, bracketed=False, bound=">")
    assert (text.multiplier(bound), text.multiplier_bounds(bound)) == ("> 2.00x", "(not bracketed)")
    assert text.multiplier_in_full(known) == "1.42x (1.20\N{EN DASH}1.60)"
    assert text.multiplier_in_full(None) == "-"
    assert text.multiplier(bound.model_copy(update={"bound": "<"})) == "< 2.00x"


@pytest.mark.parametrize(
    ("p", "words", "sentence"),
    [
        (0.0003, "< 0.001", "p < 0.001"),
        (0.9999, "> 0.999", "p > 0.999"),
        (0.0312, "0.031", "p = 0.031"),
        (0.3, "0.30", "p = 0.30"),
    ],
)
def test_p_values(p: float, words: str, sentence: str) -> None:
    assert (text.probability(p), text.p_value(p)) == (words, sentence)
