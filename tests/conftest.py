"""Fixtures that several folders use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from records import DATA
from report.factory import experiment as sample
from report.factory import results

from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Job
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.results import Results


@pytest.fixture
def experiment() -> Experiment:
    """A small experiment; nothing of it is trained unless a test does so."""
    return Experiment.model_validate(
        {
            "name": "tiny",
            "model": {"depth": 1, "head_dim": 8, "context": 16},
            "base_width": 16,
            "widths": [16, 32],
            "target_width": 64,
            "horizon": {"tokens": 4096},
            "batch_sequences": 4,
            "optimizers": ["adamw", "shampoo"],
        }
    )


@pytest.fixture
def make_run(experiment: Experiment) -> Callable[..., Job]:
    """A job of the small experiment."""

    def make(
        recipe: str = "adamw",
        *,
        width: int = 32,
        lr: float = 0.01,
        weight_decay: float = 0.001,
        ratio: float = 1.0,
        seed: int = 0,
    ):
        tuned = {"lr": lr, "weight_decay": weight_decay, "embedding_lr_ratio": ratio}
        return resolve(experiment.point(Arm.of(recipe, "mup"), DATA, width=width, seed=seed, **tuned))

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the commands' defaults are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def full(folder: Path) -> Results:
    """A finished experiment of AdamW and Muon."""
    return results(sample())


@pytest.fixture
def unfinished(folder: Path) -> Results:
    """Searched, but neither predicted nor tested."""
    return results(sample(), predicted=False, tested=False)
