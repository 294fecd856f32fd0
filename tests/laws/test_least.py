import numpy as np
import pytest
from scipy.optimize import minimize

from hptransfer.laws.least import fit_many, huber


def test_many_fits_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 40)
    y = 2 * np.exp(-0.7 * x) + 0.5 + 0.02 * rng.standard_t(2, 40)
    weights = rng.exponential(size=(3, 40))

    def form(theta):
        a, b, c = theta.T[:, :, None]
        return a * np.exp(-b * x) + c

    found, minima = fit_many(form, y, np.tile([1.0, 1.0, 0.0], (3, 1)), weights=weights, threshold=0.01)
    for theta, least, own in zip(found, minima, weights, strict=True):

        def objective(t, own=own):
            return float(own @ huber(form(t[None])[0] - y, 0.01))

        by_scipy = minimize(objective, theta, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000})
        assert least == pytest.approx(by_scipy.fun, rel=1e-6)
        assert theta == pytest.approx(by_scipy.x, rel=1e-3)


def test_a_start_without_a_number_does_not_spoil_the_others():
    x = np.linspace(1, 2, 10)
    found, minima = fit_many(lambda theta: np.log(theta[:, :1]) * x, np.log(3.0) * x, np.array([[-1.0], [2.0]]))
    assert np.isinf(minima[0])
    assert found[1, 0] == pytest.approx(3.0)


def test_each_fit_may_have_losses_of_its_own():
    x = np.linspace(1, 2, 10)
    slopes = np.array([[0.5], [2.0], [3.0]])
    found, _ = fit_many(lambda theta: theta[:, :1] * x, slopes * x, np.ones((3, 1)))
    assert found == pytest.approx(slopes)


def test_huber_is_a_parabola_and_then_a_line():
    assert huber(np.array([0.5, -0.5, 3.0]), 1.0) == pytest.approx([0.125, 0.125, 2.5])
