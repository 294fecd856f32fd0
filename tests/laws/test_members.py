"""Every law that is registered does what a law must."""

import polars as pl
import pytest
from ladders import arms, checkpoints, curves

from hptransfer.laws import LAWS
from hptransfer.testing import check_law
from hptransfer.testing.ladders import ladder, profiles

TABLES = {
    "chinchilla": ladder(noise=0.002),
    "skaling": ladder(noise=0.002),
    "farseer": ladder(noise=0.002),
    "isoflop": profiles(noise=0.002),
    "envelope": ladder(noise=0.001, sizes=10, ratios=(2, 3, 5, 8, 12, 20, 30, 50, 80)),
    "annealing": curves(noise=0.0005),
    "multi-power": curves(noise=0.0005).filter(pl.col("run").is_in(["cosine", "two-stage"])),
    "t2": checkpoints(approach=1, noise=0.001),
    "progress": arms(noise=0.002),
}


def test_all_have_a_table():
    assert {*TABLES} == {*LAWS.names()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "multi-power" else name for name in TABLES]
)
def test_a_law_keeps_the_protocol(name):
    check_law(LAWS.get(name)(), TABLES[name])
