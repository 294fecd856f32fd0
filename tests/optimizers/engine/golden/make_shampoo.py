"""Writes shampoo.json: float64 weights after steps of Distributed Shampoo, made by running its public implementation.

Source: https://github.com/facebookresearch/optimizers at commit f60660661194de26d3ee78bae6d15820ff8e583d (2026-08-05),
run on 2026-11-22 with torch 2.13.0 and Python 3.11 on a CPU. With a checkout of that commit in CHECKOUT:

    PYTHONPATH=CHECKOUT python tests/optimizers/engine/golden/make_shampoo.py

All is float64, factors, roots and bias corrections too; the roots are by torch.linalg.eigh. Bias corrections follow torch's
default dtype there, so main() sets it; the learning rate is always rounded to float32 there, so ours is a power of two.
Every case is a dict with its options; `exponent` is the power of each side's inverse root (0.25 is the default there), `block` is
the largest side of a block or null, `grafting` is null or Adam's beta2 and eps (its beta1 is that of Shampoo),
`weights` is the result.
"""

import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ADAM = {"beta2": 0.95, "eps": 1e-8}
COMMON: dict[str, Any] = {
    "shape": [8, 6],
    "block": None,
    "exponent": 0.25,
    "grafting": None,
    "betas": [0.9, 0.95],
    "epsilon": 1e-8,
    "frequency": 1,
    "start": 1,
    "lr": 0.03125,
    "weight_decay": 0.0,
    "steps": 12,
}
CASES: list[dict[str, Any]] = [
    {"name": "plain"},
    {"name": "adam_half", "exponent": 0.5, "grafting": ADAM},
    {
        "name": "adam_half_blocked_frequency_5",
        "shape": [8, 12],
        "block": 4,
        "exponent": 0.5,
        "grafting": ADAM,
        "frequency": 5,
        "start": 5,
    },
    {"name": "blocked_decay", "shape": [8, 8], "block": 4, "weight_decay": 0.01},
    {"name": "sum", "betas": [0.9, 1.0]},
]


def cases() -> list[dict[str, Any]]:
    """The cases with all their options, still without results."""
    return [{"name": case["name"], **COMMON, **case} for case in CASES]


def grid(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column number of every entry, as float64 that broadcast against each other."""
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in shape)
    return rows[:, None], columns[None, :]


def initial_weight(shape: tuple[int, int]) -> Tensor:
    i, j = grid(shape)
    return torch.sin(1.7 * i + 0.9 * j + 0.3)


def gradient(shape: tuple[int, int], step: int) -> Tensor:
    """The gradient of step 1, 2, ...: it depends on the step alone, not on the weights."""
    i, j = grid(shape)
    return torch.cos(0.61 * step + 1.3 * i + 0.37 * j * i) * (1.0 + 0.5 * torch.sin(i - 2.0 * j + step))


def run(case: dict[str, Any]) -> Tensor:
    """The weights after the case's steps, by the public implementation."""
    from distributed_shampoo import (
        AdamPreconditionerConfig,
        DistributedShampoo,
        EigenConfig,
        RootInvShampooPreconditionerConfig,
        SingleDeviceDistributedConfig,
        WeightDecayType,
    )

    shape = (case["shape"][0], case["shape"][1])
    weight = initial_weight(shape).requires_grad_()
    grafting = case["grafting"]
    optimizer = DistributedShampoo(
        [weight],
        lr=case["lr"],
        betas=tuple(case["betas"]),
        epsilon=case["epsilon"],
        weight_decay=case["weight_decay"],
        weight_decay_type=WeightDecayType.DECOUPLED,
        max_preconditioner_dim=math.inf if case["block"] is None else case["block"],
        precondition_frequency=case["frequency"],
        start_preconditioning_step=case["start"],
        use_bias_correction=True,
        grafting_config=grafting and AdamPreconditionerConfig(beta2=grafting["beta2"], epsilon=grafting["eps"]),
        distributed_config=SingleDeviceDistributedConfig(target_parameter_dimensionality=math.inf),
        preconditioner_config=RootInvShampooPreconditionerConfig(
            amortized_computation_config=EigenConfig(),
            num_tolerated_failed_amortized_computations=0,
            factor_matrix_dtype=torch.float64,
            inv_factor_matrix_dtype=torch.float64,
            inverse_exponent_override={} if case["exponent"] == 0.25 else {2: case["exponent"]},
        ),
    )
    for step in range(1, case["steps"] + 1):
        weight.grad = gradient(shape, step)
        optimizer.step()
    return weight.detach()


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    logging.disable(logging.WARNING)
    results = [case | {"weights": run(case).tolist()} for case in cases()]
    lines = ",\n".join(json.dumps(result) for result in results)
    Path(__file__).with_name("shampoo.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
