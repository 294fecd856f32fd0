"""Tune learning rate and weight decay at small width, know them at large width, with an interval and a proof.

The public API is what ``__all__`` names; everything else may change. Each name has help that stands alone
(``help(hptransfer.predict)``) and is imported when it is first used: ``import hptransfer`` by itself costs nothing.

    >>> import hptransfer
    >>> lr = hptransfer.predict("sweep.csv", {"width": 4096}).lr
    >>> lr.low, lr.value, lr.high

- Runs that somebody has, in a table: `predict`, `backtest` (which returns a `Backtest`).
- Runs that ``hptransfer search`` made: `load_experiment`, `Store`, `predict`, `validate` (a `Validation` of each arm),
  `build_report`; and what they are made of: `Experiment`, `Record`, `Outcome`, `Point`, `Job`, `resolve`.
- A model of your own: `width_rules`.
- Predictions: `Prediction`, `read_prediction`, `write_prediction`; what other trainers take: `export`, `build_optimizer`,
  `role_table`, and `convert_lr` for another implementation of Muon.

An error that a user can cause is a `HptransferError`, in one line: `UsageError` for wrong input, `Refused` where the runs do not
allow an answer. Messages go to the logger ``hptransfer``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hptransfer.api import backtest, build_report, export, predict, validate
    from hptransfer.backtest.splits import Backtest
    from hptransfer.base.errors import HptransferError, UsageError
    from hptransfer.base.refusals import Refused
    from hptransfer.experiment import Experiment, load_experiment
    from hptransfer.modules.api import build_optimizer, width_rules
    from hptransfer.modules.table import role_table
    from hptransfer.optimizers.rules.dialects import convert_lr
    from hptransfer.runs import Job, Outcome, Point, Record, Store
    from hptransfer.trainers import resolve
    from hptransfer.transfer.prediction import Prediction, read_prediction, write_prediction
    from hptransfer.validate.result import Validation

__version__ = "0.1.0"

__all__ = [
    "Backtest",
    "Experiment",
    "HptransferError",
    "Job",
    "Outcome",
    "Point",
    "Prediction",
    "Record",
    "Refused",
    "Store",
    "UsageError",
    "Validation",
    "__version__",
    "backtest",
    "build_optimizer",
    "build_report",
    "convert_lr",
    "export",
    "load_experiment",
    "predict",
    "read_prediction",
    "resolve",
    "role_table",
    "validate",
    "width_rules",
    "write_prediction",
]

# Where each public name is at home.
_HOMES = {
    **dict.fromkeys(("backtest", "build_report", "export", "predict", "validate"), "hptransfer.api"),
    "Backtest": "hptransfer.backtest.splits",
    **dict.fromkeys(("HptransferError", "UsageError"), "hptransfer.base.errors"),
    "Refused": "hptransfer.base.refusals",
    **dict.fromkeys(("Experiment", "load_experiment"), "hptransfer.experiment"),
    "convert_lr": "hptransfer.optimizers.rules.dialects",
    **dict.fromkeys(("build_optimizer", "width_rules"), "hptransfer.modules.api"),
    **dict.fromkeys(("Job", "Outcome", "Point", "Record", "Store"), "hptransfer.runs"),
    "resolve": "hptransfer.trainers",
    "role_table": "hptransfer.modules.table",
    **dict.fromkeys(("Prediction", "read_prediction", "write_prediction"), "hptransfer.transfer.prediction"),
    "Validation": "hptransfer.validate.result",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`backtest`, `export` and `validate` are functions, and folders of modules as well, which bear the names of their commands.
    When Python imports such a folder it makes it an attribute of the package, in the place of the function: not here. Whoever
    wants the folder names a module in it (``from hptransfer.validate.regret import ...``)."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
