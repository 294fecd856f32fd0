"""Whether training curves cross."""

import math

import pytest

from hptransfer.laws.series import curve_pairs


def curve(floor: float, rate: float, computes: list[float]) -> list[tuple[float, float]]:
    return [(c, floor + rate * c**-0.3) for c in computes]


COMPUTES = [1e9 * 2**i for i in range(12)]
SMALL, LARGE = curve(2.0, 800.0, COMPUTES[:8]), curve(1.5, 1400.0, COMPUTES[2:])
MEET = ((1400 - 800) / 0.5) ** (1 / 0.3)  # where 2 + 800 C^-.3 = 1.5 + 1400 C^-.3


def test_curves_that_stop_before_they_meet_do_not_cross() -> None:
    until = [point for point in SMALL if point[0] < MEET]
    (pair,) = curve_pairs({"small": until, "large": LARGE})
    assert pair.crossing is None and pair.flops == (COMPUTES[2], until[-1][0])
    assert pair.apart == pytest.approx(min(abs(small - large) / large for (c, small) in until for (d, large) in LARGE if c == d))


def test_a_crossing_is_found_where_it_is() -> None:
    longer = curve(2.0, 800.0, COMPUTES)
    assert COMPUTES[2] < MEET < COMPUTES[-1]
    (pair,) = curve_pairs({"small": longer, "large": LARGE})
    assert pair.crossing == pytest.approx(MEET, rel=0.05) and pair.apart == 0
    (turned,) = curve_pairs({"large": LARGE, "small": longer})
    assert turned.crossing == pytest.approx(pair.crossing)


def test_points_at_other_computes_are_compared_in_between() -> None:
    between = curve(1.5, 1400.0, [c * math.sqrt(2) for c in COMPUTES])
    (pair,) = curve_pairs({"small": curve(2.0, 800.0, COMPUTES), "large": between})
    assert pair.crossing == pytest.approx(MEET, rel=0.05)


def test_of_curves_that_are_nowhere_together_nothing_is_said() -> None:
    found = curve_pairs({"a": SMALL[:2], "b": LARGE, "c": []})
    assert [(pair.flops, pair.crossing, pair.apart) for pair in found] == [(None, None, None)] * 3
    (same,) = curve_pairs({"a": SMALL, "b": SMALL})
    assert same.crossing is None and same.apart == 0
