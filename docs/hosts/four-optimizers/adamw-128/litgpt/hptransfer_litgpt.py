# adamw: hptransfer 0.1.0 for litgpt 0.5.13
# prediction 37b00f7fba72e6ee, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.0226777 (80 % interval 0.0174761 to 0.0336416; identified)
# weight_decay 0.00018432 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 16 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.127% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; the numbers below are final
# final learning rates: embedding 0.362843, attention 0.00566943, mlp_in 0.00566943, mlp_out 0.00566943, readout
#   0.0907108
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 01b70a61551e9c1d 1d2111aebfda2cf5 3c38cb442db968d3 3e0c4d925118c783 4e6fab8ed8453f8f 5c0f8fbcf7293e50
#   5df59f05aea20f20 5eee0df6f6ccc031 78432d0b0a92fc86 7a572ae4e2d0fbc7 82672e90f434d50e 9044082dcf032747
#   a6952f4c7fd16eb5 aa1f5447ff76aedb afb1b6462f3cec67 bbb28129c282daed c313c7d0f8cf3863 cc6b2466cc5466bb
#   d85a5781b143e33f e710ce60eaf5fa1b ef8fcf4f4df76b81 f2d82f715c876a1d fb690517b12f67d2 fffcee6332009a01
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
