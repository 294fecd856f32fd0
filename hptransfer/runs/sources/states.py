"""What became of a run, in the words of trackers, schedulers and people."""

from __future__ import annotations

from typing import Literal

State = Literal["finished", "diverged", "unfinished", "failed"]

# Of a failed run a loss that is not finite says that it diverged, and a finite one nothing: it is of a step in between.
WORDS: dict[State, str] = {
    "finished": "finished finish complete completed done success successful succeeded terminated ended ok true passed",
    "diverged": "diverged divergence exploded blew_up nan inf unstable",
    "unfinished": "running run pending queued waiting scheduled paused suspended killed kill preempted preempting pruned stopped "
    "cancelled canceled cancel interrupted timeout timed_out incomplete unfinished in_progress resuming submitted false created "
    "node_fail deadline out_of_time evicted early_stopped",
    "failed": "failed fail failure error errored crashed crash oom out_of_memory aborted dead",
}
_STATES = {word: state for state, words in WORDS.items() for word in words.split()}
# Words in the place of a loss.
NO_LOSS = ("diverged", "divergence", "exploded", "blew up", "unstable", "div", "nan (diverged)")


def state_of(word: str) -> State | None:
    """The state that a word tells; None for one that is not known."""
    own = word.strip().lower().replace(" ", "_").replace("-", "_").removeprefix("trialstate.")
    return _STATES.get(own) or _STATES.get(own.partition("_by_")[0])  # CANCELLED by 1000, as Slurm has it
