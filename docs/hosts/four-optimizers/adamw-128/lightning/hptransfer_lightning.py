# adamw: hptransfer 0.1.0 for lightning 2.6
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
