"""What the searched cells alone had foretold of the loss at the held-out one: by a law of compute along one scale, or by one of
sizes and horizons. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import softmax

from hptransfer.base.intervals import Array, Interval, ends
from hptransfer.base.refusals import Refusal
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.transfer.axes import dials, logarithm
from hptransfer.transfer.prediction import Optimum, Prediction
from hptransfer.validate.bent import bent, prior
from hptransfer.validate.configurations import SEARCH_FREEDOM
from hptransfer.validate.result import Foretold

# Exponent alpha of loss = E + A C^-alpha over sizes: about .2 before any loss is seen, with a factor of 2.5 for one standard
# deviation. Where the tokens grow with the model .065 to .094 is published (arXiv 2511.21622, E = 1.9), .154 (2203.15556, its E
# fitted) and .178 (2404.10102); at the same tokens it is Chinchilla's alpha, .34 and .35.
USUAL = prior(0.2, 2.5)
FEWEST = 3  # sizes, and horizons
FREE = 5  # parameters of the law of both, of which there must be fewer than cells
DRAWS = 4000
LEAST = DRAWS // 20  # of them that fall, or the losses do not


def foretell(prediction: Prediction, seeds: int) -> Foretold:
    """The mean loss of the predicted run over so many seeds, from the optima of the searched cells, each taken to be known as
    well as by one run, with the noise that the search saw. Where all cells and the target are on one line in the logarithms
    of their scales, the law is E + A C^-alpha with C in FLOPs; where sizes and horizons were searched apart, Chinchilla's."""
    cells = [one for one in prediction.optima if one.loss is not None]
    if not cells:
        return _unknown("losses")
    names = tuple(cells[0].scales)
    x = np.array([[logarithm(name, one.scales[name]) for name in names] for one in cells])
    target = np.array([logarithm(name, prediction.point[name]) for name in names])
    together = {dial.scale: dial for dial in dials(x)}
    apart = [scale for scale in range(len(names)) if np.ptp(x[:, scale]) > 0 and scale not in together]
    for scale, name in enumerate(names):
        is_moved = scale not in apart and (
            not together[scale].is_kept(x, target) if scale in together else target[scale] != x[0, scale]
        )
        if is_moved:
            return Foretold(reason=Refusal.of("off_the_cells", scale=name))
    noise = prediction.noise or 0.0
    rng = np.random.default_rng(0)
    found = _of_compute(cells, prediction, rng) if len(apart) < 2 else _of_both(cells, prediction, [names[k] for k in apart])
    if isinstance(found, Foretold):
        return found
    law, draws, factor = found
    draws = draws * np.exp(noise * factor / math.sqrt(seeds) * rng.standard_normal(len(draws)))
    value = float(np.median(draws))
    low, high = ends(value, draws)
    return Foretold(loss=Interval(value=value, low=low, high=high), law=law)


Drawn = tuple[str, Array, Array | float]  # the law in words, losses, and by how much their noise is larger than was thought


def _of_compute(cells: Sequence[Optimum], prediction: Prediction, rng: np.random.Generator) -> Drawn | Foretold:
    if prediction.run.flops is None or any(one.flops is None for one in cells):
        return _unknown("compute")
    ladder = sorted((one.flops, one.loss) for one in cells if one.flops is not None and one.loss is not None)
    costs, losses = np.array(ladder).T
    if (count := len(set(costs.tolist()))) < FEWEST:
        return Foretold(reason=Refusal.of("few_sizes", sizes=count, needed=FEWEST))
    curve = bent(costs, losses, (prediction.noise or 0.0) * losses, SEARCH_FREEDOM)
    draws, factor = curve.draw(prediction.run.flops, np.asarray(softmax(np.log(USUAL) + curve.ln_likelihood)), DRAWS, rng)
    if len(draws) < LEAST:
        return Foretold(reason=Refusal.of("not_falling"))
    return f"E + A C^-alpha through {len(cells)} cells, E and alpha open", draws, factor


def _of_both(cells: Sequence[Optimum], prediction: Prediction, apart: Sequence[str]) -> Drawn | Foretold:
    """Sizes and horizons that were searched apart."""
    if other := [name for name in apart if name not in ("width", "depth", "tokens")]:
        return Foretold(reason=Refusal.of("other_scale", scale=other[0]))
    run = prediction.run
    if run.parameters is None or any(one.parameters is None for one in cells):
        return _unknown("parameters")
    if "tokens" not in apart:
        return Foretold(
            reason=Refusal.of("few_horizons", sizes=len({one.parameters for one in cells}), horizons=1, needed=FEWEST)
        )
    rows = [
        {"row": row, "N": float(one.parameters or 0), "D": float(one.scales["tokens"]), "loss": one.loss}
        for row, one in enumerate(cells)
    ]
    table = pl.DataFrame(rows)
    sizes, horizons = table["N"].n_unique(), table["D"].n_unique()
    if min(sizes, horizons) < FEWEST or len(cells) <= FREE:
        return Foretold(reason=Refusal.of("few_horizons", sizes=sizes, horizons=horizons, needed=FEWEST))
    asked = pl.DataFrame({"N": [float(run.parameters)], "D": [float(run.point["tokens"])]})
    drawn = Chinchilla().fit(table).predict(asked)[:, 0]
    return f"E + A N^-alpha + B D^-beta through {len(cells)} cells", drawn[1:][np.isfinite(drawn[1:])], 1.0


def _unknown(what: str) -> Foretold:
    return Foretold(reason=Refusal.of("not_said", what=what))
