import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from records import record_of

from hptransfer.base import files
from hptransfer.base.errors import UsageError
from hptransfer.runs import Claims, Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs")


def test_a_record_comes_back_as_it_was(store, make_run):
    record = record_of(make_run(), 1.5)
    store.add(record)
    assert store.get(record.run_id) == record
    assert store.records() == {record.run_id: record}
    assert store.frame().row(0, named=True) == record.row()


def test_the_same_run_cannot_be_there_twice(store, make_run):
    store.add(record_of(make_run(), 1.5))
    store.add(record_of(make_run(), 1.5))
    store.compact()
    store.add(record_of(make_run(), 1.5))
    assert len(store.records()) == store.frame().height == 1


def test_a_diverged_run_keeps_its_reason_and_has_no_loss(store, make_run):
    store.add(record_of(make_run(), None))
    row = store.frame().row(0, named=True)
    assert (row["state"], row["loss"], row["reason"]) == ("diverged", None, "loss nan at step 3")


def test_compact_changes_nothing_that_is_read(store, make_run, tmp_path):
    for lr in (0.01, 0.02, 0.04):
        store.add(record_of(make_run(lr=lr), 2 + lr))
    records, frame = store.records(), store.frame().sort("run_id")
    assert store.compact() == 3
    assert not list((tmp_path / "runs/runs").glob("*.json"))
    store.add(record_of(make_run(lr=0.08), 2.5))
    assert {k: v for k, v in store.records().items() if k in records} == records
    assert store.frame().filter(pl.col("run_id").is_in(list(records))).sort("run_id").equals(frame)
    assert store.get(next(iter(records))) is not None
    assert store.frame().height == 4


@pytest.mark.parametrize("damage", ['{"run_id": "x"', "", "[]", '{"schema_version": 2}', '{"schema_version": 2, "job": 3}'])
def test_a_damaged_file_is_named_and_set_aside_and_the_rest_is_read(store, make_run, tmp_path, caplog, damage):
    record = record_of(make_run())
    store.add(record)
    (tmp_path / "runs/runs/broken.json").write_text(damage)
    assert list(store.records()) == [record.run_id]
    assert "runs/broken.json is damaged" in caplog.text
    assert (tmp_path / "runs/damaged/broken.json").read_text() == damage
    caplog.clear()
    assert list(store.records()) == [record.run_id]
    assert caplog.messages == []


def test_a_damaged_parquet_file_is_set_aside_whole(store, make_run, tmp_path, caplog):
    store.add(record_of(make_run()))
    (tmp_path / "runs/compact.parquet").write_bytes(b"PAR1 not really")
    assert len(store.records()) == 1
    assert "compact.parquet is damaged" in caplog.text


def test_a_newer_schema_is_refused_and_stays_where_it_is(store, make_run, tmp_path):
    record = record_of(make_run())
    store.add(record)
    path = tmp_path / f"runs/runs/{record.run_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(UsageError, match="schema 99"):
        store.records()
    assert path.is_file()


def test_an_empty_store_says_what_to_do(store):
    with pytest.raises(UsageError, match="is empty; run"):
        store.require_records()


def test_any_file_system_of_pyarrow_serves(make_run, tmp_path):
    """file:// goes through the URI path; mock: is pyarrow's in-memory system, which knows no rename-over."""
    store = Store(f"file://{tmp_path}/remote")
    store.add(record_of(make_run()))
    assert len(store.records()) == 1 == store.compact()
    with pytest.raises(UsageError, match="store nonsense://x"):
        Store("nonsense://x")


def test_a_half_written_file_is_never_read(store, make_run, tmp_path):
    store.add(record_of(make_run()))
    (tmp_path / "runs/runs/abc.json.0123.tmp").write_text('{"schema')
    assert len(store.records()) == 1


def test_compact_beside_compact_and_a_search_loses_nothing(store, make_run):
    """Each reads, writes its part and removes what it has read, in any interleaving."""
    specs = [make_run(seed=seed) for seed in range(60)]

    def search() -> None:
        for spec in specs:
            Store(store.location).add(record_of(spec))

    def compact() -> None:
        for _ in range(10):
            Store(store.location).compact()

    def read() -> None:
        before: set[str] = set()
        for _ in range(20):
            found = set(Store(store.location).records())
            assert found >= before
            before = found

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(work) for work in (search, compact, compact, read)]:
            done.result()
    assert set(store.records()) == {spec.run_id for spec in specs}
    assert store.compact() == 60
    assert all(store.get(spec.run_id) for spec in specs)
    assert len(list(Path(store.location).glob("compact*.parquet"))) == 1


def test_a_store_compacted_by_an_earlier_version_is_read(store, make_run, tmp_path):
    store.add(record_of(make_run()))
    store.compact()
    next((tmp_path / "runs").glob("compact-*.parquet")).rename(tmp_path / "runs/compact.parquet")
    assert len(Store(store.location).records()) == len(Store(store.location).frame()) == 1


def test_a_finished_record_waits_for_a_store_that_is_full(store, make_run, monkeypatch):
    """A second full, then there is room; where there never is, that is said in the end."""
    replace, full = files.Files._replace, [True]

    def refuse(path: str, content: bytes, durable: bool) -> None:
        if full and (len(full) > 1 or full.pop()):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(path, content, durable)

    monkeypatch.setattr(files.Files, "_replace", staticmethod(refuse))
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    record = record_of(make_run())
    store.add(record)
    assert store.get(record.run_id) == record
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.0)
    full += [True, True]
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        store.add(record_of(make_run(seed=1)))


# -- a store that goes away ------------------------------------------------------------------------------------------


@pytest.fixture
def settled(store, make_run, tmp_path, monkeypatch) -> tuple[Store, Path]:
    """A store that is known, with a record; and one that another process knows, at the same place."""
    store.add(record_of(make_run()))
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.0)
    return Store(tmp_path / "runs", store.files.settle()), tmp_path / "runs"


TOUCHES = {
    "add": lambda store, run: store.add(record_of(run)),
    "get": lambda store, run: store.get(run.run_id),
    "records": lambda store, run: store.records(),
    "decide": lambda store, run: store.decide("study", {}),
    "checkpoint": lambda store, run: store.write_checkpoint("run", b""),
    "folder": lambda store, run: store.files.make_folder("folders/run"),
    "claim": lambda store, run: Claims(store).take("run"),
    "claims": lambda store, run: Claims(store).held(),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=list(TOUCHES))
@pytest.mark.parametrize(("left", "says"), [(False, "its folder is not there any more"), (True, "its folder is not there")])
def test_a_store_that_went_away_is_unreachable_and_not_made_anew(settled, make_run, touch, left, says):
    """Renamed: nothing is there. Unmounted: the empty folder on which it was mounted is."""
    store, place = settled
    place.rename(away := place.with_name("elsewhere"))
    if left:
        place.mkdir()
    with pytest.raises(files.StoreUnreachable, match=says) as unreachable:
        touch(store, make_run(lr=0.5))
    assert unreachable.value.may_pass
    assert not place.exists() or not list(place.iterdir())
    if left:
        place.rmdir()
    away.rename(place)
    touch(store, make_run(lr=0.5))
    assert len(store.records()) >= 1


def test_another_store_in_its_place_is_not_written_to(settled, make_run, tmp_path):
    store, place = settled
    place.rename(tmp_path / "elsewhere")
    Store(place).add(record_of(make_run(lr=0.25)))
    with pytest.raises(files.StoreUnreachable, match="another store lies in its place"):
        store.add(record_of(make_run(lr=0.5)))
    assert len(Store(place).records()) == 1


def test_a_claim_is_not_lost_while_its_store_is_away(settled):
    store, place = settled
    claim = Claims(store).take("run", beat_seconds=0)
    place.rename(away := place.with_name("elsewhere"))
    claim.beat()
    away.rename(place)
    claim.confirm()


def test_who_comes_at_once_to_a_new_store_knows_the_same_one(tmp_path):
    with ThreadPoolExecutor() as pool:
        known = set(pool.map(lambda _: Store(tmp_path / "runs").files.settle(), range(16)))
    assert len(known) == 1 and not list((tmp_path / "runs").glob("*.tmp"))


def test_a_store_that_is_only_read_is_not_marked(tmp_path, store, make_run):
    store.add(record_of(make_run()))
    (tmp_path / "runs/.hptransfer-store").unlink()
    assert len(Store(tmp_path / "runs").records()) == 1
    assert not (tmp_path / "runs/.hptransfer-store").exists()


@pytest.mark.parametrize("name", ["notes.txt", "notes.txt/runs"])
def test_a_file_is_no_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt.*: there is a file in its place"):
        Store(tmp_path / name)
