# muon: hptransfer 0.1.0 for litgpt 0.5.13
# prediction 6aa4c98f7c3f1177, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.0449354 (80 % interval 0.0405153 to 0.0563526; identified)
# weight_decay 0.000245596 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 4 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.097% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; the numbers below are final
# final learning rates: embedding 0.179742, attention 0.0449354, mlp_in 0.0449354, mlp_out 0.0449354, readout
#   0.0449354
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 03826460449d3e05 0383b848fd23c173 147e797b1e093742 155233045c7d5318 17b0ea5583f2b00f 1b8d259d6eb403dc
#   3040b6209c14123d 45619646c0bb2b35 48c07e1eee3a173f 4b7a2e85482ebbb6 6c5c327172ab07d9 6f7695af34e11a1f
#   7244fce7544fed3e 83364a0fe6360722 8cbc833134fa6e44 9bf02cc6a65be887 9fa08efb9ce3bbab a85251338ac6d4ef
#   b4e6932798e82ab8 d09e562c90bdd21f e6e3626ac0ccf2ec eb9337f350e3e238 ebc99b3bbbb6c29b fad1e2b9eda2e5b4
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
