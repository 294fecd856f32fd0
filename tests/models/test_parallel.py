"""The model inside DDP and FSDP2, on one worker: hooks fire, gradients and losses stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from tiny import VOCAB, tiny_spec
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from hptransfer.models.model import Model
from hptransfer.trainers.ours.build import build_model


@pytest.fixture
def group(tmp_path) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "rendezvous"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def shard(model: Model) -> nn.Module:
    """Every block and the readout a unit of its own, so that each depends on its own hook to have whole weights."""
    for unit in (*model.units(), model.readout):
        fully_shard(unit)
    return fully_shard(model)


def outcome(network: nn.Module) -> tuple[Tensor, ...]:
    tokens = torch.randint(VOCAB, (4, 17), generator=torch.Generator().manual_seed(0))
    loss = network(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    grads = [parameter.grad for parameter in network.parameters()]
    return loss.detach(), *(grad.full_tensor() if hasattr(grad, "full_tensor") else grad for grad in grads)


@pytest.mark.parametrize("wrap", [DistributedDataParallel, shard])
@pytest.mark.parametrize("model", [{"head_dim": 8, "norm_gains": True, "activation": "swiglu"}, {"family": "lstm"}])
def test_the_wrapped_model_is_the_model(group, wrap, model) -> None:
    spec = tiny_spec(precision="float64", model={"width": 16, "depth": 1, "context": 16, "vocab": VOCAB, **model})
    plain, wrapped = build_model(spec), build_model(spec)
    for weight, other in zip(plain.parameters(), wrapped.parameters(), strict=True):
        nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(weight.numel()))
        other.data.copy_(weight.data)
    torch.testing.assert_close(outcome(wrap(wrapped)), outcome(plain), rtol=1e-12, atol=1e-12)
