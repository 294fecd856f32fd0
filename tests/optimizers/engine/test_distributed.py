"""How whole matrices are shared out over ranks. That two ranks step as one does is in tests/train/test_parallel.py."""

from __future__ import annotations

import json

import pytest
from optimizers.engine.counting import worker
from torch import multiprocessing

from hptransfer.optimizers.engine.distributed import share_out


def test_work_is_shared_out_evenly() -> None:
    """The dearest first: no rank has more than the mean and one piece; the same for every rank that computes it."""
    costs = [1.0, 9.0, 2.0, 2.0, 9.0, 4.0, 4.0, 1.0]
    owners = share_out(costs, 2)
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in (0, 1)]
    assert loads == [16, 16]
    assert owners == share_out(costs, 2)
    assert share_out([5.0, 1.0, 1.0], 3) == [0, 1, 2]
    assert share_out([], 2) == []


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_each_of_two_ranks_steps_about_half_of_the_matrices(strategy: str, tmp_path) -> None:
    """The FLOPs of the chains that each rank really ran; together those of one worker, who steps all."""
    multiprocessing.spawn(worker, args=(str(tmp_path), strategy), nprocs=2)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for recipe, whole in ranks[0]["one"].items():
        parts = [rank["two"][recipe] for rank in ranks]
        assert sum(parts) == pytest.approx(whole)
        assert max(parts) / whole == pytest.approx(0.5, abs=0.06), recipe
