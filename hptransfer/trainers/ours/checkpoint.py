"""Checkpoints in the store: an interrupted run goes on from its last one and ends as the straight run would have."""

from __future__ import annotations

import io
import logging
import time
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict

from hptransfer.base.errors import HptransferError, one_line
from hptransfer.base.files import StoreUnreachable
from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.runs import Store
from hptransfer.trainers.ours.parallel import of_first
from hptransfer.trainers.ours.state import RunState

_LOG = logging.getLogger(__name__)

# Raise it whenever what a checkpoint holds changes: one in another format is not read.
FORMAT = 2

# Of a long run's time, at most this share goes into its checkpoints.
OVERHEAD = 0.05


class Misfit(Exception):
    """A checkpoint is not of the run that it is named for."""


class Checkpoints:
    """Saves the state of one run every ``seconds``, or less often where saving takes more than a share of `OVERHEAD` of the time;
    without a store it does nothing.

    A checkpoint is that of one process, whatever number of workers wrote it: another number may go on from it. It holds the
    step, from which the batches follow, and no random state: nothing is drawn after the initialisation.
    """

    def __init__(self, store: Store | None, run_id: str, seconds: float = 30.0) -> None:
        self._store, self._run_id, self._seconds = store, run_id, seconds
        self._last = time.monotonic()

    def load(self, model: nn.Module, optimizer: ChainOptimizer, steps: int) -> RunState | None:
        """Bring model and optimizer to the last saved state of a run of ``steps`` and return the run's, or None; a damaged one is
        named and the run starts over. Each worker reads it. Raises Misfit, which is said already, where it is of another run:
        model and optimizer may have parts of it then, and are to be built again."""
        saved = self._read()
        step = saved["state"]["step"] if saved else 0
        if step != of_first(step):
            raise HptransferError(f"run {self._run_id}: workers read different checkpoints from the store; is it shared by all?")
        if saved is None:
            return None
        try:
            state = RunState.from_dict(saved["state"], steps)
            _require_whole(saved, model)
            set_model_state_dict(model, saved["model"], options=StateDictOptions(full_state_dict=True))
            optimizer.load_state_dict(saved["optimizer"])
            optimizer.allocate()
        except Exception as error:  # torch raises whatever does not fit
            why = f"{type(error).__name__}: {one_line(error)[:120]}"
            _LOG.warning("checkpoint of run %s does not fit (%s); the run starts over", self._run_id, why)
            raise Misfit from None
        return state

    def _read(self) -> dict[str, Any] | None:
        try:
            content = self._store.read_checkpoint(self._run_id) if self._store else None
            if content is None:
                return None
            saved: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
            if saved["format"] != FORMAT:
                why = f"has format {saved['format']}, not {FORMAT}"
            elif saved.get("run_id", self._run_id) != self._run_id:
                why = f"is of run {saved['run_id']}"
            else:
                int(saved["state"]["step"])
                return saved
        except HptransferError:  # the store's own
            raise
        except Exception as error:  # torch.load raises whatever the damage provokes
            why = f"is damaged ({type(error).__name__})"
        _LOG.warning("checkpoint of run %s %s; the run starts over", self._run_id, why)
        return None

    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._store is not None and time.monotonic() - self._last >= self._seconds

    def save(self, model: nn.Module, optimizer: ChainOptimizer, state: RunState) -> None:
        """Keep all three, written by rank 0. Collective."""
        began = time.monotonic()
        weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        saved = {
            "format": FORMAT,
            "run_id": self._run_id,
            "model": weights,
            "optimizer": optimizer.full_state_dict(),
            "state": state.to_dict(),
        }
        if self._store is not None and weights:  # empty on the other ranks
            buffer = io.BytesIO()
            torch.save(saved, buffer)
            try:
                self._store.write_checkpoint(self._run_id, buffer.getvalue())
            except StoreUnreachable as error:  # the run may well finish without
                _LOG.warning("run %s goes on without a checkpoint: %s", self._run_id, error)
        self._last = time.monotonic()
        self._seconds = max(self._seconds, (self._last - began) / OVERHEAD)

    def remove(self) -> None:
        """Forget them: the run has its record. A store that refuses keeps one that nobody will read."""
        if self._store is not None:
            with suppress(StoreUnreachable):
                self._store.remove_checkpoint(self._run_id)


def _require_whole(saved: dict[str, Any], model: nn.Module) -> None:
    """Raises ValueError for what torch takes without a word: weights that are not there, or not of the model, and weights of a
    kind without state beside others that have one."""
    if differ := saved["model"].keys() ^ model.state_dict().keys():
        raise ValueError(f"weights {', '.join(sorted(differ)[:3])}")
    state = saved["optimizer"]["state"]
    for group in saved["optimizer"]["param_groups"]:
        if len({bool(state.get(index)) for index in group["params"]}) > 1:
            raise ValueError("weights without a state of the optimizer")
