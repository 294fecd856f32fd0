from __future__ import annotations

import pytest

from benchmarks import report_speed


@pytest.mark.parametrize(
    ("seconds", "megabytes", "said"),
    [
        (9.9, 4.9, []),
        (10.4, 4.9, ["10.40 seconds: the limit is 10"]),
        (11.0, 6.0, ["11.00 seconds: the limit is 10", "6.00 megabytes: the limit is 5"]),
    ],
)
def test_the_benchmark_names_the_limits_that_a_report_exceeds(seconds: float, megabytes: float, said: list[str]) -> None:
    assert report_speed.exceeded(seconds=seconds, megabytes=megabytes) == said
