"""Batches as pure functions: any number of workers sees the same tokens, and a resumed run the ones it would have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hptransfer.data.shards import Tokens
from hptransfer.errors import UsageError


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
    shards: Sequence[Tokens], *, tokens: int, context: int, sequences: int = 64
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The same about ``tokens`` tokens for every run, as windows spread evenly over the validation shards."""
    lengths = [(len(shard) - 1) // context for shard in shards]
    available = sum(lengths)
    wanted = min(available, max(1, tokens // context))
    if not available:
        raise UsageError(f"the validation shards are shorter than the context of {context} tokens")
    windows = [(index, window) for index, length in enumerate(lengths) for window in range(length)]
    chosen = [windows[i * available // wanted] for i in range(wanted)]
    for first in range(0, wanted, sequences):
        rows = [shards[i][w * context : (w + 1) * context + 1] for i, w in chosen[first : first + sequences]]
        block = torch.from_numpy(np.stack(rows).astype(np.int64))
        yield block[:, :-1], block[:, 1:]
