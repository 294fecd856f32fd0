"""Records of a store take little memory and are the same."""

import copy
import gc
import json
import pickle

import pytest
from synthetic import Truth, make_experiment, make_records

from hptransfer.runs import Record, Store
from hptransfer.runs.parser import RecordParser, without_collector


def test_records_that_share_their_parts_are_the_records_that_were_added(tmp_path) -> None:
    made = make_records(Truth(), make_experiment(), runs=6)
    points = [record.point.replicate(number) for number, record in enumerate(made)]
    jobs = [one.job.model_copy(update={"point": point}) for one, point in zip(made, points, strict=True)]
    records = {one.run_id: one.model_copy(update={"job": job}) for one, job in zip(made, jobs, strict=True)}
    store = Store(tmp_path / "runs")
    for record in records.values():
        store.add(record)
    for _ in ("single files", "gathered"):
        found = Store(tmp_path / "runs").records()
        assert {record.run_id: record for record in found.values()} == records
        assert {record.model_dump_json() for record in found.values()} == {one.model_dump_json() for one in records.values()}
        settings = {id(record.point.settings) for record in found.values()}
        assert len(settings) == len({record.point["width"] for record in records.values()}) < len(records)
        changed = next(iter(found.values())).model_copy(update={"versions": {"other": "1"}})
        assert changed.versions != next(iter(found.values())).versions
        store.compact()


@pytest.mark.parametrize("kept", ["a record", "a key of rows", "a key of a mapping"])
def test_what_a_trainer_keeps_is_not_taken_for_the_runs_own(kept) -> None:
    first, second = make_records(Truth(), make_experiment(), runs=2)[:2]
    record = json.loads(second.model_dump_json())
    odd = {"a record": {"after": record, **record["job"]}, "a key of rows": {"kinds": [1]}, "a key of a mapping": {"outcome": {}}}
    parser = RecordParser()
    for name, lr in ((',"point":{', 0.1), ('"],"exponents":{', 0.2), ("\\", 0.3)):
        point = first.point.model_copy(update={"settings": first.point.settings | odd[kept]}).at(lr=lr)
        job = first.job.model_copy(update={"run_id": name, "details": odd[kept], "point": point})
        one = first.model_copy(update={"job": job})
        assert parser(one.model_dump_json().encode()) == one


def test_a_text_that_is_no_record_is_none_after_one_that_is() -> None:
    record = make_records(Truth(), make_experiment(), runs=2)[0]
    parser, text = RecordParser(), record.model_dump_json().encode()
    assert parser(text) == parser(text) == record
    lr = json.dumps(record.point["lr"]).encode()
    for wrong in (
        text[:-1],
        text + b"}",
        b"",
        b"{}",
        text.replace(b'"curve":[', b'"curve":[{},', 1),
        text.replace(lr, b'"fast"', 1),
    ):
        with pytest.raises(ValueError):
            parser(wrong).require_whole()


def test_rows_are_a_tuple_wherever_they_go() -> None:
    record = make_records(Truth(), make_experiment(), runs=2)[0]
    parser = RecordParser()
    parser(text := record.model_dump_json().encode())
    kinds = tuple(record.job.kinds)
    for move in (copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), lambda one: Record.model_validate(dict(one))):
        found = move(parser(text))
        assert found == record and found.job.kinds == kinds == record.job.kinds and kinds
        assert (found.job.kinds[0], found.job.kinds[1:], len(found.job.kinds)) == (kinds[0], kinds[1:], len(kinds))
        assert found.job.kinds != kinds[1:] and repr(found.job.kinds) == repr(kinds)


def test_the_collector_is_as_it_was_whatever_happens() -> None:
    for was in (True, False):
        (gc.enable if was else gc.disable)()
        try:
            with without_collector():
                assert not gc.isenabled()
                Record.model_validate_json("{}")
        except ValueError:
            pass
        assert gc.isenabled() is was
    gc.enable()
