"""Numbers as people read them: the same words on the page, in Markdown and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment.arm import BASELINE, Arm
from hptransfer.validate.result import Axis, Kind, Multiplier, TargetRun

DASH = "\N{EN DASH}"
AXES: dict[Axis, str] = {
    "tokens": "tokens",
    "flops": "FLOPs",
    "flops_with_optimizer": "FLOPs + optimizer",
    "wall_clock": "wall-clock",
}
# What the numbers of an optimizer are in, and how its compute is compared, wherever they are shown.
LEGENDS = "Click a legend to see one alone, double-click beside it for all."
COORDINATES = "Learning rates are in base coordinates, weight decay is the final independent value at the held-out width."
BESIDE_THE_LADDER = (
    "Power law: through the baseline's ladder of horizons, on FLOPs. Within its run: where the optimizer's own curve passes the "
    "baseline's final loss, on tokens; its schedule has not ended there, so this is a lower bound."
)

RUN_TITLES: dict[Kind, str] = {
    "predicted": "predicted",
    "lr_probe": "LR",
    "weight_decay_probe": "WD",
    "same_hyperparameters": "same hyperparameters",
    "mup_only": "muP alone",
    "horizon": "tokens",
}


def baseline_word(arm: Arm) -> str:
    """A baseline in sentences: AdamW as it is, or the arm's name."""
    return "AdamW" if arm == Arm.of(BASELINE, arm.parametrization) else arm.name


def run_title(run: TargetRun) -> str:
    """What a run at the held-out width is for: predicted, LR x 0.5, WD x 2, tokens x 4, same hyperparameters, muP alone."""
    factor = f" x {plain(run.factor, 2)}" if run.kind in ("lr_probe", "weight_decay_probe", "horizon") else ""
    return RUN_TITLES[run.kind] + factor


def no_prediction(refusal: Refusal) -> str:
    """Why a complete search allows no prediction, in one sentence."""
    return f"No prediction: {refusal.text}."


def known(value: float | None, words: Callable[[float], str]) -> str:
    """A number in words; a dash where it is unknown."""
    return "-" if value is None else words(value)


def plain(value: float, digits: int = 3) -> str:
    """``digits`` significant digits in plain notation, scientific only beyond 0.00001 and a million."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-5 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}")))))
    return f"{value:,.{decimals}f}"


def epsilons(values: dict[str, float]) -> str:
    """Epsilons by the names of their options; the one that is just ``eps`` without its name."""
    return ", ".join(plain(value, 2) if name == "eps" else f"{name} {plain(value, 2)}" for name, value in values.items())


def count(value: float) -> str:
    """A large count: 950, 8,192, 3.4 M, 1.2e15."""
    for unit, name in ((1e9, " G"), (1e6, " M")):
        if unit <= value < 1e3 * unit:
            return plain(value / unit) + name
    return f"{value:,.0f}" if value < 1e6 else plain(value, 3)


def duration(seconds: float) -> str:
    """Wall time: 0.4 s, 42 s, 5 min 10 s, 3 h 20 min."""
    if seconds < 60:
        return f"{plain(seconds, 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def bounds(interval: Interval, scale: float = 1.0, digits: int = 3) -> str:
    """The 80 % interval: both ends, (from 0.010), (up to 0.015), or (no interval)."""
    low = None if interval.low is None else plain(interval.low * scale, digits)
    high = None if interval.high is None else plain(interval.high * scale, digits)
    if low is not None and high is not None:
        return f"({low}{DASH}{high})"
    if low is not None:
        return f"(from {low})"
    return f"(up to {high})" if high is not None else "(no interval)"


def percent(fraction: float) -> str:
    """Two decimals, as regret deserves: 0.12 %."""
    return f"{100 * fraction:.2f} %"


def percent_bounds(interval: Interval) -> str:
    """The interval of a fraction, in percent."""
    if interval.low is None or interval.high is None:
        return bounds(interval, 100, 2)
    return f"({100 * interval.low:.2f}{DASH}{100 * interval.high:.2f})"


def multiplier(value: Multiplier) -> str:
    """1.42x, or > 2.00x where the baseline's ladder did not bracket the loss."""
    return f"{f'{value.bound} ' if value.bound else ''}{value.value:.2f}x"


def multiplier_bounds(value: Multiplier) -> str:
    """The interval of a bracketed multiplier; an extrapolated one says that it is."""
    if value.extrapolated:
        return f"({multiplier_ends(value)}, extrapolated)"
    return f"({multiplier_ends(value)})" if value.bracketed else "(not bracketed)"


def multiplier_in_full(value: Multiplier | None) -> str:
    """A multiplier with its interval; a dash where none was measured."""
    return "-" if value is None else f"{multiplier(value)} {multiplier_bounds(value)}"


def multiplier_ends(value: Interval) -> str:
    """The interval of a multiplier, to two decimals: 1.30-1.60, from 1.30, up to 1.60."""
    low, high = (None if end is None else f"{end:.2f}" for end in (value.low, value.high))
    if low is not None and high is not None:
        return f"{low}{DASH}{high}"
    if low is not None:
        return f"from {low}"
    return "no interval" if high is None else f"up to {high}"


def times(value: float) -> str:
    """A factor: 1.42x."""
    return f"{value:.2f}x"


def p_value(p: float) -> str:
    """p = 0.003, p < 0.001."""
    words = probability(p)
    return f"p {words}" if words[0] in "<>" else f"p = {words}"


def probability(p: float) -> str:
    """0.003, 0.31, < 0.001: nothing finer than a thousandth."""
    if p < 0.001:
        return "< 0.001"
    if p > 0.999:
        return "> 0.999"
    return f"{p:.3f}" if p < 0.1 or p > 0.9 else f"{p:.2f}"


def size(n_bytes: float) -> str:
    """Bytes in powers of ten: 812 B, 9.95 MB, 1.20 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= unit:
            return f"{plain(n_bytes / unit)} {name}"
    return f"{n_bytes:.0f} B"


def share(fraction: float) -> str:
    """A share, to two digits: 10 %, 0.13 %."""
    return f"{plain(100 * fraction, 2)} %"


def seconds(value: float) -> str:
    """A short time in the unit that suits it: 76 \N{MICRO SIGN}s, 1.2 ms."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "\N{MICRO SIGN}s")):
        if value >= unit:
            return f"{plain(value / unit)} {name}"
    return f"{plain(value / 1e-9)} ns"


def listing(items: list[str] | list[int]) -> str:
    """1, 2 and 3."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
