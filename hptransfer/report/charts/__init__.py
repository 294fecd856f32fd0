"""One function per chart: a frame of ``frames`` in, an Altair chart out, whose width is that of its container."""

from hptransfer.report.charts.compute import loss_against_compute, multiplier_over_scale, multipliers
from hptransfer.report.charts.coordinates import coordinate_checks
from hptransfer.report.charts.heldout import perturbations, regret, training_curves
from hptransfer.report.charts.parts import Chart, theme
from hptransfer.report.charts.search import lr_curves, weight_decay_curves
from hptransfer.report.charts.width import optimum_against_width

__all__ = [
    "Chart",
    "coordinate_checks",
    "loss_against_compute",
    "lr_curves",
    "multiplier_over_scale",
    "multipliers",
    "optimum_against_width",
    "perturbations",
    "regret",
    "theme",
    "training_curves",
    "weight_decay_curves",
]
