"""An experiment: what is compared, at which scales, and what it may cost."""

from hptransfer.experiment.experiment import (
    DataChoice,
    Experiment,
    Resources,
    SearchSettings,
    ValidationSettings,
    load_experiment,
)

__all__ = [
    "DataChoice",
    "Experiment",
    "Resources",
    "SearchSettings",
    "ValidationSettings",
    "load_experiment",
]
