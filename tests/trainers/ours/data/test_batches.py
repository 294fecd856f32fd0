import numpy as np
import pytest
import torch

from hptransfer.base.errors import UsageError
from hptransfer.models.loss import IGNORED
from hptransfer.trainers.ours.data.batches import batch, validation_batches

# Every token is its own position, and shards are far apart: a window tells where it is from.
SHARDS = tuple(
    np.arange(first, first + length, dtype=np.uint16) for first, length in ((0, 200), (1000, 8), (2000, 9), (3000, 50))
)
CONTEXT = 8


def draw(step: int = 0, seed: int = 0, sequences: int = 12, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    return batch(SHARDS, seed=seed, step=step, sequences=sequences, context=CONTEXT, **kwargs)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    np.random.seed(0)
    first = draw(step=3, seed=5)[0]
    np.random.seed(1)
    draw(step=4, seed=5)
    assert torch.equal(draw(step=3, seed=5)[0], first)
    assert not torch.equal(draw(step=4, seed=5)[0], first)
    assert not torch.equal(draw(step=3, seed=6)[0], first)
    assert not torch.equal(draw(step=5, seed=3)[0], first)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 12])
def test_the_parts_of_all_ranks_are_the_global_batch(workers: int) -> None:
    whole = draw()
    parts = [draw(rank=rank, workers=workers) for rank in range(workers)]
    assert {len(inputs) for inputs, _ in parts} == {12 // workers}
    for i in (0, 1):
        assert torch.equal(torch.cat([part[i] for part in parts]), whole[i])


def test_targets_are_the_inputs_one_token_on_and_windows_stay_in_their_shard() -> None:
    starts = set()
    for step in range(400):
        inputs, targets = draw(step)
        assert inputs.shape == targets.shape == (12, CONTEXT) and inputs.dtype == torch.int64
        assert torch.equal(targets, inputs + 1)
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(CONTEXT))
        starts.update(inputs[:, 0].tolist())
    # Every place where a window fits, and the shard of 8 tokens, in which none does, left out.
    assert starts == {*range(192), 2000, *range(3000, 3042)}


def test_windows_are_uniform() -> None:
    starts = torch.cat([draw(step, sequences=500)[0][:, 0] for step in range(20)])
    assert (starts < 1000).float().mean().item() == pytest.approx(192 / 235, abs=0.02)


def test_shards_shorter_than_the_context_are_refused() -> None:
    with pytest.raises(UsageError, match="no shard is longer than the context of 8 tokens"):
        batch(SHARDS[1:2], seed=0, step=0, sequences=2, context=CONTEXT)
    with pytest.raises(UsageError, match="hold no two tokens"):
        list(validation_batches([np.arange(1, dtype=np.uint16)], tokens=100, context=CONTEXT))


@pytest.mark.parametrize(("tokens", "windows"), [(1, 1), (80, 10), (100, 12), (262, 24 + 1 + 6)])
def test_validation_windows_are_spread_and_never_overlap(tokens: int, windows: int) -> None:
    """At least one; at most all whole ones, unless everything is asked for. The same each time."""
    batches = list(validation_batches(SHARDS, tokens=tokens, context=CONTEXT, sequences=4))
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert {len(part) for part, _ in batches[:-1]} <= {4}
    assert inputs.shape == (windows, CONTEXT)
    assert torch.equal(targets, inputs + 1)
    assert len(inputs.flatten().unique()) == inputs.numel()
    if windows > 1:
        assert inputs.min() == 0 and inputs.max() > 3000
    again = torch.cat([part for part, _ in validation_batches(SHARDS, tokens=tokens, context=CONTEXT, sequences=4)])
    assert torch.equal(inputs, again)


@pytest.mark.parametrize("workers", [1, 2, 3, 40])
@pytest.mark.parametrize("tokens", [100, 10**6])
def test_workers_share_the_validation_tokens(workers: int, tokens: int) -> None:
    """Together the same targets as one worker, each once; all get as many batches of the same shapes, if only to fill up."""
    parts = [
        list(validation_batches(SHARDS, tokens=tokens, context=CONTEXT, sequences=4, rank=rank, workers=workers))
        for rank in range(workers)
    ]
    shapes = [[inputs.shape for inputs, _ in part] for part in parts]
    assert all(shape == shapes[0] for shape in shapes)
    counted = [(i.item(), t.item()) for part in parts for pair in part for i, t in zip(*map(torch.flatten, pair), strict=True)]
    counted = [(i, t) for i, t in counted if t != IGNORED]
    assert all(t == i + 1 for i, t in counted)
    seen = sorted(t for _, t in counted)
    everything = [int(t) for shard in SHARDS for t in shard[1:]]
    assert seen == everything if tokens == 10**6 else len(seen) == len(set(seen)) == 96 and set(seen) < set(everything)
