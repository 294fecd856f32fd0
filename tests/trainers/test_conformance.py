"""Both trainers pass the suite that any other must pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from programs import WORLD, make_experiment

from hptransfer.experiment import Experiment
from hptransfer.testing import check_trainer
from hptransfer.trainers import TRAINERS


def test_our_own(experiment: Experiment, tmp_path: Path) -> None:
    check_trainer(TRAINERS.get("ours"), experiment, experiment.arm("adamw"), tmp_path, lr=0.01, diverging_lr=1e6)


def test_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(WORLD, "world.py")
    experiment = make_experiment()
    check_trainer(TRAINERS.get("command"), experiment, experiment.arm("mine"), tmp_path, lr=0.02, diverging_lr=1.0)
