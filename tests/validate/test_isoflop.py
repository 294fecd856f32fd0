import math

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.validate.isoflop import isoflop_optimum

# arXiv 2512.05620, figure 13 (digitised): tokens per parameter and final loss at the compute of 190M, 380M and 640M at 20 TPP.
TPP = {
    "S": [1.72, 2.17, 2.79, 3.64, 4.85, 6.61, 9.24, 13.34, 20.0, 31.44, 52.48],
    "M": [2.18, 2.59, 3.11, 3.76, 4.59, 5.66, 7.07, 8.95, 11.49, 15.02, 20.0, 27.25, 38.11],
    "L": [2.48, 3.29, 4.44, 6.16, 7.33, 8.78, 10.62, 12.97, 16.02, 20.0, 25.31, 32.51],
}
LOSSES = {
    ("adamw", "S", 10.018): "3.3046 3.2673 3.2616 3.2522 3.2364 3.2284 3.2295 3.2260 3.2362 3.2553 3.2873",
    ("adamw", "M", 9.982): "3.0452 3.0396 3.0303 3.0125 3.0091 3.0052 2.9968 2.9981 2.9963 3.0004 3.0101 3.0172 3.0356",
    ("adamw", "L", 8.805): "2.8853 2.8727 2.8555 2.8516 2.8534 2.8500 2.8573 2.8555 2.8600 2.8629 2.8790 2.8809",
    ("muon", "S", 7.242): "3.1955 3.1955 3.1749 3.1678 3.1585 3.1572 3.1604 3.1663 3.1779 3.2026 3.2376",
    ("muon", "M", 7.365): "2.9659 2.9608 2.9568 2.9530 2.9496 2.9460 2.9432 2.9437 2.9457 2.9509 2.9595 2.9712 2.9895",
    ("muon", "L", 7.487): "2.8242 2.8156 2.8100 2.8064 2.8058 2.8076 2.8082 2.8120 2.8155 2.8187 2.8267 2.8371",
}


@pytest.mark.parametrize(("optimizer", "budget", "vertex"), LOSSES, ids=lambda value: str(value))
def test_the_papers_vertices(optimizer, budget, vertex):
    losses = [float(loss) for loss in LOSSES[optimizer, budget, vertex].split()]
    assert isoflop_optimum(TPP[budget], losses) == pytest.approx(vertex, rel=0.01)


def test_an_exact_parabola():
    tpp = [2.0, 30.0, 11.0]
    losses = [3 + 0.1 * (math.log10(one) - math.log10(8.0)) ** 2 for one in tpp]
    assert isoflop_optimum(tpp, losses) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("tpp", "losses", "message"),
    [
        ([2.0, 20.0, 20.0], [3.0, 2.9, 2.91], "three or more, there are 2"),
        ([2.0, 8.0, 20.0], [3.0, 2.9, 2.85], "does not turn between 2 and 20"),
        ([2.0, 8.0, 20.0], [2.9, 3.0, 2.9], "does not turn"),
    ],
    ids=["two", "falls on", "hill"],
)
def test_without_a_minimum_between_the_runs_there_is_no_optimum(tpp, losses, message):
    with pytest.raises(UsageError, match=message):
        isoflop_optimum(tpp, losses)
