"""Numbers as people read them: the same on the page, in Markdown and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hptransfer.base.intervals import Interval

DASH = "\N{EN DASH}"


def plain(value: float, digits: int = 3) -> str:
    """``digits`` significant digits in plain notation, scientific only beyond 0.00001 and a million."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-5 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}")))))
    return f"{value:,.{decimals}f}"


def known(value: float | None, words: Callable[[float], str] = plain) -> str:
    """A number in words; a dash where it is unknown."""
    return "-" if value is None else words(value)


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


def short_time(seconds: float) -> str:
    """A short time in the unit that suits it: 76 \N{MICRO SIGN}s, 1.2 ms."""
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "\N{MICRO SIGN}s"))
    return _in_largest(seconds, units) or f"{plain(seconds / 1e-9)} ns"


def size(n_bytes: float) -> str:
    """Bytes in powers of ten: 812 B, 9.95 MB, 1.20 GB."""
    return _in_largest(n_bytes, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))) or f"{n_bytes:.0f} B"


def _in_largest(value: float, units: Sequence[tuple[float, str]]) -> str | None:
    """In the first of the units, largest first, of which there is at least one; None below them all."""
    return next((f"{plain(value / unit)} {name}" for unit, name in units if value >= unit), None)


def percent(fraction: float) -> str:
    """Two decimals, as regret deserves: 0.12 %."""
    return f"{100 * fraction:.2f} %"


def share(fraction: float) -> str:
    """A share, to two digits: 10 %, 0.13 %."""
    return f"{plain(100 * fraction, 2)} %"


def times(value: float) -> str:
    """A factor: 1.42x."""
    return f"{value:.2f}x"


def probability(p: float) -> str:
    """0.003, 0.31, < 0.001: nothing finer than a thousandth."""
    if p < 0.001:
        return "< 0.001"
    if p > 0.999:
        return "> 0.999"
    return f"{p:.3f}" if p < 0.1 or p > 0.9 else f"{p:.2f}"


def ends(interval: Interval, form: Callable[[float], str] = plain) -> str:
    """The two ends of an interval: 0.010-0.015, from 0.010, up to 0.015, or no interval."""
    low, high = (None if end is None else form(end) for end in (interval.low, interval.high))
    if low is not None and high is not None:
        return f"{low} to {high}" if low.startswith("-") else f"{low}{DASH}{high}"
    if low is not None:
        return f"from {low}"
    return "no interval" if high is None else f"up to {high}"


def percent_ends(interval: Interval) -> str:
    """The two ends of the interval of a fraction, in percent."""
    return ends(interval, lambda end: f"{100 * end:.2f}")


def signed(value: float) -> str:
    """A number whose sign counts: +0.031."""
    return f"{value:+.3f}"


def within_signed(interval: Interval) -> str:
    """A value whose sign counts, with its interval: +0.010 (-0.014 to +0.031)."""
    low, high = ("..." if end is None else signed(end) for end in (interval.low, interval.high))
    return f"{signed(interval.value)} ({low} to {high})"


def within(interval: Interval) -> str:
    """A value with its interval: 0.0123 (0.0110-0.0140)."""
    return f"{plain(interval.value)} ({ends(interval)})"


def within_percent(interval: Interval) -> str:
    """A fraction with its interval: 0.12 % (0.02-0.31)."""
    return f"{percent(interval.value)} ({percent_ends(interval)})"


def listing(items: Sequence[object], last: str = "and") -> str:
    """1, 2 and 3."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
