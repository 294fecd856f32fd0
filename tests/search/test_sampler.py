"""The design in a plain Optuna study."""

import math
import re
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from hptransfer.runs import Job, Point
from hptransfer.search.design import DesignSampler

DOC = Path(__file__).parents[2] / "docs/design-sampler.md"
SPACE = {"lr": FloatDistribution(1e-4, 1.0, log=True), "weight_decay": FloatDistribution(1e-4, 0.1, log=True)}


def ln_loss(lr: float, decay: float, width: int = 64) -> float:
    return 0.7 + 0.03 * math.log(lr / 0.02) ** 2 + 0.01 * math.log(decay / 3e-3) ** 2 - 0.1 * math.log(width)


def study_of(count: int = 0, *, ceiling: float = math.inf, **options) -> optuna.Study:
    """A study with ``count`` finished trials, in batches of 4."""
    study = optuna.create_study(sampler=DesignSampler(SPACE, **options))
    for _ in range(0, count, 4):
        for trial in [study.ask(dict(SPACE)) for _ in range(4)]:
            lr, decay = trial.params["lr"], trial.params["weight_decay"]
            if lr > ceiling:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, ln_loss(lr, decay))
    return study


def asked(study: optuna.Study, count: int) -> list[dict]:
    return [study.ask(dict(SPACE)).params for _ in range(count)]


def cell(width: int) -> Job:
    return Job(run_id=f"width {width}", point=Point(scales={"width": width}, hyperparameters={}))


def test_the_example_of_the_page_runs():
    code = re.search(r"```python\n(.*?)```", DOC.read_text(), re.S).group(1)
    names: dict = {}
    exec(compile(code, str(DOC), "exec"), names)
    assert 0.01 < names["small"].best_params["lr"] < 0.09
    assert 0.0066 < names["wide"].best_params["lr"] < 0.06


def test_running_trials_are_the_first_of_a_batch_that_the_finished_ones_determine():
    """Asked one by one, or by another process that sees the same trials: the same points."""
    study = study_of(8)
    points = asked(study, 4)
    assert len({point["lr"] for point in points}) == 4
    for place in range(4):
        other = optuna.create_study(sampler=DesignSampler(SPACE))
        other.add_trials(study.trials[: 8 + place])
        assert asked(other, 1) == [points[place]]


def test_the_first_points_fill_the_space_and_later_ones_lie_about_the_optimum():
    first = [math.log(point["lr"]) for point in asked(study_of(), 4)]
    assert max(first) - min(first) > 0.5 * math.log(1e4)
    later = [abs(math.log(point["lr"] / 0.02)) for point in asked(study_of(12), 4)]
    assert 0.3 < max(later) < 3


def test_one_trial_after_another_never_repeats_a_first_point():
    study = optuna.create_study(sampler=DesignSampler(SPACE))
    study.optimize(
        lambda trial: ln_loss(*(trial.suggest_float(name, one.low, one.high, log=True) for name, one in SPACE.items())), 4
    )
    assert len({trial.params["lr"] for trial in study.trials}) == 4


def test_nothing_is_tried_far_above_a_trial_that_failed():
    study = study_of(12, ceiling=0.05)
    lost = min(trial.params["lr"] for trial in study.trials if trial.state == TrialState.FAIL)
    assert all(point["lr"] < lost for point in asked(study, 4))


def test_narrower_runs_tell_where_a_wider_width_starts():
    narrow = DesignSampler(SPACE, target=cell(64))
    study = optuna.create_study(sampler=narrow)
    for trial in study_of(12).trials:
        study.add_trial(trial)
    wide = DesignSampler(SPACE, target=cell(128), narrower=narrow.records(study.trials))
    lrs = [point["lr"] for point in asked(optuna.create_study(sampler=wide), 4)]
    assert 1e-3 < min(lrs) < 0.02 < max(lrs) < 0.3


def test_what_is_not_in_the_space_is_drawn_at_random_and_an_infinite_loss_diverged():
    study = study_of(4)
    study.tell(study.ask(), state=TrialState.FAIL)  # before it asked for anything
    study.add_trial(create_trial(value=math.inf, params={"lr": 0.9, "weight_decay": 0.01}, distributions=dict(SPACE)))
    trial = study.ask({**SPACE, "shape": CategoricalDistribution(["a", "b"])})
    assert trial.params["shape"] in ("a", "b")
    assert trial.params["lr"] < 0.9


def test_other_spaces_and_directions_are_refused():
    with pytest.raises(ValueError, match="over lr, or lr and weight_decay, not over momentum"):
        DesignSampler({"momentum": FloatDistribution(0, 1)})
    with pytest.raises(ValueError, match="minimises"):
        asked(optuna.create_study(direction="maximize", sampler=DesignSampler(SPACE)), 1)
