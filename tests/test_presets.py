"""What a preset fills in, and what is given beside it."""

from hptransfer.experiment import ModelFamily, load_experiment


def test_llama() -> None:
    family = ModelFamily.model_validate({"preset": "llama", "head_dim": 32})
    assert (family.activation, family.qk_norm, family.norm_gains, family.head_dim) == ("swiglu", False, True, 32)


def test_speedrun_and_its_experiment() -> None:
    assert ModelFamily.model_validate({"preset": "speedrun"}).head_dim == 128
    experiment = load_experiment("speedrun")
    family = experiment.model
    assert (family.activation, family.qk_norm, family.norm_gains, family.head_dim) == ("relu2", True, False, 32)
    assert experiment.schedule.shape == "trapezoid" and experiment.target_loss is not None
