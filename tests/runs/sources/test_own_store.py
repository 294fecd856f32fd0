"""Our own stores as a source."""

import pytest
from known_sweep import RUNS, assert_fitted, assert_found, everything, loss

from hptransfer.base.errors import UsageError
from hptransfer.runs import Job, Outcome, Point, Record, Store
from hptransfer.runs.sources.own_store import SOURCE
from hptransfer.runs.sources.source import read_source


@pytest.fixture
def store(tmp_path) -> Store:
    """The sweep, with a run that diverged and one that failed."""
    store = Store(tmp_path / "runs.v1")
    for number, (width, lr) in enumerate((*RUNS, (128, 0.5), (128, 0.6))):
        state = ["complete", "diverged", "failed"][max(0, number - len(RUNS) + 1)]
        point = Point(
            scales={"width": width, "tokens": 4096, "experts": 8},
            hyperparameters={"lr": lr, "weight_decay": 0.01, "beta2": 0.9},
            settings={"optimizer": "adamw", "model": {"activation": "gelu"}, "horizon": {"policy": "tokens"}},
        )
        job = Job(run_id=f"{number:016x}", point=point, constants={"corpus": "c4 12"})
        store.add(Record(job=job, outcome=Outcome(state=state, loss=loss(width, lr) if state == "complete" else None, steps=9)))
    return store


@pytest.mark.parametrize("form", ["files", "gathered"])
def test_a_sweep_comes_back(form, store, tmp_path):
    if form == "gathered":
        store.compact()
    before = everything(tmp_path)
    raw, why = read_source(store.location)
    assert everything(tmp_path) == before
    assert why.startswith("source store") and not raw.notes and raw.maximize is False
    assert dict(raw.roles) == {"run": "run_id", "state": "state", "step": "steps", "seed": "init_seed", "loss": "loss"}
    assert_found(raw.frame.filter(raw.frame["state"] == "complete"), "width", "lr", "loss")
    assert_fitted(store.location)
    assert sorted(raw.frame["state"])[-2:] == ["diverged", "failed"]
    one = raw.frame.row(0, named=True)
    said = {"corpus": "c4 12", "horizon": "4096 tokens", "experts": 8, "beta2": 0.9, "settings.model.activation": "gelu"}
    assert said.items() <= one.items()


def test_a_damaged_file_is_said_and_left_where_it_is(store, tmp_path):
    (tmp_path / "runs.v1" / "runs" / "0000000000000001.json").write_text('{"schema_version": 2')
    before = everything(tmp_path)
    raw = SOURCE.read(store.location)
    assert everything(tmp_path) == before
    assert len(raw.frame) == len(RUNS) + 1 and "0000000000000001" in raw.notes[0]


def test_another_folder_is_none(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text("{}")
    assert SOURCE.sniff(str(tmp_path)) is None
    assert SOURCE.sniff("nonsense://a/b") is None
    with pytest.raises(UsageError):
        SOURCE.read(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
