"""``report --live``: a page that follows a search in another process. Reads only; the search does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hptransfer import cli
from hptransfer.base import interrupts
from hptransfer.base.errors import UsageError
from hptransfer.base.files import StoreUnreachable, replace
from hptransfer.base.words import listing
from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import Resolve, by_cell
from hptransfer.report.build import build_page
from hptransfer.report.render import REFRESH_SECONDS
from hptransfer.runs import Claims, Store
from hptransfer.runs.claims import Holder, Watch
from hptransfer.transfer.prediction import default_path
from hptransfer.validate.results import Results, load_results

LOOK_SECONDS = 3.0  # between looks at the store
REST = 4  # times the CPU seconds of a page: a fifth of one core at most is not the search's,
MOST_SECONDS = 30.0  # unless that would be longer than this
STILL_SECONDS = 30.0  # without a heartbeat, which comes every 5

Stamp = tuple[object, ...]


def follow(
    experiment: Experiment,
    store: Store,
    resolve: Resolve,
    folder: Path,
    predictions: Sequence[str],
    options: Sequence[str],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Results:
    """Write ``folder/index.html`` anew whenever the store has changed, until the search is complete or Ctrl-C. Returns what the
    last look found.

    A store that cannot be read for a moment is said and tried again; at the first look it is a UsageError. The last page that is
    written here still loads itself anew: the caller replaces it.
    """
    _require_place(store)
    watch, claims, page = Watch(), Claims(store), folder / "index.html"
    last: Results | None = None
    shown, said = None, ""
    try:
        while True:
            took = 0.0
            try:
                held = claims.held(lambda holder: watch.still_for(holder) > STILL_SECONDS)
                lines, stamp = _running(claims, held, watch), _stamp(experiment, store, predictions, held)
                if (lines, stamp) != shown:
                    began = time.process_time()
                    results = load_results(experiment, store, resolve, predictions, allow_empty=True, anew=False)
                    if last and last.records and not results.records:
                        seen = len(last.records)
                        raise StoreUnreachable(f"store {store.location} has lost the {seen} runs that were in it", may_pass=True)
                    done, planned = progress(results)
                    if done == planned:
                        return results
                    replace(page, build_page(results, options, (*_head(results, store, done, planned), *lines)))
                    if shown is None:
                        cli.console.print(f"live: {page.absolute().as_uri()} (until the search is complete, or Ctrl-C)")
                    last, shown, said, took = results, (lines, stamp), "", time.process_time() - began
            except UsageError as error:
                if shown is None:
                    raise
                if str(error) != said:
                    cli.console.print(f"live: {error}; trying again")
                said = str(error)
            sleep(min(MOST_SECONDS, max(LOOK_SECONDS, REST * took)))
    except KeyboardInterrupt:
        if last is None:
            raise
        interrupts.heard()
        return last


def _head(results: Results, store: Store, done: int, planned: int) -> tuple[str, str]:
    """How far the search is, and when that was seen."""
    if results.records:
        what = f"{done} of {planned} runs of the search are in."
    else:
        others = len(store.records())
        holds = f"holds {others} runs, none of this experiment as it is set here" if others else "holds no run yet"
        what = f"waiting for the first run; store {store.location} {holds}."
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    when = f"As of {made} UTC, when the store last changed. The page loads itself anew every {REFRESH_SECONDS} s."
    return f"Live: {what}", when


def progress(results: Results) -> tuple[int, int]:
    """Runs of the search that are in, and how many it makes in all."""
    trials, cells = results.experiment.search.trials, results.experiment.searched_cells
    done = sum(min(trials, len(runs)) for arm in results.arms for runs in by_cell(results.searched(arm.name), cells))
    return done, trials * len(cells) * len(results.arms)


def _require_place(store: Store) -> None:
    """A store that no search can have made, or will make, is refused rather than waited for."""
    if not store.is_local:
        return
    place = Path(store.location).absolute()
    if place.exists() and not place.is_dir():
        raise UsageError(f"store {store.location} is not a folder")
    if not place.parent.is_dir():
        raise UsageError(f"store {store.location}: there is no folder {place.parent}")


def _stamp(experiment: Experiment, store: Store, predictions: Sequence[str], claims: dict[str, Holder]) -> Stamp:
    """Changes when a run comes in, starts or is gathered, and when a prediction is written."""
    listed = [tuple(store.files.list(*where)) for where in (("runs", ".json"), ("", ".parquet"), ("predictions", ".json"))]
    paths = [default_path(experiment.name, arm.name, **experiment.target_cell) for arm in experiment.compared]
    written = [path.stat().st_mtime_ns for path in (*map(Path, predictions), *paths) if path.is_file()]
    return *listed, tuple(written), tuple(claims)


def _running(claims: Claims, found: dict[str, Holder], watch: Watch) -> tuple[str, ...]:
    """What is trained now, one line; and who has not been heard of, another."""
    held = dict(sorted(found.items()))
    still = {run_id for run_id, holder in held.items() if holder.is_dead or watch.still_for(holder) > STILL_SECONDS}
    running = [_words(holder, claims.progress(holder)) for run_id, holder in held.items() if run_id not in still]
    lines = [f"Running now: {'; '.join(running)}." if running else "No run is in progress."]
    if still:
        names = listing([_words(held[run_id], claims.progress(held[run_id])) for run_id in sorted(still)])
        lines.append(f"No heartbeat from {names}: the process is gone, or hangs.")
    return tuple(lines)


def _words(holder: Holder, progress: str) -> str:
    """A run in progress, and how far it is."""
    return f"{holder.what or f'run {holder.run_id}'}{f' ({progress})' if progress else ''}"
