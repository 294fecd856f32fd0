import copy
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pyarrow import fs

from hptransfer.base import files
from hptransfer.base.processes import is_running
from hptransfer.runs import ClaimLost, Claims, Store, Watch, claims


@pytest.fixture(params=["folder", "objects"])
def store(request, tmp_path) -> Store:
    """A folder; and the same through the path of object stores, which know no exclusive creation."""
    store = Store(tmp_path / "runs")
    if request.param == "objects":
        store.files._fs = fs.SubTreeFileSystem("/", fs.LocalFileSystem())
        store.files.is_local = False
        # Whole or not at all, as one PUT is; half a claim, which pyarrow's local stream shows, is a damaged one.
        store.files._put = lambda name, content: store.files._replace(store.files._path(name), content, False)
    return store


def test_a_run_has_one_holder_until_it_is_released(store):
    with Claims(store).take("abc") as claim:
        assert claim is not None
        assert Claims(store).take("abc") is None
        assert Claims(store).take("other") is not None
        assert Claims(store).held()["abc"].pid == os.getpid()
    assert "abc" not in Claims(store).held()
    assert Claims(store).take("abc") is not None


def contend(store) -> list[bool]:
    """Whether each of eight that claim a run at once got it."""
    gate, won = threading.Barrier(8), []

    def take() -> None:
        gate.wait()
        won.append(Claims(store).take("abc") is not None)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_of_many_that_claim_at_once_one_succeeds(store):
    assert sorted(contend(store)) == [False] * 7 + [True]


@pytest.mark.parametrize("step", range(6))
def test_who_stalls_before_any_step_of_its_claim_makes_no_second_holder(store, step):
    stalled, other_is_done, steps = threading.Event(), threading.Event(), itertools.count()

    def stalling(do):
        def call(*arguments):
            if next(steps) == step:
                stalled.set()
                other_is_done.wait(1.0)
            return do(*arguments)

        return call

    slow = copy.copy(store)
    slow.files = copy.copy(store.files)
    for name in ("stamps", "list", "_put", "exists", "delete"):
        setattr(slow.files, name, stalling(getattr(store.files, name)))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(Claims(slow).take, "abc")
        stalled.wait(1.0)
        second = Claims(store).take("abc")
        other_is_done.set()
        assert (first.result() is None) != (second is None)


def test_a_bid_whose_process_has_died_is_waited_for_and_removed(store, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BID_SECONDS", 0.2)
    (tmp_path / "runs/claims").mkdir(parents=True)
    left = tmp_path / "runs/claims/abc.0.json.0123.bid"
    left.write_text("{}")
    assert Claims(store).take("abc") is not None
    assert store.files.is_local or not left.exists()
    assert Claims(store).take("abc") is None


def test_of_many_that_take_over_from_the_dead_one_succeeds(store):
    code = "import sys; from hptransfer.runs import *; Claims(Store(sys.argv[1])).take('abc')"
    subprocess.run([sys.executable, "-c", code, store.uri], check=True)
    assert Claims(store).held()["abc"].is_dead
    assert sum(contend(store)) == 1


def test_the_same_session_takes_its_run_over_and_the_old_attempt_finds_out(store):
    first = Claims(store).take("abc", session="one", beat_seconds=0)
    first.beat()
    second = Claims(store).take("abc", session="one", beat_seconds=0)
    assert second is not None
    with pytest.raises(ClaimLost, match="run abc was taken over"):
        first.beat()
    second.beat()
    with first:
        pass  # its release leaves the second's claim alone
    assert Claims(store).take("abc", session="another") is None
    with second:
        pass
    assert Claims(store).held() == {}
    with pytest.raises(ClaimLost):  # also where the one that took over has finished by now
        first.confirm()


def test_a_pulse_found_dead_elsewhere_is_taken_over_but_not_if_it_beats_again(store, monkeypatch):
    claim = Claims(store).take("abc", beat_seconds=0)
    monkeypatch.setattr(claims, "this_host", lambda: "another machine")
    seen = Claims(store).held()["abc"]
    assert not seen.is_dead
    claim.beat()
    assert Claims(store).take("abc", dead=seen.pulse) is None
    assert Claims(store).take("abc", dead=Claims(store).held()["abc"].pulse) is not None


def test_a_watch_goes_by_its_own_clock(store, monkeypatch):
    claim, watch, now = Claims(store).take("abc", beat_seconds=0), Watch(), [time.monotonic()]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    assert watch.still_for(Claims(store).held()["abc"]) == 0
    now[0] += 50
    assert watch.still_for(Claims(store).held()["abc"]) == 50
    claim.beat()
    assert watch.still_for(Claims(store).held()["abc"]) == 0


def test_a_damaged_claim_holds_nothing_and_is_outnumbered(store, tmp_path):
    Claims(store).take("abc")
    (tmp_path / "runs/claims/abc.0.json").write_text("")
    assert Claims(store).take("abc") is not None
    assert json.loads((tmp_path / "runs/claims/abc.1.json").read_text())["generation"] == 1
    assert Claims(store).take("abc") is None


def test_a_store_that_fills_up_does_not_end_a_claim(store, monkeypatch):
    claim = Claims(store).take("abc", beat_seconds=0)

    def refuse(*_: object, **__: object) -> None:
        raise files.StoreUnreachable("store cannot be written: No space left on device", True)

    monkeypatch.setattr(files.Files, "write", refuse)
    claim.beat()
    claim.beat()


def test_a_process_that_is_dead_but_not_reaped_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not claims.is_running(process.pid)
    process.wait()
    assert not claims.is_running(process.pid)
    assert claims.is_running(os.getpid())


def test_how_far_a_run_is_comes_with_its_beat(store):
    claim = Claims(store).take("abc", beat_seconds=0)
    claim.say("step 3, loss 2.5000")
    claim.beat()
    assert Claims(store).progress(Claims(store).held()["abc"]) == "step 3, loss 2.5000"


def test_who_beats_is_seen_in_one_listing(store, monkeypatch):
    held = {name: Claims(store).take(name, beat_seconds=0) for name in "abc"}
    looker = Claims(store)
    before, listings, stamps = looker.held(), [], store.files.stamps
    monkeypatch.setattr(store.files, "stamps", lambda folder: listings.append(folder) or stamps(folder))
    held["b"].beat()
    monkeypatch.delattr(files.Files, "read")
    after = looker.held()
    assert {name for name in after if after[name].pulse != before[name].pulse} == {"b"}
    assert listings == ["claims"]


def test_a_claim_that_was_released_and_taken_anew_is_read_anew(store):
    looker = Claims(store)
    with Claims(store).take("abc", what="first"):
        assert looker.held()["abc"].what == "first"
    with Claims(store).take("abc", what="second one"):
        assert looker.held()["abc"].what == "second one"


def test_a_heartbeat_that_a_listing_does_not_show_yet_is_asked_for(store, monkeypatch):
    claim, looker = Claims(store).take("abc", beat_seconds=0), Claims(store)
    seen, listing = looker.held()["abc"], store.files.stamps("claims")
    claim.beat()
    monkeypatch.setattr(store.files, "stamps", lambda folder: listing)
    assert looker.held()["abc"].pulse == seen.pulse
    assert looker.held(lambda holder: True)["abc"].pulse == looker.holder("abc").pulse != seen.pulse


def test_a_number_that_another_process_has_by_now_is_not_its_claimant(store, tmp_path):
    """This process has the number of the claim, and was started at another time."""
    store.files.write("claims/abc.0.json", b"{}")
    mine = Claims(store).take("of this process")
    held = Claims(store).held()["of this process"]
    assert not held.is_dead and mine is not None
    assert replace(held, since="another boot 1").is_dead
    reused = {**vars(held), "run_id": "abc", "since": "another boot 1"}
    store.files.write("claims/abc.0.json", json.dumps({name: reused[name] for name in claims.FIELDS}).encode())
    assert Claims(store).take("abc") is not None


@pytest.mark.parametrize("pid", [0, -1, -os.getpid(), 2**70], ids=["0", "-1", "own group", "2^70"])
def test_a_number_that_is_no_process_is_nobody(pid):
    assert not is_running(pid)


def test_a_claim_with_a_flipped_bit_names_its_holder_or_nobody(tmp_path):
    store, name = Store(tmp_path / "runs"), "claims/abc.0.json"
    Claims(store).take("abc", session="mine")
    content, first = store.files.read(name), Claims(store).held()["abc"]
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        store.files.write(name, bytes(flipped))
        assert Claims(store).held() in ({"abc": first}, {})
