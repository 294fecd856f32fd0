"""In which units other implementations of Muon state a learning rate: the factor that each puts on the polar factor.

``none`` is this project's own and the paper's (arXiv 2512.05620): the update is the polar factor itself, spectral norm 1. All
are exact functions of a matrix's shape (d_out, d_in), its rows and columns in torch.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

LrConvention = Literal["none", "original", "match_rms_adamw", "unit_rms", "spectral"]
LR_CONVENTIONS: tuple[LrConvention, ...] = get_args(LrConvention)


def update_factor(convention: LrConvention, d_out: int, d_in: int) -> float:
    """What an implementation multiplies the polar factor of a (d_out, d_in) matrix by, besides its learning rate.

    - ``original``: sqrt(max(1, d_out/d_in)): Jordan et al. 2024, torch's default, nanochat, NorMuon, modded-nanogpt
    - ``match_rms_adamw``: 0.2 sqrt(max(d_out, d_in)), an update of RMS 0.2: Moonlight (arXiv 2502.16982), dion's rms_norm
    - ``unit_rms``: sqrt(max(d_out, d_in)), an update of RMS 1: modded-nanogpt of October 2024
    - ``spectral``: sqrt(d_out/d_in): dion's spectral_norm
    """
    match convention:
        case "none":
            return 1.0
        case "original":
            return math.sqrt(max(1.0, d_out / d_in))
        case "match_rms_adamw":
            return 0.2 * math.sqrt(max(d_out, d_in))
        case "unit_rms":
            return math.sqrt(max(d_out, d_in))
        case "spectral":
            return math.sqrt(d_out / d_in)


def convert_lr(lr: float, *, source: LrConvention, target: LrConvention, d_out: int, d_in: int) -> float:
    """The learning rate that moves a (d_out, d_in) matrix under ``target`` as ``lr`` does under ``source``."""
    return lr * update_factor(source, d_out, d_in) / update_factor(target, d_out, d_in)
