"""In which units a learning rate of Muon is stated: the factor that an implementation puts on the polar factor. Which of them
states it in which: `dialects`.

``none`` is this project's own and the paper's (arXiv 2512.05620): the update is the polar factor itself, spectral norm 1. All
are exact functions of a matrix's shape (d_out, d_in), its rows and columns in torch.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

LrConvention = Literal["none", "original", "match_rms_adamw", "unit_rms", "spectral"]
LR_CONVENTIONS: tuple[LrConvention, ...] = get_args(LrConvention)


# As people write them: what `update_factor` calculates.
FORMULAS: dict[LrConvention, str] = {
    "none": "1",
    "original": "sqrt(max(1, d_out/d_in))",
    "match_rms_adamw": "0.2 sqrt(max(d_out, d_in))",
    "unit_rms": "sqrt(max(d_out, d_in))",
    "spectral": "sqrt(d_out/d_in)",
}


def update_factor(convention: LrConvention, d_out: int, d_in: int) -> float:
    """What an implementation multiplies the polar factor of a (d_out, d_in) matrix by, besides its learning rate.

    - ``original``: Jordan et al. 2024; no matrix that is wider than tall is scaled
    - ``match_rms_adamw``: an update of RMS 0.2, as AdamW's: Moonlight (arXiv 2502.16982)
    - ``unit_rms``: an update of RMS 1
    - ``spectral``: an update of RMS-to-RMS operator norm 1, the rule of muP
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
