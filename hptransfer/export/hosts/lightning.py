"""Lightning: what its Trainer is told, and ``configure_optimizers`` with the run's own schedule, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from hptransfer.export.canonical import Canonical
from hptransfer.export.host import comments, unknown_run, unread_average
from hptransfer.export.hosts.torch import optimizer_files

TRAINER = "trainer.yaml"
FILE = "hptransfer_lightning.py"
PRECISIONS = {"float32": "32-true", "float64": "64-true", "bfloat16": "bf16-mixed"}

USAGE = f"{FILE.removesuffix('.py')}.PredictedOptimizer gives both to Lightning, which clips by {TRAINER}.\n"

MODULE = f'''"""The optimizer and the schedule of a predicted run, for a LightningModule.

    from lightning.pytorch import LightningModule
    from hptransfer_lightning import PredictedOptimizer

    class Mine(PredictedOptimizer, LightningModule):  # in this order
        ...  # without a configure_optimizers of its own

    python train.py fit --config {TRAINER}  # with LightningCLI(Mine), and without its --optimizer and --lr_scheduler
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hptransfer_optimizer import build_optimizer, build_scheduler


class PredictedOptimizer:
    """Before LightningModule among the bases. ``roles`` goes before the rules: {{"regular expression": "role"}}."""

    roles: Mapping[str, str] | None = None

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = build_optimizer(self, self.roles)
        return {{"optimizer": optimizer, "lr_scheduler": {{"scheduler": build_scheduler(optimizer), "interval": "step"}}}}
'''


@dataclass(frozen=True)
class Lightning:
    """Every recipe but the schedule-free ones, with any schedule."""

    name: str = "lightning"
    version: str = "2.6"

    def refuse(self, record: Canonical) -> str | None:
        return unknown_run(record) or unread_average(record, "Lightning")

    def render(self, record: Canonical) -> dict[str, str]:
        head = comments(record, "lightning", self.version)
        optimizer, _, _, training = record.known
        settings = {
            "seed_everything": training.init_seed,
            "trainer": {
                "max_steps": training.steps,
                "max_epochs": -1,
                "accumulate_grad_batches": 1,
                "gradient_clip_val": optimizer.options.get("clip_norm"),
                "gradient_clip_algorithm": "norm",
                "precision": PRECISIONS[training.precision],
            },
        }
        notes = (
            f"# you must set this: batch of the DataModule x accumulate_grad_batches x devices = {training.batch_sequences}\n"
            f"# you must set this: the data gives sequences with {training.context} targets each, and no batch that is smaller\n"
        )
        return {
            TRAINER: f"{head}{notes}{yaml.safe_dump(settings, sort_keys=False)}",
            FILE: head + MODULE,
        } | optimizer_files(record, "lightning", self.version, USAGE)


LIGHTNING = Lightning()
