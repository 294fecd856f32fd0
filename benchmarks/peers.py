"""Other libraries' optimizers, by the recipe whose work they do.

Each peer gets the parameters split as ours are: ``matrix`` for the optimizer itself, ``rest`` for AdamW beside it, which is
torch's fused one unless the peer brings its own. Where ours gives every parameter to one chain, ``rest`` is empty.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

Params = list[nn.Parameter]
Build = Callable[[Params, Params], list[Optimizer]]

LR = 1e-3
WEIGHT_DECAY = 1e-2  # decoupled: lr times this per step
ADAM: dict[str, Any] = {"lr": LR, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": WEIGHT_DECAY}
PERIOD = 10  # steps between two refreshes of a preconditioner, everywhere
UNBLOCKED = 10_000  # larger than any dimension here


@dataclass(frozen=True)
class Peer:
    """One optimizer of another library. ``same_work``: its step does the recipe's mathematics, and may be compared."""

    library: str
    name: str
    build: Build
    note: str = ""
    same_work: bool = True
    variant: str = ""  # of ours that it is compared with, where there are several
    wakes: int = 3  # steps until every parameter has moved

    @property
    def title(self) -> str:
        return f"{self.library} {self.name}"

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.library.replace("-", "_")) is not None


class _Patched(Optimizer):
    """An optimizer that steps with a module's attribute replaced."""

    def __init__(self, inner: Optimizer, module: Any, attribute: str, value: Any) -> None:
        self.inner = inner
        self._patch = (module, attribute, value)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.inner.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        with _replaced(*self._patch):
            self.inner.step()


@contextmanager
def _replaced(module: Any, attribute: str, value: Any) -> Iterator[None]:
    before = getattr(module, attribute)
    setattr(module, attribute, value)
    try:
        yield
    finally:
        setattr(module, attribute, before)


def _with_adam(matrix_optimizer: Optimizer, rest: Params) -> list[Optimizer]:
    return [matrix_optimizer, torch.optim.AdamW(rest, fused=True, **ADAM)] if rest else [matrix_optimizer]


def _torch_adamw(matrix: Params, rest: Params, **options: Any) -> list[Optimizer]:
    return [torch.optim.AdamW(matrix + rest, **options, **ADAM)]


def _torch_sgd(matrix: Params, rest: Params, **options: Any) -> list[Optimizer]:
    return _with_adam(torch.optim.SGD(matrix, lr=LR, momentum=0.9, **options), rest)


def _torch_muon(matrix: Params, rest: Params) -> list[Optimizer]:
    return _with_adam(torch.optim.Muon(matrix, lr=LR, weight_decay=WEIGHT_DECAY, momentum=0.95, nesterov=True, ns_steps=5), rest)


def _schedulefree(matrix: Params, rest: Params) -> list[Optimizer]:
    from schedulefree import AdamWScheduleFree

    return [AdamWScheduleFree(matrix + rest, foreach=True, **ADAM)]


def _pytorch_optimizer(name: str, matrix: Params, rest: Params, **options: Any) -> list[Optimizer]:
    import pytorch_optimizer

    return _with_adam(getattr(pytorch_optimizer, name)(matrix, lr=LR, weight_decay=WEIGHT_DECAY, **options), rest)


def _pytorch_optimizer_muon(name: str, matrix: Params, rest: Params, **options: Any) -> list[Optimizer]:
    """The Muon family takes its AdamW parameters as a group of its own."""
    import pytorch_optimizer

    groups: list[dict[str, Any]] = [{"params": matrix, "lr": LR, "weight_decay": WEIGHT_DECAY, "use_muon": True}]
    if rest:
        groups.append({"params": rest, "use_muon": False, **ADAM})
    return [getattr(pytorch_optimizer, name)(groups, **options)]


def _pytorch_optimizer_muon_float32(name: str, matrix: Params, rest: Params, **options: Any) -> list[Optimizer]:
    from pytorch_optimizer.optimizer.muon import base

    float32 = partial(base.zero_power_via_newton_schulz_5, dtype=torch.float32)
    inner = _pytorch_optimizer_muon(name, matrix, rest, foreach=True, **options)
    return [_Patched(optimizer, base, "zero_power_via_newton_schulz_5", float32) for optimizer in inner]


def _pytorch_optimizer_sf_normuon(matrix: Params, rest: Params) -> list[Optimizer]:
    from pytorch_optimizer import ScheduleFreeWrapper

    return [ScheduleFreeWrapper(_pytorch_optimizer_muon("NorMuon", matrix, rest, foreach=True, momentum=0.0)[0], momentum=0.9)]


def _scalable_shampoo(matrix: Params, rest: Params, *, exponent: int, graft: bool, blocked: bool, svd: bool) -> list[Optimizer]:
    """``exponent`` k: roots of -1/k. Its graft is RMSProp's, the nearest it has to Adam's."""
    from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting

    return _pytorch_optimizer(
        "ScalableShampoo",
        matrix,
        rest,
        betas=(0.95, 0.95),
        moving_average_for_momentum=True,
        decoupled_weight_decay=True,
        inverse_exponent_override=exponent,
        start_preconditioning_step=1,
        preconditioning_compute_steps=PERIOD,
        block_size=min(min(p.shape) for p in matrix) if blocked else UNBLOCKED,
        shape_interpretation=False,
        graft_type=LayerWiseGrafting.RMSPROP if graft else LayerWiseGrafting.NONE,
        nesterov=False,
        use_svd=svd,
    )


def _heavyball(name: str, matrix: Params, rest: Params, **options: Any) -> list[Optimizer]:
    import heavyball

    # One compiled function per shape and optimizer: never fall back to eager for having met too many.
    torch._dynamo.config.recompile_limit = 1024
    torch._dynamo.config.accumulated_recompile_limit = 4096
    return _with_adam(getattr(heavyball, name)(matrix, lr=LR, weight_decay=WEIGHT_DECAY, **options), rest)


ADAMW = (
    Peer("torch", "AdamW fused", partial(_torch_adamw, fused=True)),
    Peer("torch", "AdamW foreach", partial(_torch_adamw, foreach=True)),
    Peer("torch", "AdamW for-loop", partial(_torch_adamw, foreach=False)),
    Peer("heavyball", "AdamW", partial(_heavyball, "AdamW", betas=(0.9, 0.95)), "compiled"),
)
SGD = (
    Peer("torch", "SGD fused", partial(_torch_sgd, fused=True)),
    Peer("torch", "SGD foreach", partial(_torch_sgd, foreach=True)),
    Peer("torch", "SGD for-loop", partial(_torch_sgd, foreach=False)),
    Peer("heavyball", "SGD", partial(_heavyball, "SGD", beta=0.9), "compiled"),
)
SIGNUM = (
    Peer("pytorch-optimizer", "SignSGD foreach", partial(_pytorch_optimizer, "SignSGD", momentum=0.9, foreach=True)),
    Peer("pytorch-optimizer", "SignSGD for-loop", partial(_pytorch_optimizer, "SignSGD", momentum=0.9, foreach=False)),
)


def _orthogonalized(name: str) -> tuple[Peer, ...]:
    """pytorch-optimizer's Muon family: as it comes, and with the dtype that its Newton-Schulz takes as an argument."""
    foreach = partial(_pytorch_optimizer_muon, name, foreach=True)
    return (
        Peer("pytorch-optimizer", f"{name} foreach", foreach, variant="bfloat16"),
        Peer("pytorch-optimizer", f"{name} foreach float32", partial(_pytorch_optimizer_muon_float32, name), variant="float32"),
    )


MUON = (
    Peer("torch", "Muon", _torch_muon, variant="bfloat16"),
    *_orthogonalized("Muon"),
    Peer("heavyball", "Muon", partial(_heavyball, "Muon", betas=(0.95, 0.95)), "compiled", variant="bfloat16"),
)
NORMUON = _orthogonalized("NorMuon")
ADAMUON = (
    *_orthogonalized("AdaMuon"),
    Peer("pytorch-optimizer", "AdaMuon for-loop", partial(_pytorch_optimizer_muon, "AdaMuon", foreach=False), variant="bfloat16"),
)
SOAP = (
    Peer(
        "pytorch-optimizer",
        "SOAP",
        partial(
            _pytorch_optimizer,
            "SOAP",
            betas=(0.95, 0.95),
            precondition_frequency=PERIOD,
            max_precondition_dim=UNBLOCKED,
        ),
        variant="unblocked",
    ),
    Peer(
        "heavyball",
        "SOAP",
        partial(
            _heavyball,
            "SOAP",
            betas=(0.95, 0.95),
            precondition_frequency=PERIOD,
            max_precond_dim=UNBLOCKED,
            merge_dims=False,
        ),
        "compiled",
        variant="unblocked",
    ),
)
SCHEDULEFREE_ADAMW = (
    Peer("schedulefree", "AdamWScheduleFree foreach", _schedulefree),
    Peer(
        "pytorch-optimizer",
        "ScheduleFreeAdamW foreach",
        lambda matrix, rest: _pytorch_optimizer("ScheduleFreeAdamW", matrix + rest, [], betas=(0.9, 0.95), foreach=True),
    ),
    Peer(
        "heavyball",
        "SFAdamW",
        lambda matrix, rest: _heavyball("SFAdamW", matrix + rest, [], betas=(0.9, 0.95)),
        "compiled",
    ),
)
SF_NORMUON = (
    Peer(
        "pytorch-optimizer", "ScheduleFreeWrapper(NorMuon)", _pytorch_optimizer_sf_normuon, "NorMuon foreach", variant="bfloat16"
    ),
)


def _shampoo(exponent: int, *, graft: bool) -> tuple[Peer, ...]:
    def peer(blocked: bool, svd: bool) -> Peer:
        build = partial(_scalable_shampoo, exponent=exponent, graft=graft, blocked=blocked, svd=svd)
        return Peer(
            "pytorch-optimizer",
            f"ScalableShampoo {'SVD' if svd else 'Schur-Newton'}",
            build,
            variant="blocked" if blocked else "unblocked",
        )

    return tuple(peer(blocked, svd) for blocked in (False, True) for svd in (False, True))


SHAMPOO_QUARTER = (
    *_shampoo(4, graft=False),
    Peer(
        "pytorch-optimizer",
        "Shampoo",
        partial(_pytorch_optimizer, "Shampoo", preconditioning_compute_steps=PERIOD),
        "SVD roots; no momentum; still until its first refresh",
        variant="unblocked",
        wakes=PERIOD,
    ),
)

# Of a recipe that serves embedding and readout too, Shampoo's and SOAP's peers precondition the vocabulary's axis besides.
PEERS: dict[str, tuple[Peer, ...]] = {
    "adamw": ADAMW,
    "sgd": SGD,
    "signum": SIGNUM,
    "muon": MUON,
    "muon-all": MUON,
    "normuon": NORMUON,
    "adamuon": ADAMUON,
    "shampoo": _shampoo(2, graft=True),
    "shampoo-quarter": SHAMPOO_QUARTER,
    "shampoo-quarter-all": SHAMPOO_QUARTER,
    "soap": SOAP,
    "soap-all": SOAP,
    "schedulefree-adamw": SCHEDULEFREE_ADAMW,
    "sf-normuon": SF_NORMUON,
}
