"""Records of a store take little memory and are the same."""

import gc

from synthetic import Truth, make_experiment, make_records

from hptransfer.runs import Record, Store
from hptransfer.runs.sharing import without_collector


def test_records_that_share_their_parts_are_the_records_that_were_added(tmp_path) -> None:
    records = {record.run_id: record for record in make_records(Truth(), make_experiment(), runs=6)}
    store = Store(tmp_path / "runs")
    for record in records.values():
        store.add(record)
    for _ in ("single files", "gathered"):
        found = Store(tmp_path / "runs").records()
        assert {record.run_id: record for record in found.values()} == records
        assert {record.model_dump_json() for record in found.values()} == {one.model_dump_json() for one in records.values()}
        settings = {id(record.point.settings) for record in found.values()}
        assert len(settings) < len(records) and len({id(record.model_fields_set) for record in found.values()}) == 1
        changed = next(iter(found.values())).model_copy(update={"versions": {"other": "1"}})
        assert changed.versions != next(iter(found.values())).versions
        store.compact()


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
