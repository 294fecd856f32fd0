# soap: hptransfer 0.1.0 for transformers 5.24
# prediction 078b3bce29abc580, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.023938 (80 % interval 0.0212727 to 0.0341257; identified)
# weight_decay 0.000294783 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 16 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.183% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; the numbers below are final
# final learning rates: embedding 0.383007, attention 0.00598449, mlp_in 0.00598449, mlp_out 0.00598449, readout
#   0.0957519
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 07a0fcd3c12905e9 1e1e0fc45d8ca4f4 335fb00e0012f24b 3b4f3c30aa41b020 431c81f9102433e0 510bd5c28aeaf123
#   55acbeb57261be30 69d1180ce57b9c96 75d34d222eaa8673 7894e7bd644e9388 a01e904c03f3fdca a5c9eb9dcbc4b584
#   a8adc7f37f4abea5 aef418bf21b3704d b1b4e6ef46dbf953 b75ee29e8b16119b c0809aa8363672f2 cd30bdbc1bc56416
#   d25b0babc3608cd7 e0046a00ed36bb51 e134ddb95514f92e ef123fb1c7b01301 fb9b491550920bb4 ff6bcb31c677918e
"""The optimizer and the schedule of a predicted run.

hptransfer_transformers.Factory gives the optimizer to Trainer, which schedules and clips by training_arguments.yaml.

Nothing may scale the learning rates again. Every trainable parameter gets a role by its module and name; where the rules do not
know yours, ``roles`` says it: {"regular expression": "embedding, hidden, readout or vector"}. print(role_table(optimizer))
shows which parameter got what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
import hptransfer
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def schedule_factor(step: int, *, steps: int, warmup_steps: int, shape: str, cooldown_fraction: float) -> float:
    """s(t) in [0, 1] at ``step`` (from 0): linear warm-up, then the shape over what remains; a trapezoid is flat until the last
    ``cooldown_fraction`` of that."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    remaining = (steps - step) / max(1, steps - warmup_steps)
    if shape == "trapezoid":
        return min(1.0, remaining / cooldown_fraction)
    return shaped(shape, remaining)


def decay_factor(step: int, *, steps: int, shape: str) -> float:
    """q(t) in [0, 1] at ``step`` (from 0), over the whole run."""
    return shaped(shape, 1 - step / steps)


def shaped(shape: str, remaining: float) -> float:
    """The factor with a share of ``remaining`` to go: constant, linear or cosine."""
    if shape == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * remaining)
    return remaining if shape == "linear" else 1.0


def factors(step: int, schedule: Mapping[str, Any]) -> tuple[float, float]:
    """s(t) and q(t) at ``step`` (from 0), from the arguments of `Schedule`; after the last step, those at the end."""
    step = min(step, schedule["steps"])
    shape = {name: value for name, value in schedule.items() if name != "weight_decay"}
    return schedule_factor(step, **shape), decay_factor(step, steps=schedule["steps"], shape=schedule["weight_decay"])


class Schedule(LambdaLR):
    """The run's schedule: s(t) on every learning rate, which takes weight decay along, and q(t) on weight decay besides.

    Step it after each step of the optimizer. ``schedule``: ``steps``, ``warmup_steps``, ``shape``, ``cooldown_fraction`` and
    ``weight_decay``, the shape of q.
    """

    def __init__(self, optimizer: Optimizer, schedule: dict[str, Any]) -> None:
        self._schedule = schedule
        self._decays = [group["weight_decay"] for group in optimizer.param_groups]
        super().__init__(optimizer, lambda step: factors(step, schedule)[0])

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates and weight decays of the next step of the optimizer."""
        super().step(epoch)
        _, factor = factors(self.last_epoch, self._schedule)
        for group, decay in zip(self.optimizer.param_groups, self._decays, strict=True):
            group["weight_decay"] = factor * decay


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


SCHEDULE = {
    'steps': 360,
    'shape': 'linear',
    'weight_decay': 'constant',
    'cooldown_fraction': 0.2,
    'warmup_steps': 36,
}
CLIP_NORM = None


def build_optimizer(model: nn.Module, roles: Mapping[str, str] | None = None) -> torch.optim.Optimizer:
    """The optimizer over every trainable parameter of ``model``, each with the final numbers of its role. Build it after DDP,
    FSDP2 (``fully_shard``) or torch.compile. Raises ValueError for a parameter without a role, and for a
    model of another width."""
    return hptransfer.build_optimizer(model, Path(__file__).with_name("run.json"), roles=roles)


def build_scheduler(optimizer: torch.optim.Optimizer) -> Schedule:
    """The run's schedule, to be stepped after each step of ``optimizer``."""
    return Schedule(optimizer, SCHEDULE)


def clip_gradients(model: nn.Module) -> None:
    """Clip the global gradient norm as the searched runs were clipped."""
    if CLIP_NORM is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
