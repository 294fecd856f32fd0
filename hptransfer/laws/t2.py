"""Train-to-test: the size, the training tokens and the samples per question that are best together under a budget of training and
one of inference (Roberts et al., arXiv 2604.01411)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field
from scipy.special import betaln

from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.base.intervals import Array, Interval
from hptransfer.base.words import plain
from hptransfer.laws.bootstrap import weighted
from hptransfer.laws.chinchilla import Chinchilla, linear_amplitudes
from hptransfer.laws.columns import Column, D, N, ln_of
from hptransfer.laws.law import ComputeOptimum, Fitted, Law, interval, intervals, quiet, require_spread
from hptransfer.laws.least import DRAWN, fit_many, jacobian
from hptransfer.laws.plot import Along, Plot, stacked

K = Column("k", "samples per question", "count", ("samples",))
LM_LOSS = Column("lm_loss", "loss in pretraining, nats per token (approach 2)", "rate", otherwise="0*N")
EXPONENTS = (0.15, 0.4, 0.8)  # that fits of approach 1 start from
SLOPES, SPREADS = (2.0, 5.0, 12.0), (0.0, 2.0)  # that fits of approach 2 start from
PLACES = 20  # of the inference budget, in a figure
SIZES, SMALLEST = 400, 1e5  # of the grid on which the best one is looked for, and its smallest
FEWEST = 6  # checkpoints: N and D have five coefficients
NAMES_1 = ("E", "A", "B", "G", "alpha", "beta", "gamma")
NAMES_2 = ("theta0", "theta1", "theta2", "theta3", "theta4")


class TrainToTest(Law):
    """The loss is -ln pass@k of checkpoints with N parameters after D tokens that draw k samples for each question.

    ``approach`` 1: E + A N^-alpha + B D^-beta + G k^-gamma, of a loss that is the mean of -ln pass@k over questions. 2, of -ln of
    the mean pass@k, which is lower: the chance that a sample solves a question is Beta-distributed
    over questions, with a mean mu = theta2 / (1 + exp(theta1 (L - theta0))) and a concentration nu = exp(theta3 + theta4 L) that
    follow from the pretraining loss L, which is Chinchilla's of N and D; pass@k = 1 - B(mu nu, (1 - mu) nu + k) / B(mu nu, (1 -
    mu) nu). The paper fits the two one after the other; here they are one fit, so that a draw of the bootstrap is of both.
    Both are least squares of ln loss; the paper's are of the loss, and of pass@k. A draw weights whole checkpoints, as the
    losses of one checkpoint at several k share its error.

    The best N at 6 N D FLOPs of training and 2 N k FLOPs for each token served (``inference_flops``) has D = C / 6 N and k =
    C_inf / 2 N, at least 1. It is smaller than the best of training alone, with more tokens. Where the inference budget grows at
    a fixed training budget it grows too, back towards that one: what k adds, G (2 N / C_inf)^gamma, flattens.
    """

    name = "t2"
    summary = "-ln pass@k of N, D and k samples, and what is best under budgets of training and inference"
    needs = (N, D, K, LM_LOSS)
    scale = "N"

    approach: Literal[1, 2] = 1
    inference_flops: float | None = Field(None, gt=0, description="FLOPs that may be spent on a token that is served, 2 N k")

    @quiet
    def fit(self, table: pl.DataFrame) -> TrainToTestFitted:
        """See `Law.fit`."""
        require_spread(table, self.name, 10, N=3, D=3, k=3)
        _, checkpoint = np.unique(table.select("N", "D").to_numpy(), axis=0, return_inverse=True)
        if (count := int(checkpoint.max()) + 1) < FEWEST:
            raise CheckFailed(f"law t2 needs {FEWEST} checkpoints or more that differ in N or D, there are {count}")
        if self.approach == 2 and not (table["lm_loss"].to_numpy() > 0).all():
            raise CheckFailed("law t2: approach 2 needs the pretraining loss of every row: say --scale 'lm_loss=...'")
        ln_n, ln_d, ln_k = ln_of(table, "N", "D", "k")
        y = np.log(table["loss"].to_numpy())
        checkpoint = checkpoint.ravel()
        if self.approach == 2:
            y, checkpoint = np.concatenate([y, np.log(table["lm_loss"].to_numpy())]), np.tile(checkpoint, 2)

        def form(theta: Array) -> Array:
            found = self.ln_loss(theta, ln_n, ln_d, ln_k)
            return found if self.approach == 1 else np.concatenate([found, CHINCHILLA.ln_loss(theta[:, :5], ln_n, ln_d)], axis=1)

        starts = self._starts(table, ln_n, ln_d, ln_k)
        found, minima = fit_many(form, y, starts)
        best = found[minima.argmin()]
        slopes = jacobian(form, best[None], form(best[None]))[0]
        weights = weighted(slopes, checkpoint, self.draws, np.random.default_rng(self.seed))
        drawn, _ = fit_many(form, y, np.tile(best, (self.draws, 1)), weights=weights, settled=DRAWN)
        theta = np.vstack([best, drawn])
        fitted = TrainToTestFitted(self, intervals(self._named(theta)), len(table), theta=theta)
        note = "say what a served token may cost with --option inference_flops=..., and the best size is told"
        return replace(fitted, notes=() if self.inference_flops else (note,))

    def ln_loss(self, theta: Array, ln_n: Array, ln_d: Array, ln_k: Array) -> Array:
        """ln of -ln pass@k (fits, rows) by coefficients (fits, p)."""
        if self.approach == 1:
            e, a, b, g, alpha, beta, gamma = theta.T[:, :, None]
            terms = np.exp(a - alpha * ln_n), np.exp(b - beta * ln_d), np.exp(g - gamma * ln_k)
            return np.asarray(np.log(np.exp(e) + sum(terms)))
        loss = np.exp(CHINCHILLA.ln_loss(theta[:, :5], ln_n, ln_d))
        middle, slope, ln_odds, spread, spread_slope = theta[:, 5:].T[:, :, None]
        mu = np.clip(1 / (1 + np.exp(-ln_odds)) / (1 + np.exp(slope * (loss - middle))), 1e-9, 1 - 1e-9)
        nu = np.exp(np.clip(spread + spread_slope * (loss - middle), -20, 20))
        failed = np.exp(betaln(mu * nu, (1 - mu) * nu + np.exp(ln_k)) - betaln(mu * nu, (1 - mu) * nu))
        return np.asarray(np.log(np.maximum(-np.log1p(-np.minimum(failed, 1 - 1e-12)), 1e-12)))

    def _starts(self, table: pl.DataFrame, ln_n: Array, ln_d: Array, ln_k: Array) -> Array:
        loss, found = table["loss"].to_numpy(), []
        if self.approach == 1:
            for exponents in product(EXPONENTS, repeat=3):
                terms = [np.exp(-power * x) for power, x in zip(exponents, (ln_n, ln_d, ln_k), strict=True)]
                found.append([*linear_amplitudes(np.ones_like(loss), *terms, target=loss), *exponents])
            return np.array(found)
        lm_loss = table["lm_loss"].to_numpy()
        rows = CHINCHILLA.starts(ln_n, ln_d, lm_loss)
        first, minima = fit_many(lambda theta: CHINCHILLA.ln_loss(theta, ln_n, ln_d), np.log(lm_loss), rows)
        best = first[minima.argmin()]
        for middle, slope, spread in product(np.quantile(lm_loss, (0.1, 0.5, 0.9)), SLOPES, SPREADS):
            found.append([*best, middle, slope, 1.0, spread, 0.0])
        return np.array(found)

    def _named(self, theta: Array) -> dict[str, Array]:
        """In the paper's names."""
        if self.approach == 1:
            return dict(zip(NAMES_1, [*np.exp(theta[:, :4]).T, *theta[:, 4:].T], strict=True))
        middle, slope, ln_odds, spread, spread_slope = theta[:, 5:].T
        values = (middle, slope, 1 / (1 + np.exp(-ln_odds)), spread - spread_slope * middle, spread_slope)
        return CHINCHILLA.named(theta[:, :5]) | dict(zip(NAMES_2, values, strict=True))


CHINCHILLA = Chinchilla()


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """The best size, tokens and samples per question at a training and an inference budget, and the pass@k there."""

    N: Interval
    D: Interval
    k: Interval
    accuracy: Interval


@dataclass(frozen=True)
class TrainToTestFitted(Fitted):
    """`TrainToTest` with its coefficients ``theta`` (1 + draws, p)."""

    law: TrainToTest
    theta: Array

    @quiet
    def predict(self, table: pl.DataFrame) -> Array:
        """-ln pass@k."""
        return np.exp(self.law.ln_loss(self.theta, *ln_of(table, "N", "D", "k")))

    @quiet
    def best(self, train_flops: float, inference_flops: float) -> Budgeted:
        """What is best under both budgets: 6 N D FLOPs of training, 2 N k for each token served.

        Raises UsageError where they pay for no model of `SMALLEST` parameters."""
        if (largest := min(inference_flops / 2, train_flops / 6e3)) < SMALLEST:
            budgets = f"{plain(train_flops)} training FLOPs and {plain(inference_flops)} inference FLOPs for each token"
            raise UsageError(f"law t2: {budgets} pay for no model of {plain(SMALLEST)} parameters: say larger ones")
        ln_n = np.linspace(math.log(SMALLEST), math.log(largest), SIZES)
        ln_d, ln_k = math.log(train_flops / 6) - ln_n, np.maximum(math.log(inference_flops / 2) - ln_n, 0.0)
        loss = self.law.ln_loss(self.theta, ln_n, ln_d, ln_k)
        at = loss.argmin(axis=1)
        accuracy = np.exp(-np.exp(loss[np.arange(len(at)), at]))
        n, d, k = (interval(np.exp(values[at])) for values in (ln_n, ln_d, ln_k))
        return Budgeted(N=n, D=d, k=k, accuracy=interval(accuracy))

    def optimal(self, flops: Sequence[float]) -> tuple[ComputeOptimum, ...]:
        """At each training budget with the law's inference budget; none where it has none."""
        if self.law.inference_flops is None:
            return ()
        found = []
        for compute in flops:
            best = self.best(compute, self.law.inference_flops)
            n, d = best.N, best.D
            assert n.low is not None and n.high is not None and d.low is not None and d.high is not None
            ratio = Interval(value=d.value / n.value, low=d.low / n.high, high=d.high / n.low)
            found.append(ComputeOptimum(compute, n, d, ratio))
        return tuple(found)

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """The best size, tokens and samples at the largest training budget, against the inference budget."""
        train = 6 * float((table["N"] * table["D"]).to_numpy().max())
        served = 2 * (table["N"] * table["k"]).to_numpy()
        budgets = np.geomspace(max(served.min(), 2 * SMALLEST), served.max(), PLACES)
        rows = [
            {"inference": budget, "series": series, "count": one.value, "low": one.low, "high": one.high}
            for budget in budgets.tolist()
            for best in [self.best(train, budget)]
            for series, one in (("parameters", best.N), ("training tokens", best.D), ("samples", best.k))
        ]
        frame = pl.DataFrame(rows, infer_schema_length=None)
        lines = frame.drop("low", "high").with_columns(look=pl.lit("line"))
        note = f"At {plain(train)} training FLOPs, the largest of the runs. Bands are 80 % intervals."
        x, y = Along("inference", "inference FLOPs for each token served"), Along("count", "parameters, tokens, samples")
        both = stacked([frame.with_columns(look=pl.lit("area")), lines])
        return (Plot("budgets", "Best size, tokens and samples against the inference budget", x, y, both, note),)
