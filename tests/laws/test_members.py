"""Every law that is registered does what a law must."""

import pytest
from ladders import TABLES

from hptransfer.laws import LAWS
from hptransfer.testing import check_law


def test_all_have_a_table():
    assert {*TABLES} == {*LAWS.names()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "multi-power" else name for name in TABLES]
)
def test_a_law_keeps_the_protocol(name):
    check_law(LAWS.get(name)(), TABLES[name])
