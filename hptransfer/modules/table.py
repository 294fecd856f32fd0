"""What an optimizer does to which parameter, for people to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def role_table(optimizer: Any) -> str:
    """Which parameters each group of an optimizer holds, with role, learning rate and weight decay, numbers in names left out.

    ``optimizer``: what `hptransfer.build_optimizer` returns, or the ``build_optimizer`` of an exported module; any of
    torch's whose groups have ``role`` and ``param_names``. Weight decay is in the units of that optimizer. Raises KeyError where
    a group has no role.

    >>> print(hptransfer.role_table(hptransfer.build_optimizer(model, "predictions/quickstart/soap-128.json")))
    """
    rows = [("role", "lr", "weight_decay", "tensors", "parameters")]
    for group in optimizer.param_groups:
        names = dict.fromkeys(map(without_numbers, group["param_names"]))
        numbers = f"{group['lr']:.6g}", f"{group['weight_decay']:.6g}"
        rows.append((group["role"], *numbers, str(len(group["params"])), ", ".join(names)))
    return aligned(rows)


def without_numbers(name: str) -> str:
    """``layers.3.weight`` as ``layers.*.weight``: what the parameters of all layers are called."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with straight columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
