"""What hosts with a Muon of their own share: its scaling by shape, taken out, and what of the searched Muon it may lack."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from hptransfer.export.canonical import Optimizer
from hptransfer.optimizers.orthogonalized import iterations
from hptransfer.optimizers.rules.conventions import LrConvention, update_factor

Mode = TypeVar("Mode")

# Maps of ours that Emerging-Optimizers and levanter have, by their names there. Their polar_express has other numbers.
COEFFICIENTS = {"jordan": "simple", "dion": "quintic"}


def matrix_lr(optimizer: Optimizer, modes: Mapping[Mode, LrConvention]) -> tuple[Mode, float] | None:
    """The way of a host's Muon to scale by shape, one of ``modes``, and the learning rate to give it, under which each hidden
    matrix has its own after that scaling; None where no way gives them all."""
    hidden = [weight for weight in optimizer.weights if weight.role == "hidden"]
    for mode, convention in modes.items():
        rates = [weight.lr / update_factor(convention, weight.d_out, weight.d_in) for weight in hidden]
        if all(math.isclose(rate, rates[0], rel_tol=1e-9) for rate in rates):
            return mode, rates[0]
    return None


def no_matrix_lr(optimizer: Optimizer, host: str, modes: Mapping[Mode, LrConvention]) -> str:
    """Why a host's Muon cannot give the hidden matrices their learning rates, where `matrix_lr` finds no way."""
    found = ", ".join(f"{weight.kind} {weight.lr:.6g}" for weight in optimizer.weights if weight.role == "hidden")
    return (
        f"{host} scales the update of a matrix by its shape, and no one learning rate gives {found} after that; "
        f"it can where the runs were searched with the option lr_convention: {' or '.join(modes.values())}"
    )


def plain_refusal(options: Mapping[str, Any], host: str) -> str | None:
    """Why a Muon of fixed momentum and the two maps of `COEFFICIENTS` cannot do what these options say; None: it can."""
    if options["momentum_warmup_tokens"]:
        return f"{host}'s Muon has no warm-up of the momentum"
    known = len(iterations(options["orthogonal_map"]))
    if options["orthogonal_map"] not in COEFFICIENTS or (options["ns_steps"] or known) > known:
        return f"{host}'s Muon has no such map: it has {' and '.join(COEFFICIENTS)}, of {known} iterations at most"
    return None


def map_flags(options: Mapping[str, Any]) -> tuple[str, int]:
    """The host's name of the map, and its iterations."""
    return COEFFICIENTS[options["orthogonal_map"]], len(iterations(options["orthogonal_map"], options["ns_steps"]))
