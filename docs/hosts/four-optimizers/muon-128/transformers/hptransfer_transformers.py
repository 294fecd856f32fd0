# muon: hptransfer 0.1.0 for transformers 5.24
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
"""The optimizer of a predicted run, for Trainer.

    from transformers import HfArgumentParser, Trainer, TrainingArguments
    from hptransfer_transformers import Factory

    (arguments,) = HfArgumentParser(TrainingArguments).parse_yaml_file("training_arguments.yaml")
    Trainer(model=model, args=arguments, train_dataset=data, optimizer_cls_and_kwargs=(Factory, {})).train()

Weight decay goes by role: Trainer's rule that spares biases and norms by name is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.optim import Optimizer

from hptransfer_optimizer import build_optimizer


class Factory:
    """Trainer calls ``Factory()(model, **kwargs)``. ``roles`` goes before the rules: {"regular expression": "role"}."""

    def __call__(self, model: nn.Module, roles: Mapping[str, str] | None = None) -> Optimizer:
        return build_optimizer(model, roles)
