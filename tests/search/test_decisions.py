"""What a search decided is written down once per study; a replay that goes elsewhere is found, one that goes on is not."""

import json

import pytest
from records import EVERYWHERE, record_of

from hptransfer.base.errors import UsageError
from hptransfer.base.stored import sealed, unsealed
from hptransfer.experiment import Experiment
from hptransfer.runs import Job, Store
from hptransfer.search.studies import Studies, make_studies
from hptransfer.search.study import Study

SEARCH = {"trials": 7, "sampler": "random"}


def search(experiment: Experiment, store: Store, losses: dict[float, float] | None = None, **changes: object) -> Studies:
    """A search to its end; ``losses`` by LR ratio."""
    settings = experiment.search.model_copy(update=SEARCH | changes)
    studies = make_studies(experiment.model_copy(update={"search": settings}), EVERYWHERE, store)
    records = store.records()
    while jobs := studies.missing(records):
        for job in jobs:
            record = record_of(job, loss_of(job, losses or {}))
            store.add(record)
            records[job.run_id] = record
    return studies


def loss_of(job: Job, losses: dict[float, float]) -> float:
    return losses.get(job.point["embedding_lr_ratio"], 2.0) + abs(job.point["lr"] - 0.01)


def files(store: Store) -> dict[str, dict]:
    names = store.files.list("studies", ".json")
    return {name: store.decision(name.removeprefix("studies/").removesuffix(".json")) for name in names}


@pytest.fixture
def one(experiment) -> Experiment:
    return experiment.model_copy(update={"optimizers": ("adamw",)})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs")


def test_there_is_one_file_per_study_that_names_the_runs_it_rests_on(experiment, store):
    studies = search(experiment, store, {4.0: 1.5}).studies
    found = files(store)
    assert sorted(found) == sorted(f"studies/{study.study_id}.json" for study in studies)
    for study in studies:
        decision = found[f"studies/{study.study_id}.json"]
        compared = study.ratio_from or study
        assert decision == {
            "optimizer": study.arm.optimizer,
            "parametrization": "mup",
            "cell": study.cell,
            "sampler": "random",
            "seed": 0,
            "batch": 4,
            "embedding_lr_ratio": 4.0,
            "run_ids": [record.run_id for _, record in compared.finished[:3]],
        }


@pytest.mark.parametrize(
    "changes", [{"trials": 11}, {"seed": 1}, {"sampler": "tpe"}], ids=["more trials", "another seed", "another sampler"]
)
def test_a_search_goes_on_or_begins_another(one, store, changes):
    search(one, store)
    search(one, store, **changes)
    assert len(files(store)) == (2 if changes == {"trials": 11} else 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"flops": 1e12}, "resources": {"cpus": 2}, "validation": {"seeds": 1}},
        {"widths": [16, 32, 48]},
        {"widths": [24, 32]},
        {"spaces": {"adamw": {"lr": {"high": 0.2}}}},
    ],
    ids=["budget and resources", "a wider width", "other widths", "a wider range"],
)
def test_what_is_no_decision_may_change(one, store, changes):
    search(one, store)
    search(Experiment.model_validate(one.model_dump(exclude_unset=True) | changes), store)


def test_another_batch_on_the_same_store_is_one_line_that_names_both(one, store):
    search(one, store)
    with pytest.raises(UsageError, match=r"adamw at width 16 \(studies/.*\.json\): batch 4 there, 2 here;") as refused:
        search(one, store, batch=2)
    assert "\n" not in str(refused.value)


def test_a_ratio_that_other_losses_give_contradicts_the_one_that_was_frozen(one, store):
    first = search(one, store, {4.0: 1.5}).studies[0]
    lost = next(record for _, record in first.finished[:3] if record.point["embedding_lr_ratio"] == 4.0)
    store.files.delete(f"runs/{lost.run_id}.json")
    with pytest.raises(UsageError, match=r"embedding_lr_ratio 4\.0 there, \d+\.0 here;"):
        search(one, store, {4.0: 3.0})


def test_a_decision_that_is_missing_is_made_and_one_that_is_damaged_is_named(one, store):
    studies = search(one, store).studies
    before = files(store)
    for name in before:
        store.files.delete(name)
    search(one, store)
    assert files(store) == before
    name = f"studies/{studies[0].study_id}.json"
    for damaged in (b"{", store.files.read(name).replace(b'"batch": 4', b'"batch": 5')):
        store.files.write(name, damaged)
        with pytest.raises(UsageError, match=r"is damaged .*it is made again"):
            search(one, store)


@pytest.mark.parametrize("batch", [None, "4", 0, -1, 2.0, True, [4]])
def test_a_decision_without_a_size_of_its_batches_is_damaged(one, store, batch):
    study = search(one, store, batch="auto").studies[0]
    name = f"studies/{study.study_id}.json"
    found = json.loads(unsealed(store.files.read(name))) | {"batch": batch}
    store.files.write(name, sealed(json.dumps(found)).encode())
    with pytest.raises(UsageError, match=r"is damaged \(batch .*it is made again"):
        search(one, store, batch="auto")


def test_a_decision_is_read_once_per_study(one, store, monkeypatch):
    asked: list[str] = []
    decide = Store.decide

    def counted(self: Store, study: str, decision: dict) -> dict:
        asked.append(study)
        return decide(self, study, decision)

    monkeypatch.setattr(Store, "decide", counted)
    studies = search(one, store)
    studies.missing(store.records())
    assert sorted(asked) == sorted(study.study_id for study in studies.studies)


def test_an_arm_by_another_name_is_the_same_study(one):
    named = Experiment.model_validate(
        one.model_dump(exclude_unset=True) | {"optimizers": [], "arms": {"mine": {"optimizer": "adamw"}}}
    )
    ids: list[list[str]] = [[study.study_id for study in studies_of(experiment)] for experiment in (one, named)]
    assert ids[0] == ids[1]


def studies_of(experiment: Experiment) -> list[Study]:
    return list(make_studies(experiment, EVERYWHERE).studies)
