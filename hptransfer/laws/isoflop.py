"""IsoFLOP profiles: the best tokens per parameter at each compute budget, and how it moves with compute (arXiv 2203.15556,
approach 2; arXiv 2512.05620, figure 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array, Interval
from hptransfer.base.words import within
from hptransfer.laws.columns import ARM, FLOPS, D, N, groups
from hptransfer.laws.law import ComputeOptimum, Fitted, Law, interval, intervals, quiet, require_spread
from hptransfer.laws.least import line
from hptransfer.laws.plot import Plot

SAME_BUDGET = 1.15  # runs of one budget differ by less: whole batches, and models that are not quite of a size
FEWEST = 3  # sizes of a budget: a parabola


class IsoFlop(Law):
    """A parabola of the loss in ln tokens per parameter at every budget; its vertex is the optimum, and a power law of compute
    goes through the vertices. Without losses every row is an optimum that somebody found.

    ``fit_by``: ``parabola`` fits each budget by itself, ``joint`` puts the slopes and curvatures of an arm's budgets on
    lines in ln compute, which budgets of three or four sizes need. The noise is pooled over all budgets; losses are drawn
    anew with it, its own uncertainty included. What a parabola misses of a lopsided profile counts as noise. With several arms
    their ratios come from the same draws.
    """

    name = "isoflop"
    summary = (
        "a parabola of the loss in tokens per parameter at each compute budget (approach 2 of Hoffmann et al.); "
        "the best N goes as C^a, the best D as C^b"
    )
    needs = (FLOPS, N, D, ARM)
    scale = "flops"
    loss_optional = True

    fit_by: Literal["parabola", "joint"] = "parabola"

    def held_out(self, table: pl.DataFrame) -> pl.Series:
        """The largest budget, all of whose runs need not have the very same FLOPs."""
        *_, largest = groups(table, "flops", SAME_BUDGET)
        return pl.Series("held_out", table["flops"].to_numpy() >= largest["flops"].to_numpy().min())

    @quiet
    def fit(self, table: pl.DataFrame) -> IsoFlopFitted:
        """See `Law.fit`."""
        require_spread(table, self.name, FEWEST)
        rng = np.random.default_rng(self.seed)
        arms = {str(name[0]): rows for name, rows in table.partition_by("arm", as_dict=True, maintain_order=True).items()}
        found = {name: self._arm(name, rows, rng) for name, rows in arms.items()}
        named: dict[str, Array] = {}
        for name, arm in found.items():
            before = f"{name}." if len(found) > 1 else ""
            named |= {f"{before}{what}": values for what, values in arm.named.items()}
        first, *others = found
        for name in others:
            ratio = found[name].named["tokens_per_parameter"] / found[first].named["tokens_per_parameter"]
            named[f"{name}/{first}.tokens_per_parameter"] = ratio
        notes = tuple(f"{name}: {note}" if len(found) > 1 else note for name, arm in found.items() for note in arm.notes)
        parameters = intervals(named)
        return IsoFlopFitted(self, parameters, len(table), notes=notes, findings=_findings(found, parameters), arms=found)

    def _arm(self, name: str, rows: pl.DataFrame, rng: np.random.Generator) -> Profiles:
        if "loss" not in rows.columns:
            return _of_optima(rows, self.draws, rng)
        budgets, notes = [], []
        for part in groups(rows, "flops", SAME_BUDGET):
            ln_ratio = np.log((part["D"] / part["N"]).to_numpy())
            flops = float(np.exp(np.log(part["flops"].to_numpy()).mean()))
            if len(set(ln_ratio)) < FEWEST:
                notes.append(f"budget {flops:.3g}: left out, {len(set(ln_ratio))} sizes are no parabola")
            else:
                budgets.append(BudgetRuns(flops, ln_ratio, np.log(part["N"].to_numpy()), part["loss"].to_numpy()))
        if not budgets:
            raise CheckFailed(f"law isoflop needs {FEWEST} or more sizes at a budget; arm {name}: {'; '.join(notes)}")
        fit = _joint if self.fit_by == "joint" and len(budgets) > 1 else _apart
        return fit(name, budgets, self.draws, rng, notes)


def _findings(arms: Mapping[str, Profiles], parameters: Mapping[str, Interval]) -> tuple[str, ...]:
    """The best tokens per parameter of every arm, and their ratios to those of the first."""
    first, *others = arms
    found = []
    for name, arm in arms.items():
        ratio = within(parameters[f"{name}.tokens_per_parameter" if others else "tokens_per_parameter"])
        over = f", the geometric mean over {count} budgets" if (count := len(arm.flops)) > 1 else ""
        found.append(f"{f'{name} is best' if others else 'Best'} at {ratio} tokens per parameter{over}.")
    for name in others:
        ratio = within(parameters[f"{name}/{first}.tokens_per_parameter"])
        found.append(f"{name} is best at {ratio} times the tokens per parameter of {first}.")
    return tuple(found)


@dataclass(frozen=True)
class BudgetRuns:
    """The runs of one budget, ``flops`` each: ln tokens per parameter, ln parameters, loss (runs,)."""

    flops: float
    ln_ratio: Array
    ln_n: Array
    loss: Array


@dataclass(frozen=True)
class Profiles:
    """The vertices of an arm: ln tokens per parameter, ln N and the loss there (1 + draws, budgets), and the curvature of the
    loss in ln tokens per parameter (1 + draws, budgets), of budgets ``flops`` (budgets,)."""

    flops: Array
    ln_ratio: Array
    ln_n: Array
    loss: Array
    curvature: Array
    notes: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, Array]:
        """Exponents of the best N and D in compute, where there are two budgets, and the geometric mean of the best tokens per
        parameter."""
        found = {}
        if len(self.flops) > 1:
            a, b = (line(np.log(self.flops), values)[1] for values in (self.ln_n, self.ln_n + self.ln_ratio))
            found = {"a": a, "b": b}
        return found | {"tokens_per_parameter": np.exp(self.ln_ratio.mean(axis=1))}

    def at(self, flops: Array) -> tuple[Array, Array, Array, Array]:
        """ln tokens per parameter, ln N, ln loss and ln curvature (1 + draws, rows) at budgets (rows,), each on a line in ln
        compute."""
        x = np.log(flops)
        positive = (np.where(values > 0, values, np.nan) for values in (self.loss, self.curvature))
        parts = (self.ln_ratio, self.ln_n, *map(np.log, positive))
        ln_ratio, ln_n, ln_loss, ln_curvature = (
            middle[:, None] + slope[:, None] * (x - np.log(self.flops).mean())
            for middle, slope in (line(np.log(self.flops), values) for values in parts)
        )
        return ln_ratio, ln_n, ln_loss, ln_curvature


@dataclass(frozen=True)
class IsoFlopFitted(Fitted):
    """`IsoFlop` fitted: the vertices of every arm."""

    arms: dict[str, Profiles] = field(kw_only=True)

    @quiet
    def predict(self, table: pl.DataFrame) -> Array:
        """Of budgets beyond the fitted ones by the power laws of the vertex, its loss and the curvature."""
        result = np.full((1 + self.law.draws, len(table)), np.nan)
        for name, arm in self.arms.items():
            rows = np.flatnonzero((table["arm"] == name).to_numpy())
            ln_ratio, _, ln_loss, ln_curvature = arm.at(table["flops"].to_numpy()[rows])
            apart = np.log((table["D"] / table["N"]).to_numpy())[rows] - ln_ratio
            result[:, rows] = np.exp(ln_loss) + np.exp(ln_curvature) * apart**2
        return result

    @quiet
    def optimal(self, flops: Sequence[float]) -> tuple[ComputeOptimum, ...]:
        """On the power laws of the only arm; none where there are several, or one budget."""
        if len(self.arms) > 1:
            return ()
        arm = next(iter(self.arms.values()))
        if len(arm.flops) < 2:
            return ()
        ln_ratio, ln_n, _, _ = arm.at(np.asarray(flops))
        return tuple(
            ComputeOptimum(compute, interval(np.exp(n)), interval(np.exp(n + ratio)), interval(np.exp(ratio)))
            for compute, n, ratio in zip(flops, ln_n.T, ln_ratio.T, strict=True)
        )

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """Loss, and loss above the lowest of its budget, against tokens per parameter; the best ones against compute."""
        from hptransfer.laws.isoflop_plots import plots

        return plots(self, table)


def _apart(name: str, budgets: Sequence[BudgetRuns], draws: int, rng: np.random.Generator, notes: list[str]) -> Profiles:
    """A parabola for each budget."""
    designs = [np.vander(one.ln_ratio - one.ln_ratio.mean(), 3) for one in budgets]
    losses = _drawn([one.loss for one in budgets], designs, draws, rng)
    kept, ratio, loss, curvature = [], [], [], []
    for one, design, drawn in zip(budgets, designs, losses, strict=True):
        bend, slope, level = np.linalg.lstsq(design, drawn.T, rcond=None)[0]
        at = np.where(bend > 0, -slope / (2 * bend), np.nan)
        vertex = at + one.ln_ratio.mean()
        if not one.ln_ratio.min() <= vertex[0] <= one.ln_ratio.max():
            low, high = np.exp([one.ln_ratio.min(), one.ln_ratio.max()])
            notes.append(
                f"budget {one.flops:.3g}: left out, the loss does not turn between {low:.3g} and {high:.3g} tokens per parameter"
            )
            continue
        kept.append(one)
        ratio.append(vertex)
        loss.append(level - bend * at**2)
        curvature.append(bend)
    if not kept:
        raise CheckFailed(f"law isoflop: arm {name}: {'; '.join(notes)}")
    return _profiles(kept, np.stack(ratio, 1), np.stack(loss, 1), np.stack(curvature, 1), notes)


def _joint(name: str, budgets: Sequence[BudgetRuns], draws: int, rng: np.random.Generator, notes: list[str]) -> Profiles:
    """Slope and curvature of all budgets on lines in ln compute: loss = level + (s + s' ln C) u + (c + c' ln C) u^2, linear in
    all but the vertex. The curvature goes with the loss above the asymptote, which falls with compute."""
    ln_flops = np.log([one.flops for one in budgets])
    middle, centre = np.concatenate([one.ln_ratio for one in budgets]).mean(), ln_flops.mean()
    blocks = []
    for k, one in enumerate(budgets):
        u = one.ln_ratio - middle
        level = np.zeros((len(u), len(budgets)))
        level[:, k] = 1
        apart = ln_flops[k] - centre
        blocks.append(np.column_stack([u**2, u**2 * apart, u, u * apart, level]))
    design, loss = np.concatenate(blocks), np.concatenate([one.loss for one in budgets])
    (drawn,) = _drawn([loss], [design], draws, rng)
    bend, bend_along, slope, slope_along, *levels = np.linalg.lstsq(design, drawn.T, rcond=None)[0]
    curvature = bend[:, None] + bend_along[:, None] * (ln_flops - centre)
    if (curvature[0] <= 0).any():
        raise CheckFailed(f"law isoflop: arm {name}: the loss does not turn in tokens per parameter")
    at = -(slope[:, None] + slope_along[:, None] * (ln_flops - centre)) / (2 * np.where(curvature > 0, curvature, np.nan))
    for k, one in enumerate(budgets):
        low, high = np.exp([one.ln_ratio.min(), one.ln_ratio.max()])
        if not low <= np.exp(at[0, k] + middle) <= high:
            turns = f"the loss does not turn between {low:.3g} and {high:.3g} tokens per parameter"
            notes.append(f"budget {one.flops:.3g}: {turns}; its optimum is beyond them, by what the other budgets show")
    return _profiles(budgets, at + middle, np.stack(levels, 1) - curvature * at**2, curvature, notes)


def _profiles(budgets: Sequence[BudgetRuns], ln_ratio: Array, loss: Array, curvature: Array, notes: Sequence[str]) -> Profiles:
    """With ln N at the vertices: on a line in ln tokens per parameter, which it is where the compute is N D."""
    ln_n = []
    for k, one in enumerate(budgets):
        middle, slope = line(one.ln_ratio, one.ln_n[None])
        ln_n.append(middle + slope * (ln_ratio[:, k] - one.ln_ratio.mean()))
    return Profiles(np.array([one.flops for one in budgets]), ln_ratio, np.stack(ln_n, 1), loss, curvature, tuple(notes))


def _drawn(losses: Sequence[Array], designs: Sequence[Array], draws: int, rng: np.random.Generator) -> list[Array]:
    """Losses (1 + draws, runs) of every part: as measured, then the fit's with noise of the size that all parts show together."""
    fits = [design @ np.linalg.lstsq(design, loss, rcond=None)[0] for loss, design in zip(losses, designs, strict=True)]
    freedom = sum(len(loss) - design.shape[1] for loss, design in zip(losses, designs, strict=True))
    left = sum(float(((loss - fit) ** 2).sum()) for loss, fit in zip(losses, fits, strict=True))
    if freedom < 1:
        raise CheckFailed("law isoflop: as many runs as the parabolas have numbers leave nothing for an interval; add a size")
    scale = np.sqrt(left / rng.chisquare(freedom, (draws, 1)))
    return [np.vstack([loss, loss + scale * rng.standard_normal((draws, len(loss)))]) for loss in losses]


def _of_optima(rows: pl.DataFrame, draws: int, rng: np.random.Generator) -> Profiles:
    """Optima that somebody found: their scatter about a power law is the noise."""
    flops, ln_n, ln_d = (rows["flops"].to_numpy(), *(np.log(rows[name].to_numpy()) for name in ("N", "D")))
    if len(rows) < 3 or len(set(flops)) < 3:
        raise CheckFailed(f"law isoflop needs the optima of 3 or more budgets, there are {len(set(flops))}")
    design = np.vander(np.log(flops) - np.log(flops).mean(), 2)
    (ln_n_drawn,), (ln_d_drawn,) = (_drawn([values], [design], draws, rng) for values in (ln_n, ln_d))
    nothing = np.full(ln_n_drawn.shape, np.nan)
    notes = ("every row is an optimum that somebody found: there are no losses",)
    return Profiles(flops, ln_d_drawn - ln_n_drawn, ln_n_drawn, nothing, nothing, notes)
