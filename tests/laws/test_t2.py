import numpy as np
import polars as pl
import pytest
from ladders import CHECKPOINTS, checkpoints

from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.t2 import TrainToTest


@pytest.mark.parametrize("approach", [1, 2])
def test_both_approaches_are_recovered(approach):
    law = TrainToTest(approach=approach, draws=100)
    rows = checkpoints(approach)
    found = law.fit(rows)
    assert found.predict(rows)[0] == pytest.approx(rows["loss"].to_numpy(), rel=1e-3)
    beyond = pl.DataFrame({"N": [3e9], "D": [1e11], "k": [1000.0]})
    expected = np.exp(law.ln_loss(CHECKPOINTS[approach], *(np.log(beyond[name].to_numpy()) for name in "NDk")))[0]
    assert found.predict(beyond)[0] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("approach", [1, 2])
def test_a_budget_of_inference_wants_a_smaller_model_and_more_tokens(approach):
    """Than training alone does; the less so the larger it is, as the forms have it: G (2 N / C_inf)^gamma flattens."""
    found = TrainToTest(approach=approach, draws=100).fit(checkpoints(approach, noise=1e-3))
    theta = CHECKPOINTS[1][:, [1, 2, 0, 4, 5]] if approach == 1 else CHECKPOINTS[2][:, :5]
    alone = float(np.exp(Chinchilla().ln_optimum(theta, np.log(1e20))[0]))
    budgets = [found.best(1e20, flops) for flops in (4e9, 4e10, 4e11)]
    for one in budgets:
        assert one.N.value < 0.7 * alone
        assert one.D.value > 1e20 / 6 / alone
    assert budgets[0].N.value < budgets[1].N.value < budgets[2].N.value
    assert budgets[0].k.value < budgets[1].k.value < budgets[2].k.value


def test_the_optimum_needs_an_inference_budget():
    rows = checkpoints(1)
    assert TrainToTest(draws=100).fit(rows).optimal((1e20,)) == ()
    best = TrainToTest(draws=100, inference_flops=1e10).fit(rows).optimal((1e20,))[0]
    assert 6 * best.N.value * best.D.value == pytest.approx(1e20, rel=1e-6)


def test_what_cannot_be_identified_is_refused():
    rows = checkpoints(1)
    with pytest.raises(CheckFailed, match="3 or more different k"):
        TrainToTest().fit(rows.filter(pl.col("k") < 10))
    with pytest.raises(CheckFailed, match="needs the pretraining loss"):
        TrainToTest(approach=2).fit(rows.with_columns(lm_loss=pl.lit(0.0)))
    with pytest.raises(CheckFailed, match="6 checkpoints or more"):
        TrainToTest().fit(rows.filter(pl.col("N").rank("dense") == pl.col("D").rank("dense")))


def test_a_checkpoint_counts_once_however_often_it_is_sampled():
    """Its losses at several k share its error: more of them do not make the intervals of N and D narrower."""
    rows, law = checkpoints(1, noise=0.01), TrainToTest(draws=100)
    once, often = law.fit(rows).parameters, law.fit(pl.concat([rows] * 4)).parameters
    for name in ("alpha", "beta"):
        assert often[name].model_dump() == pytest.approx(once[name].model_dump(), rel=0.02), name


def test_budgets_that_pay_for_no_model_are_refused():
    found = TrainToTest(draws=100).fit(checkpoints(1))
    for train, inference in ((1e20, 1e3), (1e6, 1e10)):
        with pytest.raises(UsageError, match="pay for no model"):
            found.best(train, inference)
