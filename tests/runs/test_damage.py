"""A flipped bit, or an odd record, costs at most the record that it is in; what is readable is read, and the rest is said."""

import json
import random
from pathlib import Path

import polars as pl
import pytest
from records import record_of

from hptransfer.runs import Claims, Record, Store
from hptransfer.runs.gathered import TEXT, to_frame

RUNS = 12


@pytest.fixture
def store(tmp_path, make_run) -> Store:
    found = Store(tmp_path / "runs")
    for seed in range(RUNS):
        found.add(record_of(make_run(seed=seed), 2.0 + seed / 8))
    return found


def part_of(store: Store) -> Path:
    (found,) = Path(store.location).glob("compact*.parquet")
    return found


def flipped(content: bytes, bit: int) -> bytes:
    found = bytearray(content)
    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def as_read(store: Store) -> dict[str, Record]:
    """What is read anew, by a frame that agrees with it."""
    frame, records = Store(store.location).frame(), dict(Store(store.location).records())
    assert sorted(frame["run_id"]) == sorted(records)
    assert frame.sort("run_id").equals(to_frame(records.values()).sort("run_id"))
    return records


def test_a_flipped_bit_of_a_gathered_file_costs_at_most_its_record(store, caplog):
    before = dict(store.records())
    store.compact()
    part = part_of(store)
    whole, name = part.read_bytes(), part.name
    found = TEXT.search(whole)
    footer, draw = len(whole) - 9000, random.Random(21)
    bits = [draw.randrange(8 * len(whole)) for _ in range(25)] + [draw.randrange(8 * footer, 8 * len(whole)) for _ in range(25)]
    bits += [0, 8 * found.start(), 8 * found.end() - 100, 8 * len(whole) - 1, 8 * len(whole) - 60]
    for bit in bits:
        for old in Path(store.location).rglob("*.parquet"):
            old.unlink()
        (part.parent / name).write_bytes(flipped(whole, bit))
        caplog.clear()
        records = as_read(store)
        assert len(records) >= RUNS - 1, bit
        assert all(before[run_id] == record for run_id, record in records.items()), bit
        lost = RUNS - len(records)
        assert not lost or f"{name} is damaged ({lost} of its {RUNS} runs cannot be read); moved to damaged/{name}" in caplog.text
        caplog.clear()
        assert as_read(store) == records  # of what is left
        assert caplog.messages == []


def test_a_gathered_file_that_is_cut_keeps_what_is_left(store, caplog):
    store.compact()
    part = part_of(store)
    part.write_bytes(part.read_bytes()[: TEXT.search(part.read_bytes()).end() + 10])
    assert len(as_read(store)) == 1
    assert "runs cannot be read" in caplog.text


def test_a_flipped_bit_of_a_record_is_not_read_as_a_number(store, caplog):
    path = next(Path(store.location, "runs").glob("*.json"))
    content = path.read_text()
    path.write_text(content.replace('"loss":2.', '"loss":1.'))
    assert content != path.read_text()
    assert len(as_read(store)) == RUNS - 1
    assert f"{path.name} is damaged (it is not what was written: its digest differs)" in caplog.text


def test_a_registered_prediction_that_was_changed_is_set_aside(store, caplog):
    store.register_prediction("run", {"lr": 0.01})
    path = Path(store.location) / "predictions/run.json"
    path.write_text(path.read_text().replace("0.01", "0.02"))
    assert store.registered("predictions/run.json") is None and store.registered_predictions() == []
    assert "predictions/run.json is damaged (it is not what was written: its digest differs)" in caplog.text


def test_records_of_schema_2_are_read_as_they_are(store, tmp_path):
    """Without a digest, single and gathered, as the last version wrote them."""
    records = [record.model_copy(update={"schema_version": 2}) for record in store.records().values()]
    old = Store(tmp_path / "old")
    for record in records[:4]:
        old.files.write(f"runs/{record.run_id}.json", record.model_dump_json().encode())
    texts = pl.Series("record", [record.model_dump_json() for record in records[4:]])
    to_frame(records[4:]).with_columns(texts).write_parquet(tmp_path / "old/compact-0123.parquet")
    assert as_read(old) == {record.run_id: record for record in records}
    assert old.compact() == RUNS
    assert as_read(old) == {record.run_id: record for record in records}


ODD = {
    "whole numbers beyond 64 bits": lambda d: d["outcome"].update(steps=2**64),
    "an infinite setting": lambda d: d["job"]["point"]["settings"].update(odd=float("inf")),
    "nesting": lambda d: d["job"]["point"]["settings"].update(odd=json.loads("[" * 300 + "]" * 300)),
    "half a character": lambda d: d["job"]["point"]["settings"].update(odd="\ud800"),
    "a list for a mapping": lambda d: d["job"]["point"]["settings"].update(data=[1]),
    "a number for a name": lambda d: d["job"]["point"]["settings"].update(optimizer=3),
    "half a width": lambda d: d["job"]["point"]["scales"].update(width=8.5),
    "null": lambda d: d.update(job=None),
    "a wrong type": lambda d: d["outcome"].update(loss="low"),
}


def odd_text(record: Record, change) -> str:
    data = json.loads(record.model_dump_json()) | {"schema_version": 2}
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_record_is_set_aside(store, kind, caplog):
    record = next(iter(store.records().values()))
    store.files.write(f"runs/{record.run_id}.json", odd_text(record, ODD[kind]).encode())
    assert len(as_read(store)) == RUNS - 1
    assert f"runs/{record.run_id}.json is damaged" in caplog.text
    assert (Path(store.location) / f"damaged/{record.run_id}.json").is_file()


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_record_of_a_gathered_file_is_left_out_and_stays(store, kind, caplog):
    records = list(store.records().values())
    texts = [odd_text(records[0], ODD[kind]), *(record.model_dump_json() for record in records[1:])]
    frame = to_frame(records).with_columns(pl.Series("record", texts))
    for path in Path(store.location).glob("runs/*.json"):
        path.unlink()
    frame.write_parquet(Path(store.location) / "compact-0123.parquet")
    read = Store(store.location)
    assert len(dict(read.records())) == RUNS - 1
    assert f"compact-0123.parquet is damaged (1 of its {RUNS} runs cannot be read)" in caplog.text
    assert read.compact() == RUNS - 1
    assert len(as_read(store)) == RUNS - 1
    assert (Path(store.location) / "damaged/compact-0123.parquet").is_file()


def test_damage_in_a_store_that_is_only_read_is_left_there(store, tmp_path):
    from hptransfer.runs.sources.own_store import SOURCE

    store.compact()
    part = part_of(store)
    content = part.read_bytes()
    part.write_bytes(flipped(content, 8 * TEXT.search(content).start() + 800))
    raw = SOURCE.read(store.location)
    assert len(raw.frame) == RUNS - 1
    assert "1 files are damaged" in raw.notes[0]
    assert [path.name for path in Path(store.location).glob("*")] == [part.name, "runs"] or part.is_file()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[" * 100_000, b'{"registered_at": 3}', b'{"prediction": {}}', b'{"prediction": 1e999}'],
    ids=range(6),
)
def test_a_damaged_registration_is_set_aside(store, content, caplog):
    store.files.write("predictions/abc.json", content)
    assert store.registered_at("abc") is None
    assert store.registered_predictions() == []
    assert "predictions/abc.json is damaged" in caplog.text
    store.register_prediction("abc", {"name": "mine"})
    assert store.registered_predictions() == [{"name": "mine"}]


CLAIM = {"run_id": "abc", "generation": 0, "token": "t", "session": "s", "host": "h", "pid": 1, "node": "n"}
NOBODYS = ["[" * 100_000, "\\", "[]", "null", "{}", *(json.dumps(CLAIM | {name: [2**70]}) for name in [*CLAIM][2:])]


@pytest.mark.parametrize("number", range(len(NOBODYS)))
def test_a_damaged_claim_names_nobody(store, number):
    store.files.write("claims/abc.0.json", NOBODYS[number].encode())
    assert Claims(store).held() == {}
    with Claims(store).take("abc") as claim:
        claim.confirm()


def test_a_file_whose_name_is_no_text_is_nobodys(store):
    path = Path(store.location).resolve() / "runs"
    with open(bytes(path) + b"/\xff.json", "wb") as file:
        file.write(b"{}")
    assert len(as_read(store)) == RUNS
    assert store.compact() == RUNS
