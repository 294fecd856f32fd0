"""Checkpoints in the store: an interrupted run goes on from its last one and ends as the straight run would have."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import torch

from hptransfer.store import Store
from hptransfer.store.files import StoreUnreachable

# Raise it whenever what a checkpoint holds changes: one in another format is not read.
FORMAT = 1


class Checkpoints:
    """Saves the state of one run every ``seconds``; without a store it does nothing."""

    def __init__(self, store: Store | None, run_id: str, seconds: float = 30.0) -> None:
        self._store, self._run_id, self._seconds = store, run_id, seconds
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last saved state, or None; a damaged one is named and the run starts over."""
        content = self._store.read_checkpoint(self._run_id) if self._store else None
        if content is None:
            return None
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
            if state["format"] == FORMAT:
                return state
            why = f"has format {state['format']}, not {FORMAT}"
        except Exception as error:  # torch.load raises whatever the damage provokes
            why = f"is damaged ({type(error).__name__})"
        print(f"checkpoint of run {self._run_id} {why}; the run starts over", file=sys.stderr)
        return None

    def due(self) -> bool:
        return self._store is not None and time.monotonic() - self._last >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        if self._store is None:
            return
        buffer = io.BytesIO()
        torch.save(state | {"format": FORMAT}, buffer)
        self._last = time.monotonic()
        try:
            self._store.write_checkpoint(self._run_id, buffer.getvalue())
        except StoreUnreachable as error:  # the run may well finish without
            print(f"run {self._run_id} goes on without a checkpoint: {error}", file=sys.stderr)

    def remove(self) -> None:
        if self._store is not None:
            self._store.remove_checkpoint(self._run_id)
