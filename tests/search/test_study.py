"""Studies without Ray: what is proposed, in which order, and that a replay proposes the same."""

import math
import random

import pytest
from records import EVERYWHERE, record_of

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.experiment.space import load_space
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.runs import Job
from hptransfer.search.studies import Studies, make_studies
from hptransfer.search.study import Study


def loss_of(job: Job) -> float | None:
    """A bowl around lr 0.02 and ratio 4, with a ceiling of stability and seed noise that depends on the run alone."""
    lr, ratio = job.point["lr"], job.point["embedding_lr_ratio"]
    if lr > 0.1:
        return None
    noise = 0.005 * random.Random(job.run_id).gauss(0, 1)
    return 2 * math.exp(0.05 * math.log(lr / 0.02) ** 2 + 0.02 * math.log(ratio / 4) ** 2 + noise)


def finish(studies: Studies, records: dict, limit: float = math.inf, shuffle: random.Random | None = None) -> int:
    """Run what the studies ask for, in any order, until they are done or ``limit`` runs have finished."""
    done = 0
    while done < limit and (jobs := studies.missing(records)):
        job = shuffle.choice(jobs) if shuffle else jobs[0]
        records[job.run_id] = record_of(job, loss_of(job))
        done += 1
    return done


def studies_of(experiment: Experiment, **search: object) -> Studies:
    changed = experiment.model_copy(update={"search": experiment.search.model_copy(update=search)})
    return make_studies(changed, EVERYWHERE)


def run_ids(studies: Studies) -> list[list[str]]:
    return [[record.run_id for _, record in study.finished] for study in studies.studies]


SETTINGS = {"trials": 9, "batch": 4}


@pytest.fixture(params=["design", "tpe"])
def settings(request) -> dict:
    return SETTINGS | {"sampler": request.param}


@pytest.fixture
def straight(experiment, settings) -> tuple[Studies, dict]:
    studies, records = studies_of(experiment, **settings), {}
    assert finish(studies, records) == 4 * 9
    return studies, records


@pytest.mark.parametrize("killed_after", [1, 5, 14, 35])
def test_a_killed_study_goes_on_as_if_it_had_not_been(experiment, settings, straight, killed_after):
    """Whatever had finished, in whatever order: the same runs, none twice, none again."""
    records: dict = {}
    finish(studies_of(experiment, **settings), records, limit=killed_after, shuffle=random.Random(killed_after))
    resumed = studies_of(experiment, **settings)
    assert finish(resumed, records) == 36 - killed_after
    assert run_ids(resumed) == run_ids(straight[0])
    assert set(records) == {run_id for study in run_ids(resumed) for run_id in study}


def test_more_trials_keep_the_earlier_ones(experiment, settings, straight):
    records = dict(straight[1])
    longer = studies_of(experiment, **settings | {"trials": 13})
    assert finish(longer, records) == 4 * 4
    assert [ids[:9] for ids in run_ids(longer)] == run_ids(straight[0])


def test_a_finished_study_asks_for_nothing(experiment, settings, straight):
    assert studies_of(experiment, **settings).missing(straight[1]) == []


def test_the_seed_changes_the_proposals(experiment, settings, straight):
    other = studies_of(experiment, **settings | {"seed": 1})
    finish(other, {})
    for ours, theirs in zip(run_ids(other), run_ids(straight[0]), strict=True):
        assert len(set(ours) & set(theirs)) <= 2  # a repeat of the same centre may carry the other study's seed


def test_the_ratio_is_searched_first_at_the_smallest_width_and_then_frozen(straight):
    for small, wide in zip(straight[0].studies[::2], straight[0].studies[1::2], strict=True):
        ratios = [record.point["embedding_lr_ratio"] for _, record in small.finished]
        stage = [record for _, record in small.finished[:3] if record.loss is not None]
        frozen = min(stage, key=lambda record: record.loss).point["embedding_lr_ratio"]
        assert len(set(ratios[:3])) > 1
        assert set(ratios[3:]) == {frozen}
        assert {record.point["embedding_lr_ratio"] for _, record in wide.finished} == {frozen}


def test_the_best_run_is_repeated_with_another_seed(straight):
    for study in straight[0].studies:
        seeds: dict = {}
        for _, record in study.finished:
            seeds.setdefault(tuple(record.point.hyperparameters.items()), set()).add(record.point.init_seed)
        assert max(len(found) for found in seeds.values()) >= 2


@pytest.fixture
def near_the_end(experiment, settings) -> list[Study]:
    """Finished studies of a range near whose end the optimum lies, and most of which diverges."""
    low = {"lr": {"low": 0.008, "high": 0.9, "source": "test"}}
    changed = experiment.model_copy(update={"spaces": {"adamw": low, "shampoo": low}})
    studies = studies_of(changed, **settings | {"trials": 13})
    finish(studies, {})
    return studies.studies


def tried(study: Study, *, lost: bool = False) -> list[float]:
    """LRs of its complete runs (or of those that diverged) at the ratio that was kept."""
    return [
        record.point["lr"]
        for _, record in study.finished
        if (record.loss is None) == lost and record.point["embedding_lr_ratio"] == study.ratio
    ]


def test_runs_lie_on_both_sides_of_the_optimum(near_the_end):
    for study in near_the_end:
        assert min(tried(study)) < 0.02 < max(tried(study))


@pytest.mark.parametrize("settings", [SETTINGS | {"sampler": "tpe"}])
def test_the_best_lr_gets_neighbours_on_both_sides(near_the_end):
    for study in near_the_end:
        best = min((record for _, record in study.finished if record.loss is not None), key=lambda record: record.loss)
        assert min(tried(study)) < best.point["lr"] < max(tried(study))


@pytest.mark.parametrize("settings", [SETTINGS | {"sampler": "design"}])
def test_a_design_hears_of_runs_that_diverged(near_the_end):
    """The first look goes beyond the ceiling of 0.1, here and at the wider width; what comes after stays below."""
    for narrow, wide in zip(near_the_end[::2], near_the_end[1::2], strict=True):
        ceiling = math.sqrt(0.1 * min(tried(narrow, lost=True)))
        assert all(record.point["lr"] < ceiling for _, record in narrow.finished[7:] + wide.finished)


def test_a_batch_waits_for_the_one_before(experiment):
    """All runs of a batch are asked for at once, and the next batch only when all of them are in."""
    studies, records = studies_of(experiment, **SETTINGS), {}
    first = [job for job in studies.missing(records) if job.point.settings["optimizer"] == "adamw"]
    assert len(first) == 3
    records |= {job.run_id: record_of(job, loss_of(job)) for job in first[:2]}
    assert [job for job in studies.missing(records) if job.point.settings["optimizer"] == "adamw"] == first[2:]


def test_a_study_in_which_everything_diverges_still_ends(experiment):
    studies, records = studies_of(experiment, **SETTINGS), {}
    while jobs := studies.missing(records):
        records[jobs[0].run_id] = record_of(jobs[0], None)
    assert all(study.done and study.best(records) is None for study in studies.studies)


def test_a_wider_width_waits_for_the_first_look_of_the_narrower_and_starts_about_its_optimum(experiment):
    """Three ratios and four runs over the range; then four runs on both sides of lr 0.02, nearer than the range goes."""
    studies, records = studies_of(experiment.model_copy(update={"optimizers": ("adamw",)}), **SETTINGS), {}
    narrow, wide = studies.studies
    while jobs := [job for job in studies.missing(records) if job.point["width"] == 16]:
        assert len(narrow.finished) >= 7 or wide.batch == []
        records[jobs[0].run_id] = record_of(jobs[0], loss_of(jobs[0]))
    lrs = [job.point["lr"] for _, job in wide.batch]
    assert len(lrs) == 4
    assert narrow.space.lr.low < min(lrs) < 0.02 < max(lrs) < narrow.space.lr.high
    again = studies_of(experiment.model_copy(update={"optimizers": ("adamw",)}), **SETTINGS)
    shown = {record.run_id: record for _, record in narrow.finished[:7]}
    again.missing(shown)
    assert [job.point["lr"] for _, job in again.studies[1].batch] == lrs


@pytest.mark.parametrize("sampler", ["design", "gp", "tpe", "random"])
def test_every_sampler_finds_its_way(experiment, sampler):
    studies = studies_of(experiment.model_copy(update={"optimizers": ("adamw",), "widths": (16,)}), trials=12, sampler=sampler)
    records = {}
    finish(studies, records)
    best = studies.studies[0].best(records)
    assert best is not None
    assert 0.004 < best.point["lr"] < 0.1


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("recipe", RECIPES.names())
def test_the_shipped_spaces_load(recipe, parametrization):
    assert load_space(recipe, parametrization, {}).recipe == recipe


def test_a_change_for_one_parametrization_leaves_the_others():
    """Of the experiment's changes, those that name a parametrization go over those that do not, and over the file's."""
    change = {"lr": {"high": 0.2}, "parametrizations": {"spectral": {"lr": {"high": 9.0}}, "sp": None}}
    highs = {name: load_space("adamw", name, change).lr.high for name in PARAMETRIZATIONS}
    assert highs == {"mup": 0.2, "sp": 0.2, "spectral": 9.0}
    assert load_space("adamw", "spectral", {}).lr.high == 2.0


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_a_space_fixes_options_without_unsetting_defaults(recipe):
    """sf-normuon's Adam has no first moment: a space that fixes another of its options must not bring it back."""
    space, options = load_space(recipe, "mup", {}), get_recipe(recipe).options
    default, fixed = options(), options.model_validate(space.fixed_options())
    silent = {"beta1", "interpolation"} - {name.split(".")[-1] for name in space.options}
    for one, other in ((default, fixed), (getattr(default, "adam", None), getattr(fixed, "adam", None))):
        assert all(getattr(one, name, None) == getattr(other, name, None) for name in silent)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": {"low": -0.1}}, r"lr.low: .*\(got -0.1\)"),
        ({"lr": {"low": 0.5, "high": 0.1}}, "high 0.1 is below low 0.5"),
        ({"lr": {"low": 0.01, "high": 0.01}}, "lr from 0.01 to 0.01 is no range of positive values"),
        ({"lr": {"low": 0, "high": 0}}, "lr from 0.0 to 0.0 is no range of positive values"),
        ({"parametrizations": {"spectrl": {}}}, "unknown .*parametrization 'spectrl'; did you mean 'spectral'"),
        ({"embedding_lr_ratio": {"values": [4, 1]}}, "not positive and ascending"),
        ({"lr": {"low": float("nan")}}, "lr.low: Input should be a finite number"),
        ({"weight_decay": {"lowe": 1}}, "unknown key 'weight_decay.lowe'; did you mean 'weight_decay.low'"),
        ({"lrr": {"low": 1}}, "unknown key 'lrr'; did you mean 'lr'"),
        ({"options": {"beta3": {"value": 0.9, "source": "x"}}}, "beta3"),
        ({"options": {"beta1": {"value": 1.5, "source": "x"}}}, "beta1"),
    ],
)
def test_a_wrong_space_is_one_line(change, says):
    with pytest.raises(UsageError, match=says) as caught:
        load_space("adamw", "mup", change)
    assert "\n" not in str(caught.value)
