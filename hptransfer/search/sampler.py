"""The samplers by name, and the runs of a study as Optuna sees them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hptransfer.experiment.space import SearchSpace
from hptransfer.runs import Record
from hptransfer.search.design import RUN_ID, DesignSampler

if TYPE_CHECKING:
    from hptransfer.search.study import Study

optuna.logging.set_verbosity(optuna.logging.WARNING)

WORSE = 1.0  # in ln loss

Values = dict[str, float]  # of the searched dimensions, by name

# By name: the sampler of a study's next batch, given a seed that is that batch's own.
SAMPLERS: dict[str, Callable[[Study, int], BaseSampler]] = {
    "design": lambda study, seed: DesignSampler(
        study.distributions,
        target=study.job,
        narrower=study.shown,
        batch=study.size,
        seed=study.seed,
        known={record.run_id: study.as_heard(record) for _, record in study.finished},
    ),
    "gp": lambda study, seed: GPSampler(seed=seed, n_startup_trials=1),
    "tpe": lambda study, seed: TPESampler(seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True),
    "random": lambda study, seed: RandomSampler(seed=seed),
}


def distributions(space: SearchSpace) -> dict[str, FloatDistribution]:
    """The searched dimensions as Optuna's distributions."""
    return {name: FloatDistribution(one.low, one.high, log=one.scale == "log") for name, one in space.ranges().items()}


def propose(study: Study, seed: int, count: int) -> list[Values]:
    """``count`` points for the next batch; the same finished runs give the same points. Those asked for earlier are running
    trials, so that a batch spreads out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        asked = optuna.create_study(sampler=SAMPLERS[study.settings.sampler](study, seed))
        asked.add_trials(trials(study))
        return [dict(asked.ask(dict(study.distributions)).params) for _ in range(count)]


def trials(study: Study) -> Sequence[FrozenTrial]:
    """The finished runs in the order of proposal. A run at a ratio that was not kept has failed as a trial: samplers do not hear
    of it."""
    return [_trial(study, values, record) for values, record in study.finished]


def _trial(study: Study, values: Values, record: Record) -> FrozenTrial:
    counts = study.is_comparable(record)
    return create_trial(
        state=TrialState.COMPLETE if counts else TrialState.FAIL,
        value=ln_loss(record, study) if counts else None,
        params=values,
        distributions=dict(study.distributions),
        user_attrs={RUN_ID: record.run_id},
    )


def ln_loss(record: Record, study: Study) -> float:
    """What a sampler minimises. A diverged run counts as one that learned nothing: finite, so that it is heard. Where nobody
    knows what that is, as `WORSE` above the study's highest loss."""
    if record.loss is not None:
        return math.log(record.loss)
    if vocab := (record.point.settings.get("data") or {}).get("vocab"):
        return math.log(math.log(vocab))
    return max((math.log(run.loss) for _, run in study.finished if run.loss is not None), default=0.0) + WORSE
