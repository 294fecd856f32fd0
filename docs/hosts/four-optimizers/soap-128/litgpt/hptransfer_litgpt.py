# soap: hptransfer 0.1.0 for litgpt 0.5.13
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
"""The optimizer of a predicted run, for litgpt, with its schedule inside.

    PYTHONPATH=. litgpt pretrain MODEL --config pretrain.yaml
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from typing import Any

from litgpt.model import GPT
from torch import nn
from torch.optim import Optimizer

from hptransfer_optimizer import SCHEDULE, build_optimizer, factors


def predicted_optimizer(parameters: Generator[nn.Parameter, None, None], roles: Mapping[str, str] | None = None) -> Optimizer:
    """litgpt calls it with ``model.parameters()``. ``roles`` goes before the rules: {"regular expression": "role"}. Raises
    ValueError where the parameters are not those of a litgpt model, or where litgpt scales the learning rate itself."""
    optimizer = build_optimizer(_model_of(parameters), roles)
    optimizer.defaults["lr"] = 1.0
    peaks = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["taken"] = 0  # steps; kept in litgpt's checkpoints with the group

    def pace(optimizer: Optimizer, *_: Any) -> None:
        for group, (lr, weight_decay) in zip(optimizer.param_groups, peaks, strict=True):
            if group["lr"] != 1.0:
                raise ValueError(
                    f"litgpt would scale the learning rates by {group['lr']:g} once more: keep train.lr_warmup_steps 0, "
                    "train.lr_warmup_fraction unset and train.min_lr 1"
                )
            s, q = factors(group["taken"], SCHEDULE)
            group["lr"], group["weight_decay"] = s * lr, q * weight_decay
            group["taken"] += 1

    optimizer.register_step_pre_hook(pace)
    return optimizer


def _model_of(parameters: Generator[nn.Parameter, None, None]) -> GPT:
    """The model whose ``parameters()`` these are: roles go by name, and parameters have none."""
    module = inspect.getgeneratorlocals(parameters).get("self") if inspect.isgenerator(parameters) else None
    found = [one for one in module.modules() if isinstance(one, GPT)] if isinstance(module, nn.Module) else []
    if len(found) != 1:
        raise ValueError("parameters without a model have no roles: give model.parameters() of one litgpt GPT, as pretrain does")
    return found[0]
