"""The charts of a report: frames in, figures out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import polars as pl

from hptransfer.base.words import listing, plain
from hptransfer.report.charts import TIMES, Series, draw, linear_axis, log_axis, name_axis
from hptransfer.report.document import Figure
from hptransfer.report.frames import Frames
from hptransfer.report.frames.heldout import PROBES, TRANSFERS
from hptransfer.validate.result import AXES

LR, IN_BASE = "learning rate", " (base coordinates)"
LOSS = "validation loss (nats per token)"
BESIDE_THE_LADDER = (
    "Power law: through the baseline's ladder of horizons, on FLOPs. Within its run: where the optimizer's own curve passes the "
    "baseline's final loss, on tokens. Its schedule has not ended there, so this is a lower bound."
)
OPTIMA = (
    "Dots are optima, the diamond is the prediction, both with 80 % intervals. Over one scale the solid line is the one used, "
    "with its 80 % band. The dashed line is what theory expects: where the two part, the optimum drifts. Over several scales a "
    "line would be right at one value of the others alone."
)
CURVE_POINTS = 150  # of a curve, in the chart
CELL_RUNS = 500  # of a cell: more are a grey cloud that takes seconds to draw
UNITS = {"MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21, "YFLOP": 1e24}
RUN_KINDS = {
    "search": "best run of a searched cell",
    "predicted": "prediction, held out",
    "horizon": "the baseline's ladder",
    "chosen": "the baseline's ladder, its best probe with fresh seeds",
}
ROWS = {("flops", "law"): "FLOPs, power law", ("tokens", "within_run"): "tokens, within the run"}
METHODS = {"sizes": "between sizes", "law": "power law", "ladder": "ladder of horizons"}


# -- the search --------------------------------------------------------------------------------------------------------


def lr_figures(frames: Frames, hyperparameter: str = LR, unit: str = IN_BASE, loss: str = LOSS) -> Iterator[Figure]:
    """Loss against the first hyperparameter of every arm: its runs, the fitted bowls, and what was predicted."""
    for arm, runs in by_arm(frames["lr_curves"]):
        if not runs["loss"].is_not_null().any():
            continue
        fit, basins, told = (frames[name].filter(arm=arm) for name in ("lr_fit", "lr_basins", "predictions"))
        minima = runs.filter("is_minimum")["loss"].to_list()
        lowest, highest = min(minima), max(minima)
        top = highest + max(0.9 * (highest - lowest), 0.06 * highest)
        diverged, is_above = pl.col("state") == "diverged", pl.col("loss") > top
        shown, left_out = thinned(runs.filter(diverged | pl.col("loss").is_not_null()))
        rows = stack(
            looking(shown, "faint", diverged=diverged, above=is_above, diamond="is_minimum", dot="is_at_ratio"),
            looking(fit.filter(~is_above), "line"),
            looking(basins.filter(~is_above), "basin"),
            looking(told.select("lr", low="lr_low", high="lr_high"), "prediction"),
        )
        x = log_axis("lr", f"{hyperparameter}{unit}", [*rows["lr"], *told["lr_low"], *told["lr_high"]])
        y = linear_axis("loss", loss, lowest - 0.12 * (top - lowest), top)
        tips = "cell lr weight_decay embedding_lr_ratio loss low high seed run_id"
        chart = draw(rows, x, y, Series.cells(runs), tips, {"lr": (hyperparameter, ".3~g")})
        notes = [f"Dotted: the prediction for {cell}. Shaded: its 80 % interval." for cell in told["cell"]]
        note = " ".join(notes + left_out)
        yield Figure(f"lr-curves-{arm}", f"{arm}: loss against {hyperparameter}", note, chart)


def optimum_figures(
    frame: pl.DataFrame, together: Sequence[Sequence[str]], hyperparameter: str = LR, unit: str = IN_BASE
) -> Iterator[Figure]:
    """The best value against each scale: optima, the line used with its band, theory's line, and the prediction."""
    for scale, names in product(frame["scale"].unique(maintain_order=True), together):
        part = frame.filter(pl.col("arm").is_in(list(names)), scale=scale)
        if part.is_empty():
            continue
        series, kind = Series.arms(part), pl.col("kind")
        known = part.filter(kind.is_in(["optimum", "prediction"]))
        widths = sorted(known["width"].unique())
        x = log_axis("x", f"{scale} (log scale)", widths, least=1.15, ticks=widths, format=".3~s" if widths[-1] >= 1e5 else "~g")
        y = log_axis("lr", f"best {hyperparameter}{unit}", [*part["lr"], *part["low"], *part["high"]], least=2.0)
        known = known.with_columns(pl.col("low").fill_null(y.low), pl.col("high").fill_null(y.high))  # to the edge of the frame
        place = pl.int_range(pl.len()).over("arm", "width") - (pl.len().over("arm", "width") - 1) / 2
        beside = (0.03 * place).exp()  # cells that differ in other scales
        rows = stack(
            looking(part.filter(kind="fit"), "area"),
            looking(part.filter(kind.is_in(["fit", "theory"])).drop("low", "high"), "line", dashed=kind == "theory"),
            looking(known, "point", diamond=kind == "prediction").with_columns(x=pl.col("width") * series.dodge(0.06) * beside),
        ).with_columns(pl.col("x").fill_null(pl.col("width")))
        chart = draw(rows, x, y, series, "arm kind cell lr low high", {"lr": (hyperparameter, ".3~g")})
        title = f"{' and '.join(names)}: best {hyperparameter} against {scale}"
        yield Figure(f"optimum-against-{scale}-{names[0]}", title, "", chart)


def weight_decay_figures(frames: Frames) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """The charts, and a sentence for every arm without one."""
    figures, sentences = [], []
    for arm, told in by_arm(frames["predictions"]):
        if told["weight_decay"][0] is None:
            continue
        runs = frames["weight_decay_curves"].filter(arm=arm)
        if runs["weight_decay"].n_unique() < 2:
            sentences.append(f"{arm}: fewer than two weight decays were tried near the best learning rate.")
            continue
        noise = 100 * 2 * told["noise"][0]
        top = max(min(106 * max(runs["excess"]), max(8 * noise, 4.0)), 1.5 * noise)
        runs = runs.with_columns(above=pl.col("excess") * 100, cost=pl.col("lr_cost") * 100)
        shown = told.filter(pl.col("weight_decay") > 0)
        drawn, left_out = thinned(runs)
        rows = stack(
            looking(drawn, "dot", above=pl.col("above") > top, diamond="is_minimum"),
            looking(shown.select("weight_decay", low="weight_decay_low", high="weight_decay_high"), "prediction"),
            looking(pl.DataFrame({"low": [0.0], "high": [noise]}), "band"),
        )
        x = log_axis("weight_decay", "weight decay (base coordinates, independent)", rows["weight_decay"])
        y = linear_axis("above", "loss above the lowest of its cell (%)", -0.05 * top, top)
        own = {"cost": ("cost of its LR, %", ".2f"), "above": ("above the lowest, %", ".2f")}
        chart = draw(rows, x, y, Series.cells(runs), "cell lr weight_decay loss cost above low high run_id", own, height=280)
        note = " ".join([f"Dotted: the prediction for {told['cell'][0]}, {told['weight_decay_status'][0]}.", *left_out])
        figures.append(Figure(f"weight-decay-{arm}", f"{arm}: loss against weight decay", note, chart))
    return tuple(figures), tuple(sentences)


# -- the tests ---------------------------------------------------------------------------------------------------------


def coordinate_figures(frame: pl.DataFrame) -> Iterator[Figure]:
    """The slope of every role and step, of every arm, with its range over seeds."""
    shown = frame.filter(pl.col("slope").is_not_null())
    if shown.is_empty():
        return
    tolerance, where = min(frame["tolerance"]), pl.format("{}, t = {}", "role", "step")
    shown = shown.with_columns(where=where, low="slope_low", high="slope_high")
    rows = stack(
        looking(shown, "point", aside=pl.col("outcome") == "not judged"),
        looking(pl.DataFrame({"low": [-tolerance], "high": [tolerance]}), "band"),
        looking(pl.DataFrame({"slope": [0.0]}), "reference"),
    )
    ends = [*known_of(shown, "slope", "low", "high"), -1.4 * tolerance, 1.4 * tolerance]
    x = linear_axis("slope", "log-log slope against width", 1.15 * min(ends), 1.15 * max(ends))
    names = frame.select(where.alias("where"))["where"].unique(maintain_order=True)
    own = {"where": ("role and step", ""), "slope": ("slope", "+.3f")}
    own |= {"low": ("of single seeds, from", "+.3f"), "high": ("to", "+.3f")}
    chart = draw(rows, x, name_axis("where", names), Series.arms(frame), "arm where slope low high outcome lr", own)
    yield Figure("coordinate-check", "Slope of the movement with width", _conditions(frame), chart)


def _conditions(frame: pl.DataFrame) -> str:
    """Where the checks were made, and which of them failed."""
    sentences = []
    for (widths, base, corpus, seeds), part in frame.group_by(["widths", "base_width", "corpus", "seeds"], maintain_order=True):
        rates = part.unique("arm", keep="first", maintain_order=True).select("arm", "lr")
        lrs = listing([f"{arm} {plain(lr)}" for arm, lr in rates.iter_rows()])
        sentences.append(f"Measured at width {widths} (base {base}), {seeds} seeds, corpus {corpus}, constant LR: {lrs}.")
    for arm, part in by_arm(frame.filter(outcome="fails")):
        places = [f"{role} at t = {step}" for role, step in part.select("role", "step").iter_rows()]
        sentences.append(f"{arm} fails: {listing(places)}.")
    return " ".join(sentences)


def test_figures(regret: pl.DataFrame, changes: pl.DataFrame) -> Iterator[Figure]:
    """Regret around the prediction, and what other choices cost."""
    title: dict[str, Any] = {"title": ("run", "")}
    for kind, what in (("lr_probe", "learning rate"), ("weight_decay_probe", "weight decay")):
        part = regret.filter(pl.col("kind").is_in([kind, "predicted"]), pl.col("state") != "failed")
        if kind not in set(part["kind"]) or not part["regret"].is_not_null().any():
            continue
        series, diverged = Series.arms(part), pl.col("state") == "diverged"
        part = in_percent(part, "regret", "over").with_columns(x=pl.col("factor") * series.dodge(0.045))
        rows = stack(
            looking(part.filter(~diverged).drop("low", "high"), "between"),
            looking(part, "point", diverged=diverged, diamond=pl.col("kind") == "predicted"),
        )
        factors, labels = sorted(part["factor"].unique()), "format(datum.value, '.2~r') + 'x'"
        x = log_axis("x", f"factor on the predicted {what}", factors, ticks=factors, labelExpr=labels)
        ends = known_of(part, "over", "low", "high")
        y = linear_axis("over", "loss above the lowest (%)", min(0.0, 1.08 * min(ends)), 1.08 * max(*ends, 0.001))
        tips = "arm title lr weight_decay loss standard_error over state"
        note = "Diamonds are the predictions, the others probes around them. Bars are one standard error, crosses diverged runs."
        chart = draw(rows, x, y, series, tips, title | {"over": ("regret, %", ".2f")}, height=280)
        yield Figure(f"regret-{what.replace(' ', '-')}", f"Regret around the predicted {what}", note, chart)
    noise = "Bars are one standard deviation of a difference of two runs."
    simple = "Same hyperparameters: those of the smallest cell, no rule. muP alone: no fitted drift, weight decay kept."
    changes = changes.filter(pl.col("change").is_not_null() | (pl.col("state") == "diverged"))
    for name, words, kinds, note in (
        ("perturbations", "What other hyperparameters cost", PROBES, noise),
        ("transfers", "What simpler transfers cost", TRANSFERS, f"{simple} {noise}"),
    ):
        part = changes.filter(pl.col("kind").is_in(kinds)).sort("kind", -pl.col("factor"), maintain_order=True)
        if part.is_empty():
            continue
        rows = looking(in_percent(part, "change", "percent"), "bar", diverged=pl.col("state") == "diverged")
        ends = [0.0, *known_of(rows, "percent", "low", "high")]
        margin = 0.04 * (max(ends) - min(ends)) or 1.0
        x = linear_axis("percent", "change of the loss (%)", min(ends) - margin * (min(ends) < 0), max(ends) + margin)
        own = {"percent": ("change, %", "+.2f"), "low": ("one standard deviation from, %", "+.2f"), "high": ("to, %", "+.2f")}
        names = name_axis("title", rows["title"].unique(maintain_order=True))
        chart = draw(
            rows, x, names, Series.arms(part), "arm title lr weight_decay loss percent low high seeds state", title | own
        )
        yield Figure(name, words, note, chart)


# -- compute -----------------------------------------------------------------------------------------------------------


def compute_figures(frame: pl.DataFrame) -> Iterator[Figure]:
    """Final losses of every arm against training compute, the optimizer's own included where known."""
    frame = frame.filter(pl.col("compute").is_not_null()).sort("compute")
    if frame.is_empty():
        return
    unit, size = next(((unit, size) for unit, size in reversed(UNITS.items()) if max(frame["compute"]) >= size), ("FLOP", 1.0))
    kind = pl.col("kind")
    is_predicted, is_rung = kind == "predicted", kind.is_in(["horizon", "chosen"])
    has_ladder = (kind == "horizon").any().over("arm") & ~(kind == "chosen").any().over("arm")
    shown = frame.with_columns(spent=pl.col("compute") / size, own=pl.col("flops_optimizer") / size)
    shown = shown.with_columns(run=kind.replace_strict(RUN_KINDS), has_ladder=has_ladder)
    rows = stack(
        looking(shown.filter(~is_rung), "between"),
        looking(shown.filter(is_rung | is_predicted & pl.col("has_ladder")), "dotted"),
        looking(shown, "point", diamond=is_predicted),
    )
    whose = " with the optimizer's" if frame["flops_optimizer"].is_not_null().any() else ""
    x, low, high = log_axis("spent", f"compute{whose} ({unit})", rows["spent"]), min(frame["loss"]), max(frame["loss"])
    y = log_axis("loss", LOSS, [low / 1.01 - 0.04 * (high - low), high * 1.01 + 0.04 * (high - low)], least=1.0, margin=1.0)
    own = {"spent": (f"compute, {unit}", ".3~g"), "own": (f"of it the optimizer's, {unit}", ".3~g")}
    chosen = "The baseline's ladder starts at its best probe, run anew with fresh seeds: it won over the prediction. "
    chart = draw(rows, x, y, Series.arms(frame), "arm run width tokens spent own loss seeds", own, height=320)
    note = (chosen if "chosen" in set(frame["kind"]) else "") + _ends(frame)
    yield Figure("loss-against-compute", "Final loss against training compute", note, chart)


def saving_figures(multipliers: pl.DataFrame, sizes: pl.DataFrame) -> Iterator[Figure]:
    """Compute multipliers per axis, and on FLOPs at every width: a triangle points to where one is that is only bounded."""
    own = {"run": ("on", ""), "value": ("multiplier", ".2f"), "bound": ("the multiplier is", "")}
    own |= {"low": ("80 % from", ".2f"), "high": ("to", ".2f"), "p_value": ("probability of no speedup", ".2~g")}
    above, below, one = pl.col("bound") == ">", pl.col("bound") == "<", looking(pl.DataFrame({"value": [1.0]}), "reference")
    if not multipliers.is_empty():
        titles = [ROWS.get((axis, method), AXES[axis]) for axis, method in multipliers.select("axis", "method").iter_rows()]
        shown = multipliers.with_columns(run=pl.Series(titles, dtype=pl.String))
        rows, ends = stack(looking(shown, "point", right=above, left=below), one), known_of(shown, "value", "low", "high")
        ticks = (0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16)
        x = log_axis("value", "multiplier over the baseline", [0.99, 1.05, *ends], ticks=ticks, labelExpr=TIMES)
        names = name_axis("run", (name for name in (*AXES.values(), *ROWS.values()) if name in titles))
        chart = draw(rows, x, names, Series.arms(multipliers), "arm run bound value low high p_value", own)
        note = "From the baseline's ladder of horizons at the held-out width. Bars are 80 % intervals. A triangle is a bound. "
        yield Figure("compute-multiplier", "Compute multiplier over the baseline", note + BESIDE_THE_LADDER, chart)
    if not sizes.is_empty():
        series, method = Series.arms(sizes), pl.col("method")
        shift = pl.when(method == "law").then(1.0).when(method == "ladder").then(series.dodge(0.08) * math.exp(0.04))
        beside = pl.col("width") * shift.otherwise(series.dodge(0.08))
        shown = sizes.with_columns(run=method.replace_strict(METHODS), x=beside)
        law, lines = shown.filter(method="law").drop("low", "high"), shown.filter(pl.col("bound").is_null()).drop("low", "high")
        rows = stack(
            looking(lines.filter(method != "ladder"), "between", dashed=method == "law"),
            looking(law, "tiny", up=above, down=below),
            looking(
                shown.filter(method != "law"), "point", up=above, down=below, diamond=method == "ladder", hollow="extrapolated"
            ),
            one,
        )
        widths = sorted(sizes["width"].unique())
        x, ends = log_axis("x", "width", widths, ticks=widths, format="d"), [0.95, 1.05, *known_of(rows, "value", "low", "high")]
        y = log_axis("value", "multiplier over the baseline, on FLOPs", ends, least=1.1, labelExpr=TIMES)
        note = "Solid: between the baseline's losses over sizes, hollow where extrapolated. Dashed: a power law through them. "
        note += "Diamond: the baseline's ladder of horizons. Bars are 80 % intervals. A triangle is a bound, on its side."
        own["run"] = ("method", "")
        chart = draw(rows, x, y, series, "arm width run bound value low high p_value", own)
        yield Figure("multiplier-over-scale", "Compute multiplier over scale", note, chart)


def training_figures(frame: pl.DataFrame) -> Iterator[Figure]:
    """Validation loss along training at the held-out width; dots are final losses."""
    seconds = "Seconds of training without evaluation, in proportion to steps."
    labels = "datum.value == 0 ? '0' : replace(format(datum.value, '~s'), 'G', 'B')"
    for against, words, title, note in (
        ("tokens", "training tokens", "by tokens", ""),
        ("wall_seconds", "training wall time (seconds)", "by wall-clock", seconds),
    ):
        part = frame.filter(pl.col(against).is_not_null())
        if part.is_empty():
            continue
        low, final = min(part["loss"]), part.filter("is_final")["loss"].to_list()
        high = min(max(part["loss"]), 1.3 * max(final, default=low))
        every = (pl.len().over("run_id") / CURVE_POINTS).ceil().cast(pl.Int64)
        kept = (pl.int_range(pl.len()).reverse().over("run_id") % every == 0) | pl.col("is_final")
        shown = part.filter(kept).with_columns(line="run_id")
        rows = stack(looking(shown.select("arm", against, "loss", "line"), "curve"), looking(shown.filter("is_final"), "point"))
        x = linear_axis(against, words, 0, max(part[against]), labelExpr=labels, tickCount=5)
        y = linear_axis("loss", LOSS, low - 0.03 * (high - low), high)
        tips = f"arm purpose seed {against} loss run_id"
        chart = draw(rows, x, y, Series.arms(part), tips, {against: (words, ",")}, height=320)
        yield Figure(f"training-{title.replace(' ', '-')}", f"Validation loss {title}", note or _ends(frame), chart)


def _ends(frame: pl.DataFrame) -> str:
    """Whether the final losses are annealed."""
    flat = [arm for arm, _ in by_arm(frame.filter(~pl.col("annealed")))]
    if not flat:
        return "Final losses are annealed."
    return f"At a constant LR, not annealed, and not to be compared with annealed losses: {listing(flat)}."


# -- rows --------------------------------------------------------------------------------------------------------------


def by_arm(frame: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    """The arms of a frame in their order."""
    return ((arm, frame.filter(arm=arm)) for arm in frame["arm"].unique(maintain_order=True))


def thinned(runs: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """At most `CELL_RUNS` runs of each cell, the half of them with the lowest losses, and the rest evenly from all others in
    their order; and that in a sentence, where any are left out."""
    half = CELL_RUNS // 2
    runs = runs.with_columns(is_low=(pl.col("loss").rank("ordinal").over("cell") <= half).fill_null(False))
    place, count = (one.over("cell", "is_low") for one in (pl.int_range(pl.len()), pl.len().cast(pl.Int64)))
    drawn = runs.filter(pl.col("is_low") | ((place + 1) * half // count > place * half // count)).drop("is_low")
    if len(drawn) == len(runs):
        return drawn, []
    return drawn, [f"{len(drawn):,} of {len(runs):,} runs are drawn: those with the lowest losses, and of the others some."]


def looking(frame: pl.DataFrame, look: str, **where: pl.Expr | str) -> pl.DataFrame:
    """The rows with their look: of those named by ``where`` the first whose condition holds, or else ``look``."""
    found = pl.lit(look)
    for name, condition in reversed(where.items()):
        found = pl.when(condition).then(pl.lit(name)).otherwise(found)
    return frame.with_columns(look=found)


def in_percent(frame: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """With a column and its ends in percent, as ``name``, low and high."""
    ends = {name: column, "low": f"{column}_low", "high": f"{column}_high"}
    return frame.with_columns(**{short: pl.col(long) * 100 for short, long in ends.items()})


def stack(*frames: pl.DataFrame) -> pl.DataFrame:
    """The rows of a chart, below each other."""
    return pl.concat(frames, how="diagonal_relaxed")


def known_of(frame: pl.DataFrame, *columns: str) -> list[float]:
    """Every number of some columns."""
    return [value for name in columns for value in frame[name] if value is not None]
