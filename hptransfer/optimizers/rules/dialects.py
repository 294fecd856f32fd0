"""Which implementation states a learning rate of Muon in which convention, and what its weight decay multiplies.

A name is ``implementation.mode``, the mode as the implementation calls it: "spectral" of Megatron and "spectral_norm" of dion
are opposites. Each row was read in the code that ``source`` names. What a row says holds for the polar factor of one matrix,
d_out x d_in, however exactly the implementation computes it; momentum and Newton-Schulz coefficients are not converted.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from hptransfer.base.errors import UsageError, unknown
from hptransfer.optimizers.rules.conventions import FORMULAS, LrConvention, update_factor

Shape = tuple[int, int]  # (d_out, d_in)


class Dialect(NamedTuple):
    """How one implementation states learning rate and weight decay of a matrix that Muon serves.

    ``decay``: the share that a step at the peak takes of a matrix; None where the implementation has no such weight decay.
    ``option``: its option that multiplies the factor once more, by ``multiple`` unless the user says otherwise.
    """

    convention: LrConvention
    source: str
    decay: Literal["lr * wd", "lr * factor * wd", "wd"] | None = "lr * wd"
    option: str | None = None
    multiple: float = 1.0
    note: str | None = None

    @property
    def formula(self) -> str:
        """The factor as people write it."""
        formula = FORMULAS[self.convention]
        return f"{formula} x {self.option} ({self.multiple:g})" if self.option else formula

    def factor(self, shape: Shape) -> float:
        """What multiplies the polar factor of a matrix, besides the learning rate."""
        return self.multiple * update_factor(self.convention, *shape)

    def shrinkage(self, lr: float, shape: Shape) -> float:
        """The share that a step at the peak takes of a matrix, per unit of weight decay."""
        match self.decay:
            case "lr * wd":
                return lr
            case "lr * factor * wd":
                return lr * self.factor(shape)
            case _:
                return 1.0


_MEGATRON = "Emerging-Optimizers fd77292, orthogonalized_optimizers/muon.py; Megatron-LM d98e8a6"
_DION = "dion 0a059a4, dion/megabatch_base.py"
_LEVANTER = "marin-levanter 0.2.20.dev202606180959, optim/muon.py"
_OPTAX = "optax 0.2.8, contrib/_muon.py"
_PYTORCH_OPTIMIZER = "pytorch-optimizer 4.1.0, optimizer/muon/base.py"
_NANOCHAT = (
    "LR and weight decay are those of nanochat's optimizer: its flags are scaled by batch and model size first. It equalizes"
    " rows after the polar step, so that the size of the update is converted, and not its spectral norm"
)
_AS_ADAMW = "the LR of torch's match_rms_adamw, or of Moonlight, is meant to be AdamW's"
_SPEEDRUN = "the matrices of a fused q, k, v count one by one; later records of modded-nanogpt multiply single matrices once more"
_LEVANTER_LR = "levanter takes the LR of matrices from `learning_rate`; `lr` of its MuonConfig is not read"

DIALECTS: dict[str, Dialect] = {
    "hptransfer.none": Dialect("none", "this project's final values, as `hptransfer export` writes them", decay="wd"),
    "torch.original": Dialect("original", "torch.optim.Muon of torch 2.13, its default"),
    "torch.match_rms_adamw": Dialect("match_rms_adamw", "torch.optim.Muon of torch 2.13", note=_AS_ADAMW),
    "kellerjordan": Dialect("original", "KellerJordan/Muon 857d1ad, muon.py"),
    "moonlight": Dialect("match_rms_adamw", "Moonlight c2ad5b2, examples/toy_train.py", note=_AS_ADAMW),
    "dion.spectral_norm": Dialect("spectral", f"{_DION}, the default"),
    "dion.rms_norm": Dialect("match_rms_adamw", _DION),
    "dion.none": Dialect("none", f"{_DION} (adjust_lr: null)"),
    "nanochat": Dialect(
        "original",
        "nanochat 92d63d4, nanochat/optim.py",
        decay="lr * factor * wd",
        note=_NANOCHAT,
    ),
    "modded-nanogpt.unit_rms": Dialect("unit_rms", "its records of 10 to 20 October 2024", decay=None, note=_SPEEDRUN),
    "modded-nanogpt.original": Dialect("original", "its records from 3 November 2024 on", decay=None, note=_SPEEDRUN),
    "megatron.spectral": Dialect("unit_rms", f"{_MEGATRON}, its default", option="--muon-extra-scale-factor"),
    "megatron.unit_rms_norm": Dialect("spectral", _MEGATRON, option="--muon-extra-scale-factor"),
    "megatron.shape_scaling": Dialect("original", _MEGATRON, option="--muon-extra-scale-factor"),
    "deepspeed": Dialect("original", "deepspeed 0.19.8, runtime/zero/muon/original_muon.py"),
    "levanter": Dialect("original", _LEVANTER, note=_LEVANTER_LR),
    "levanter.use_kimi_scaling": Dialect("match_rms_adamw", _LEVANTER, note=_LEVANTER_LR),
    "optax": Dialect("original", f"{_OPTAX}, its default"),
    "optax.consistent_rms": Dialect("unit_rms", _OPTAX, option="consistent_rms", multiple=0.2),
    "heavyball": Dialect("original", "heavyball 3.2.1, chainable.py: orthogonalize_update"),
    "pytorch-optimizer": Dialect("original", f"{_PYTORCH_OPTIMIZER}, Muon's default"),
    "pytorch-optimizer.use_adjusted_lr": Dialect("match_rms_adamw", _PYTORCH_OPTIMIZER),
    "adamw": Dialect(
        "match_rms_adamw",
        "arXiv 2502.16982: the RMS that Moonlight took to match",
        note="AdamW's is an approximation: an update of RMS 0.2 on every shape, about what AdamW's has. Another update, though:"
        " its best LR may lie elsewhere",
    ),
}


def find_dialect(name: str) -> Dialect:
    """The dialect of that name; ``name:x`` sets the option that multiplies its factor to x.

    Raises UsageError with the nearest names, for a multiple that is not above 0, and where a dialect has no such option.
    """
    known, colon, multiple = name.partition(":")
    if known not in DIALECTS:
        alike = [one for one in DIALECTS if known and known in one]
        raise UsageError(f"dialect {known!r}: which of {', '.join(alike)}?") if alike[1:] else unknown("dialect", known, DIALECTS)
    found = DIALECTS[known]
    if not colon:
        return found
    if not found.option:
        scaled = ", ".join(f"{one}:x" for one, dialect in DIALECTS.items() if dialect.option)
        raise UsageError(f"dialect {name!r}: {known} has no factor of the user's; there are {scaled}")
    try:
        return found._replace(multiple=_positive(f"{found.option} of {known}", float(multiple)))
    except ValueError:
        raise UsageError(f"dialect {name!r}: {multiple!r} is not a number") from None


def convert_lr(lr: float, source: str, target: str, shape: Shape) -> float:
    """The learning rate that moves a matrix under one implementation of Muon as another's moves it there.

    Exact per shape. Where it differs between the matrices of a model, each shape needs a parameter group. ``adamw`` is a
    source or target as well, approximately: an update of RMS 0.2.

    ``lr``: the learning rate under ``source``. ``source``, ``target``: names such as ``"torch.original"``, which
    `hptransfer convert --list` prints; ``"megatron.spectral:0.2"`` sets the factor that the user gives to Megatron. ``shape``:
    the matrix's (d_out, d_in), its rows and columns in torch.

    Raises UsageError for an unknown name, a learning rate that is not above 0, and a shape that no matrix has.

        >>> import hptransfer
        >>> round(hptransfer.convert_lr(0.02, "torch.original", "moonlight", (768, 768)), 6)
        0.003608
    """
    _positive("the learning rate", lr)
    if min(shape) < 1:
        raise UsageError(f"shape {shape[0]}x{shape[1]} has a dimension below 1")
    return lr * find_dialect(source).factor(shape) / find_dialect(target).factor(shape)


def convert_weight_decay(weight_decay: float, lr: float, source: str, target: str, shape: Shape) -> float:
    """The weight decay under ``target`` that takes as much of a matrix per step as ``weight_decay`` under ``source``.

    ``lr`` is the learning rate under ``source``, which `convert_lr` converts. Raises UsageError as that does, and for a dialect
    without such a weight decay.
    """
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise UsageError(f"the weight decay {weight_decay:g} is not a number from 0 up")
    there, here = find_dialect(target), find_dialect(source)
    for name, dialect in ((source, here), (target, there)):
        if dialect.decay is None:
            raise UsageError(f"{name} has no weight decay of the form lr * wd: convert the learning rate alone")
    return weight_decay * here.shrinkage(lr, shape) / there.shrinkage(convert_lr(lr, source, target, shape), shape)


def _positive(what: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{what} {value:g} is not a number above 0")
    return value
