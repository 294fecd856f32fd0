# soap: hptransfer 0.1.0 for lightning 2.6
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
"""The optimizer and the schedule of a predicted run, for a LightningModule.

    from lightning.pytorch import LightningModule
    from hptransfer_lightning import PredictedOptimizer

    class Mine(PredictedOptimizer, LightningModule):  # in this order
        ...  # without a configure_optimizers of its own

    python train.py fit --config trainer.yaml  # with LightningCLI(Mine), and without its --optimizer and --lr_scheduler
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hptransfer_optimizer import build_optimizer, build_scheduler


class PredictedOptimizer:
    """Before LightningModule among the bases. ``roles`` goes before the rules: {"regular expression": "role"}."""

    roles: Mapping[str, str] | None = None

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = build_optimizer(self, self.roles)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": build_scheduler(optimizer), "interval": "step"}}
