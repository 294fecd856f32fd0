"""An experiment: what is compared, at which scales, and what it may cost."""

from hptransfer.experiment.effort import Resources, SearchSettings, ValidationSettings
from hptransfer.experiment.experiment import DataChoice, Experiment, load_experiment

__all__ = [
    "DataChoice",
    "Experiment",
    "Resources",
    "SearchSettings",
    "ValidationSettings",
    "load_experiment",
]
