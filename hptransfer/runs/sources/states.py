"""What became of a run, in the words of trackers, schedulers and people."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Literal

import polars as pl

from hptransfer.runs.sources.names import meaning, plain

State = Literal["finished", "diverged", "unfinished", "failed"]

# The worst first: of what a cell says in several words it counts. Of a failed run a loss that is not finite says that it
# diverged, and a finite one nothing: it is of a step in between.
WORDS: dict[State, str] = {
    "diverged": "diverged diverge divergence exploded blew_up blown_up unstable nan inf",
    "failed": "failed fail failure error errored crashed crash oom out_of_memory memoryout aborted dead broken invalid unknown "
    "lost dnf \u274c",
    "unfinished": "running run pending queued waiting scheduled paused suspended killed kill preempted preempting pruned stopped "
    "cancelled canceled cancel interrupted timeout timed_out incomplete unfinished not in_progress resuming submitted false "
    "created node_fail deadline out_of_time evicted early_stopped early_stop stopped_early early_stopping active starting "
    "stopping preparing recovering reserved idle abandoned staged not_started new draft tbd todo \u23f3",
    "finished": "finished finish complete completed done success successful succeeded terminated ended ok true passed converged "
    "inactive published closed \u2705 \u2713 \u2714",
}
_STATES: dict[str, State] = {word: state for state, words in WORDS.items() for word in words.split()}
FLAGS = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}
MOST = 20  # words that a column of states has


@cache
def _words(text: str) -> str:
    own = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", text.strip()).lower()
    return re.sub(r"^(?:(?:trial|job|run)_?(?:state|status)|state|status)[._]", "", re.sub(r"[\s\-]+", "_", own))


def state_of(text: str) -> State | None:
    """The state that a cell tells, as ``FINISHED``, ``CANCELLED by 1000``, ``NaN loss`` or ``diverged at step 300``; None where
    no word of it is known."""
    if found := _STATES.get(_words(text)):
        return found
    said = {_STATES.get(word) for word in re.split(r"[\W_]+", _words(text))}
    return next((state for state in WORDS if state in said), None)


def states_in(frame: pl.DataFrame, name: str) -> dict[str, State | None]:
    """What each word of a column says of its run, None for one that is not known; empty where the column is not about that. One
    is that is called so (``State``, ``exit_code``), that asks so (``is_finished``, ``diverged``: yes or no), or of which all
    words are states, at least one of them finished and one not."""
    what, asked, column = meaning(name), _asked(name), frame[name]
    if column.dtype.is_nested() or not (what in ("state", "exit") or asked or column.dtype == pl.String):
        return {}
    words = column.drop_nulls().unique(maintain_order=True).cast(pl.String).to_list()
    if what == "state":
        return {word: state_of(word) for word in words}
    if what == "exit":
        return {word: "failed" if re.search("[1-9]", word) else "finished" for word in words}
    is_flag = len(words) <= len(FLAGS) and all(word.lower() in FLAGS for word in words)
    if asked and is_flag:
        other: State = "unfinished" if asked == "finished" else "finished"
        return {word: asked if FLAGS[word.lower()] else other for word in words}
    known = {word: _STATES.get(_words(word)) for word in words[: MOST + 1]}
    states = set(known.values())
    return known if not is_flag and len(known) <= MOST and None not in states and {"finished"} < states else {}


def _asked(name: str) -> State | None:
    """The state that a column asks for by its name."""
    return None if meaning(name) else _STATES.get(re.sub(r"^(?:is|has|was|did)_", "", plain(name)))


def without_words(frame: pl.DataFrame, name: str, notes: list[str]) -> pl.DataFrame:
    """The frame with words in the place of a loss as what they say: nan where a run diverged; where it failed or is not finished
    it is left out, and noted. Other words stay."""
    if frame[name].dtype != pl.String:
        return frame
    words = frame[name].filter(frame[name].cast(pl.Float64, strict=False).is_null()).drop_nulls().unique(maintain_order=True)
    told = {word: state for word in words.to_list() if (state := state_of(word))}
    out = frame[name].is_in([word for word, state in told.items() if state != "diverged"]).fill_null(False)
    if out.any():
        notes.append(f"{name}: left out {counted(frame[name].filter(out))}")
    nan = pl.col(name).is_in([word for word, state in told.items() if state == "diverged"])
    return frame.with_columns(pl.when(nan).then(pl.lit("nan")).otherwise(pl.col(name)).alias(name)).filter(~out)


def counted(words: pl.Series) -> str:
    """Words with how often each is there, the most frequent first."""
    return ", ".join(f"{count:,} {word}" for word, count in Counter(str(word).lower() for word in words).most_common())
