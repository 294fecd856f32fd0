# shampoo: hptransfer 0.1.0 for transformers 5.24
# prediction e1d0d0518fd6a216, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.057295 (80 % interval 0.0461858 to 0.0719857; identified)
# weight_decay 0.000184125 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 1 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.099% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; the numbers below are final
# final learning rates: embedding 0.057295, attention 0.0143238, mlp_in 0.0143238, mlp_out 0.0143238, readout
#   0.0143238
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 02cbe813c8146652 036598cba7638910 0d9ed11db4a12789 28b12725a1a503f7 2dfc22c891a1c499 33f6c22ad70dd271
#   37b7152e3811f59c 469fefd5fd8aaf1a 611b2312ce2123d1 6a19d6ba64bc9531 6db0a1e564cf2c6a 70def2e56ef3a1d8
#   7a72d6c964604457 8b2ed480fba72e04 a04255479411ef08 a1d239d86293a786 a38049b2952901f8 a7a22eb634599b7c
#   b342ab62265257ba cc83bd296f9db76d dd9cf334113a8c62 f22841fe3213d676 fb6ad8dbe68381f7 ffa1a8074c270b0d
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
