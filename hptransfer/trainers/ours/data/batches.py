"""Batches as pure functions: any number of workers sees the same tokens, and a resumed run the ones it would have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hptransfer.base.errors import UsageError
from hptransfer.models.loss import IGNORED
from hptransfer.trainers.ours.data.shards import Tokens


def batch(
    shards: Sequence[Tokens], *, seed: int, step: int, sequences: int, context: int, rank: int = 0, workers: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (sequences / workers, context) of one rank at one step, int64.

    The global batch depends on (seed, step) alone: windows drawn uniformly over all shards, rank r taking the r-th part.
    """
    lengths = np.array([len(shard) - context for shard in shards])
    if lengths.max() <= 0:
        raise UsageError(f"no shard is longer than the context of {context} tokens")
    ends = np.cumsum(np.maximum(lengths, 0))
    starts = np.random.default_rng((seed, step)).integers(0, ends[-1], size=sequences)
    part = starts[rank * sequences // workers : (rank + 1) * sequences // workers]
    windows = []
    for start in part:
        index = int(np.searchsorted(ends, start, side="right"))
        offset = int(start - (ends[index - 1] if index else 0))
        windows.append(shards[index][offset : offset + context + 1])
    tokens = torch.from_numpy(np.stack(windows).astype(np.int64))
    return tokens[:, :-1], tokens[:, 1:]


def validation_batches(
    shards: Sequence[Tokens], *, tokens: int, context: int, sequences: int = 64, rank: int = 0, workers: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The same about ``tokens`` tokens for every run, as windows spread evenly over the validation shards, int64.

    Where ``tokens`` are as many as there are, every token but a shard's first is a target once. Windows are dealt out over
    ``workers``, all of which get as many batches of the same shape; what is there only to fill them up has targets `IGNORED`.
    """
    windows = [(index, start) for index, shard in enumerate(shards) for start in range(0, len(shard) - 1, context)]
    if not windows:
        raise UsageError("the validation shards hold no two tokens")
    # Shorter ends of shards count only where everything does.
    if tokens < sum(len(shard) - 1 for shard in shards):
        whole = [(index, start) for index, start in windows if start + context < len(shards[index])] or windows
        wanted = min(len(whole), max(1, tokens // context))
        windows = [whole[i * len(whole) // wanted] for i in range(wanted)]
    for first in range(0, len(windows), sequences * workers):
        together = windows[first : first + sequences * workers]
        rows = -(-len(together) // workers)
        block = np.zeros((rows, context), dtype=np.int64), np.full((rows, context), IGNORED, dtype=np.int64)
        for row, (index, start) in enumerate(together[rank * rows : (rank + 1) * rows]):
            window = shards[index][start : start + context + 1]
            block[0][row, : len(window) - 1], block[1][row, : len(window) - 1] = window[:-1], window[1:]
        yield torch.from_numpy(block[0]), torch.from_numpy(block[1])
