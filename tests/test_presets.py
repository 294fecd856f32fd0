"""What a preset fills in, and what is given beside it."""

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.experiment.model import ModelChoice
from hptransfer.experiment.settings import Horizon


def test_llama() -> None:
    config = ModelChoice.model_validate({"preset": "llama", "head_dim": 32}).config
    assert (config.activation, config.qk_norm, config.norm_gains, config.head_dim) == ("swiglu", False, True, 32)


def test_speedrun_and_its_experiment() -> None:
    assert ModelChoice.model_validate({"preset": "speedrun"}).config.head_dim == 128
    experiment = load_experiment("speedrun")
    config = experiment.model.config
    assert (config.activation, config.qk_norm, config.norm_gains, config.head_dim) == ("relu2", True, False, 32)
    assert experiment.schedule.shape == "trapezoid" and experiment.target_loss is not None


def test_isoflop_is_three_budgets_by_four_sizes_for_two_optimizers() -> None:
    experiment = load_experiment("isoflop")
    assert experiment.optimizers == ("adamw", "muon") and len(experiment.searched_cells) == 12
    assert experiment.target_cell not in experiment.searched_cells


def test_the_mini_series_has_one_dial() -> None:
    """nanochat's: width and heads follow from the depth, tokens from matrices and readout."""
    experiment = load_experiment("mini-series")
    cells = (*experiment.searched_cells, experiment.target_cell)
    assert len(cells) == 5 and len({cell["depth"] for cell in cells}) == 5
    for cell in cells:
        assert cell["width"] == experiment.model.config.head_dim * cell["depth"]
    assert experiment.horizon == Horizon(policy="tpp", tpp=10.5, convention="matrices_and_readout")


def test_one_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="unknown preset of model family 'gpt': 'lama'; did you mean 'llama'"):
        ModelChoice.model_validate({"preset": "lama"})


def test_progress_is_two_families_at_equal_tokens_per_parameter() -> None:
    experiment = load_experiment("progress")
    families = {arm.name: experiment.under(arm).model.family for arm in experiment.compared}
    assert families == {"lstm": "lstm", "transformer": "gpt"} and experiment.baseline == "lstm"
    assert experiment.horizon == Horizon(policy="tpp", tpp=10)
