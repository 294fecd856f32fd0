import numpy as np
import pytest

from hptransfer.laws.envelope import Envelope
from hptransfer.testing.ladders import TRUTH, ladder

RATIOS = (2, 3, 5, 8, 12, 20, 30, 50, 80)


def test_the_best_size_is_between_those_of_the_ladder():
    """Steps from one size to the next would put the exponent .011 off, the size at 1e20 FLOPs 3 %."""
    found = Envelope(draws=100).fit(ladder(sizes=10, ratios=RATIOS))
    assert found.parameters["a"].value == pytest.approx(TRUTH.a, abs=2e-3)
    best = found.optimal((1e20,))[0]
    assert best.N.value == pytest.approx(TRUTH.best_size(1e20), rel=0.01)
    assert 6 * best.N.value * best.D.value == pytest.approx(1e20, rel=0.01)


@pytest.mark.slow
def test_intervals_hold_what_they_should():
    """Of a hundred ladders 91 to 98 were held: what a parabola misses of a curve counts as noise."""
    held = np.zeros(2)
    for seed in range(100):
        found = Envelope(draws=150).fit(ladder(noise=0.003, seed=seed, sizes=10, ratios=RATIOS))
        best, a = found.optimal((1e20,))[0].N, found.parameters["a"]
        held += [a.holds(TRUTH.a), best.holds(TRUTH.best_size(1e20))]
    assert (held >= 75).all(), held
