"""``report --live`` beside a search: what the page says, when it is made anew, and how it ends."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import yaml
from report.factory import BEST_LR, experiment, job, prediction, record, register, search_records

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.base.files import StoreUnreachable
from hptransfer.cli import perform
from hptransfer.report import live
from hptransfer.runs import Claims, Record, Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate import standing

OURS = experiment(("muon",))
PAGE = Path("reports/sample/index.html")
REFRESH = re.compile(r'<meta http-equiv="refresh" content="\d+">')


def runs() -> list[Record]:
    """A whole search: nine runs at each of three widths."""
    return [made for made in search_records(OURS) if made.state != "failed"]


def follow(*steps: Callable[[], object], store: str = "runs") -> list[str]:
    """The page at the end of every look; between two of them one of the ``steps`` is taken, after the last Ctrl-C."""
    pages, left = [], iter(steps)

    def step(seconds: float) -> None:
        assert seconds >= live.LOOK_SECONDS
        pages.append(PAGE.read_text())
        try:
            next(left)()
        except StopIteration:
            raise KeyboardInterrupt from None

    live.follow(OURS, Store(store), resolve, PAGE.parent, (), ("--experiment", "sample"), sleep=step)
    return pages


def nothing() -> None:
    """Nothing happens between two looks."""


def top(page: str) -> str:
    """What the page says at its top."""
    return page[page.index('<div class="notice live"') :].partition("</div>")[0]


def test_a_search_is_followed_from_before_its_first_run_to_its_end(folder: Path) -> None:
    made, store = runs(), Store("runs")
    pages = follow(
        lambda: store.add(made[0]),
        lambda: [store.add(one) for one in made[1:5]],
        lambda: [store.add(one) for one in made[5:]],
    )
    assert len(pages) == 3
    assert "waiting for the first run; store runs holds no run yet." in top(pages[0])
    assert [re.findall(r"Live: (\d+) of (\d+) runs", top(page)) for page in pages[1:]] == [[("1", "27")], [("5", "27")]]
    for page in pages:
        assert REFRESH.search(page)
        assert page.rstrip().endswith("</html>")
    assert made[4].run_id in pages[2] and made[4].run_id not in pages[1]


def test_the_page_is_made_anew_only_when_the_store_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(live, "build_page", lambda *arguments: built.append(arguments) or "<html></html>")
    store, made = Store("runs"), runs()
    store.add(made[0])
    path = Path("predictions/sample/muon-256.json")

    def predict() -> None:
        path.parent.mkdir(parents=True)
        path.write_text(prediction(OURS, "muon").model_dump_json())

    counts = []

    def count() -> None:
        counts.append(len(built))

    def registered() -> None:
        register(store, prediction(OURS, "muon"))

    looks = (lambda: store.add(made[1]), count, nothing, store.compact, count, predict, count, count, registered, count, count)
    follow(nothing, nothing, count, *looks)
    assert counts == [1, 2, 3, 4, 4, 5, 5]


def test_nothing_is_fitted_while_a_search_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an arm that is searched to the end the page has what was predicted already."""
    two = experiment()
    monkeypatch.setattr(standing, "predict_group", lambda *arguments, **named: pytest.fail("a fit"))
    store, pages = Store("runs"), []
    for one in search_records(two):
        if one.point.settings["optimizer"] == "muon" or one.point["width"] == 32:
            store.add(one)

    def step(seconds: float) -> None:
        pages.append(PAGE.read_text())
        if len(pages) == 2:
            raise KeyboardInterrupt
        register(store, prediction(two, "muon"))

    live.follow(two, store, resolve, PAGE.parent, (), "", sleep=step)
    assert "optimum-against-width-muon" not in pages[0] and "optimum-against-width-muon" in pages[1]


def test_what_runs_now_is_told_by_its_claims(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("hptransfer.runs.claims.time", type("Clock", (), {"monotonic": staticmethod(lambda: clock[0])}))
    store, watch = Store("runs"), live.Watch()
    claims = Claims(store)
    assert live._running(claims, claims.held(), watch) == ("No run is in progress.",)
    one, other = job(OURS, "muon", 32, 0.01), job(OURS, "muon", 64, 0.0123456)
    first, second = claims.take(one.run_id, what=one.title), claims.take(other.run_id, beat_seconds=0)
    assert first is not None and second is not None
    (line,) = live._running(claims, claims.held(), watch)
    assert "muon, width 32, lr 0.01, weight_decay 0.001, embedding_lr_ratio 1" in line and f"run {other.run_id}" in line
    clock[0] += 2 * live.STILL_SECONDS
    second.beat()
    assert live._running(claims, claims.held(), watch) == (
        f"Running now: run {other.run_id}.",
        "No heartbeat from muon, width 32, lr 0.01, weight_decay 0.001, embedding_lr_ratio 1: the process is gone, or hangs.",
    )


def test_runs_of_another_experiment_are_not_taken_for_a_start(folder: Path) -> None:
    Store("runs").add(record(job(experiment(batch_sequences=32), "muon", 64, 0.01)))
    (page,) = follow()
    assert "store runs holds 1 runs, none of this experiment as it is set here." in top(page)


def test_a_store_that_is_away_for_a_moment_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, made = Store("runs"), runs()
    store.add(made[0])
    held = Claims.held

    def away(*_: object) -> None:
        raise StoreUnreachable("store runs cannot be read: Stale file handle", may_pass=True)

    pages = follow(
        lambda: monkeypatch.setattr(Claims, "held", away),
        nothing,
        lambda: monkeypatch.setattr(Claims, "held", held),
        lambda: [store.add(one) for one in made],
    )
    assert pages[0] == pages[1] == pages[2]
    assert capsys.readouterr().err.count("cannot be read: Stale file handle; trying again") == 1


def lose(store: Path) -> None:
    """The folder is moved away, as by an unmounted disk that leaves its mount point."""
    store.rename("elsewhere")
    store.mkdir()


@pytest.mark.parametrize("lost", [lose, lambda store: store.rename("elsewhere")])
def test_a_store_that_was_moved_away_is_not_taken_for_an_empty_one(
    folder: Path, capsys: pytest.CaptureFixture[str], lost: Callable[[Path], object]
) -> None:
    store, made = Store("runs"), runs()
    for one in made[:9]:
        store.add(one)

    def back() -> None:
        shutil.rmtree("runs", ignore_errors=True)
        Path("elsewhere").rename("runs")
        for one in made:
            store.add(one)

    pages = follow(lambda: lost(Path("runs")), nothing, nothing, back)
    assert "Live: 9 of 27 runs" in top(pages[0]) and pages == pages[:1] * 4
    said = "live: store runs has lost the 9 runs that were in it; trying again"
    assert capsys.readouterr().err.count(said) == 1


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("file", "store file: there is a file in its place"),
        ("no/such", "store no/such: there is no folder "),
        ("gone://x", "store gone://x: "),
    ],
)
def test_a_wrong_store_is_refused_at_once(folder: Path, store: str, says: str) -> None:
    Path("file").write_text("")
    Path("sample.yaml").write_text(yaml.safe_dump(OURS.model_dump(mode="json")))
    with pytest.raises(UsageError, match=re.escape(says)):
        perform("report", ["--live", "--experiment", "sample.yaml", "--store", store])
    assert not Path("reports").exists()


def test_live_and_compare_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        perform("report", ["--live", "--compare", "a", "b"])
    assert stopped.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_page_is_never_seen_half_written(folder: Path) -> None:
    """A browser that reads all the time, in another thread."""
    left, store, ended = iter(runs()), Store("runs"), threading.Event()
    seen: list[str] = []

    def browse() -> None:
        while not ended.is_set():
            if PAGE.exists():
                seen.append(PAGE.read_text()[-20:])
            time.sleep(0.001)

    def step(_: float) -> None:
        """Three runs come in, and the browser has read the last page."""
        for one in islice(left, 3):
            store.add(one)
        read, patience = len(seen), time.monotonic() + 30
        while len(seen) == read and time.monotonic() < patience:
            time.sleep(0.001)

    browser = threading.Thread(target=browse)
    browser.start()
    try:
        live.follow(OURS, store, resolve, PAGE.parent, (), "", sleep=step)
    finally:
        ended.set()
        browser.join()
    assert len(seen) >= len(runs()) / 3
    assert all(end.rstrip().endswith("</html>") for end in seen)
    assert not list(PAGE.parent.glob(".*"))


@pytest.fixture
def written(folder: Path) -> Callable[..., tuple[int, str]]:
    """Runs the command; with a search that is half done it is interrupted at its first pause."""
    Path("sample.yaml").write_text(yaml.safe_dump(OURS.model_dump(mode="json")))

    def run(*argv: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["report", "--live", "--experiment", "sample.yaml", *argv])
        return int(stopped.value.code or 0), PAGE.read_text()

    return run


def test_the_last_page_of_a_complete_search_stays_as_it_is(
    written: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store("runs")
    for one in runs():
        store.add(one)
    code, page = written("--json")
    assert code == 0
    assert not REFRESH.search(page) and 'class="notice live"' not in page
    assert json.loads(capsys.readouterr().out) == json.loads((PAGE.parent / "summary.json").read_text())
    assert (PAGE.parent / "figures/lr-curves-muon.svg").is_file()


@pytest.mark.parametrize("finished", [0, 3])
def test_ctrl_c_leaves_a_last_page_that_stays_as_it_is(
    written: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    store, before = Store("runs"), []
    for one in runs()[:finished]:
        store.add(one)

    def pause(_: float) -> None:
        before.append(PAGE.read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(live.follow, "__kwdefaults__", {"sleep": pause})
    code, page = written()
    assert code == 130
    assert REFRESH.search(before[0]) and not REFRESH.search(page)
    assert (PAGE.parent / "summary.json").is_file()


@pytest.mark.parametrize("away", ["moved", "unreachable"])
def test_ctrl_c_while_the_store_is_away_leaves_the_report_of_the_last_look(
    written: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    store, looks = Store("runs"), iter(range(3))
    for one in runs()[:9]:
        store.add(one)

    def unreachable(*_: object) -> None:
        raise StoreUnreachable("store runs cannot be read: Stale file handle", may_pass=True)

    def pause(_: float) -> None:
        if next(looks) < 2:
            if away == "unreachable":
                monkeypatch.setattr(Claims, "held", unreachable)
                monkeypatch.setattr(Store, "records", unreachable)
            elif Path("runs").exists():
                Path("runs").rename("elsewhere")
            return
        raise KeyboardInterrupt

    monkeypatch.setattr(live.follow, "__kwdefaults__", {"sleep": pause})
    code, page = written()
    assert code == 130
    assert not REFRESH.search(page) and 'class="notice live"' not in page
    assert json.loads((PAGE.parent / "summary.json").read_text())["runs"] == {"complete": 9}


def test_the_last_report_says_what_the_complete_search_refuses(written: Callable[..., tuple[int, str]]) -> None:
    store = Store("runs")
    for width in OURS.widths:
        for factor in (1.3, 2, 3, 4):
            store.add(record(job(OURS, "muon", width, BEST_LR["muon"] * factor)))
    _, page = written("--set", "search.trials=4")
    assert "No prediction: muon at width 32: the best lr is at the lower edge of its sweep" in page
    assert "there is no prediction yet" not in page
