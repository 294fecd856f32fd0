"""The chart of a coordinate check: movement against width on log axes, a panel per activation, a line per step."""

from __future__ import annotations

import altair as alt

from hptransfer.coordcheck.check import ACTIVATIONS, TOLERANCE, Activation, CheckResult, RoleSlope
from hptransfer.optimizers import get_recipe
from hptransfer.report.charts import log_ticks, svg_of

PANEL_WIDTH, PANEL_HEIGHT = 230, 260
HUES = [get_recipe(name).colour for name in ("adamw", "muon", "shampoo", "soap")]  # of steps: any that can be told apart
TITLES: dict[Activation, str] = {"embedding": "embedding output", "hidden": "last hidden state", "readout": "logits"}


def svg(check: CheckResult, title: str) -> str:
    """The chart as it stands by itself, with the outcome under its title. Nothing is fetched."""
    outcome = [f"{'passed' if check.passed else 'failed'} at a tolerance of {TOLERANCE} on slopes", *check.diverged]
    chart = alt.hconcat(*(_panel(check, activation) for activation in ACTIVATIONS)).resolve_scale(color="independent")
    spec = chart.properties(title=alt.Title(title, subtitle=outcome)).to_dict()
    return svg_of(spec)


def _panel(check: CheckResult, activation: Activation) -> alt.Chart:
    lines = [line for line in check.lines if line.activation == activation]
    rows = [
        {"width": width, "rms": rms, "line": _label(line)}
        for line in lines
        for width, rms in zip(line.widths, line.rms, strict=True)
        if rms
    ]
    widths = lines[0].widths
    moved = [rms for line in check.lines for rms in line.rms if rms] or [1.0]
    low, high = min(moved) / 1.3, max(moved) * 1.3  # the same in every panel
    x = alt.X(
        "width:Q",
        title="width",
        scale=alt.Scale(type="log", domain=[widths[0] / 1.15, widths[-1] * 1.15], nice=False),
        axis=alt.Axis(values=widths, format="d", labelOverlap="greedy"),
    )
    y = alt.Y(
        "rms:Q",
        title="RMS of h(t) - h(0)" if activation == ACTIVATIONS[0] else None,
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=log_ticks(low, high), format="~g", labelOverlap="greedy"),
    )
    hue = alt.Color(
        "line:N",
        scale=alt.Scale(domain=[_label(line) for line in lines], range=HUES),
        legend=alt.Legend(title=None, columns=1, symbolType="circle"),
    )
    panel = alt.Chart(alt.InlineData(values=rows), title=TITLES[activation], width=PANEL_WIDTH, height=PANEL_HEIGHT)
    marked: alt.Chart = panel.mark_line(point=True, strokeWidth=2).encode(x, y, hue)
    return marked


def _label(line: RoleSlope) -> str:
    slope = "no slope" if line.slope is None else f"slope {line.slope:+.3f}"
    return f"t = {line.step}: {slope}, {line.outcome}"
