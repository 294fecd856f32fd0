"""What a preset fills in, and what is given beside it."""

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.experiment.model import ModelChoice


def test_llama() -> None:
    config = ModelChoice.model_validate({"preset": "llama", "head_dim": 32}).config
    assert (config.activation, config.qk_norm, config.norm_gains, config.head_dim) == ("swiglu", False, True, 32)


def test_speedrun_and_its_experiment() -> None:
    assert ModelChoice.model_validate({"preset": "speedrun"}).config.head_dim == 128
    experiment = load_experiment("speedrun")
    config = experiment.model.config
    assert (config.activation, config.qk_norm, config.norm_gains, config.head_dim) == ("relu2", True, False, 32)
    assert experiment.schedule.shape == "trapezoid" and experiment.target_loss is not None


def test_one_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="unknown preset of model family 'gpt': 'lama'; did you mean 'llama'"):
        ModelChoice.model_validate({"preset": "lama"})
