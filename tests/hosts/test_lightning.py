"""Lightning: its own command line, its own Trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hosts.given import (
    ALIKE,
    RECORDS,
    ROLES,
    OneOfEach,
    assert_moved,
    at_once,
    exported,
    first_adamw_step,
    numbers,
    parameters,
    stepped,
    teach,
    watched,
)
from torch import Tensor

from hptransfer.export.canonical import Canonical
from hptransfer.export.hosts import HOSTS
from hptransfer.export.hosts.lightning import PRECISIONS, TRAINER
from hptransfer.testing.hosts import Heard, check_host

pytestmark = pytest.mark.host


class Tokens(torch.utils.data.IterableDataset):
    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.arange(8)


def module_of(base: type) -> type:
    """A LightningModule over one weight of each role, as a user would write it."""
    from lightning.pytorch import LightningModule

    class Mine(base, LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = OneOfEach()

        def training_step(self, tokens: Tensor) -> Tensor:
            model = self.model
            return model.readout(model.norm(model.hidden(model.embedding(tokens)))).mean()

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(Tokens(), batch_size=2)

    return Mine


def started(base: type, folder: Path, **trainer: Any) -> Any:
    """Lightning's command line with the exported file: its model and Trainer, before they run."""
    from lightning.pytorch.cli import LightningCLI

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return LightningCLI(
        module_of(base),
        args=["--config", str(folder / TRAINER)],
        run=False,
        save_config_callback=None,
        trainer_defaults=quiet | {"accelerator": "cpu", "devices": 1} | trainer,
    )


def hear(folder: Path, record: Canonical) -> Heard:
    with exported("lightning", record, folder) as module:
        cli = started(module.PredictedOptimizer, folder)
        known = numbers(module.build_optimizer(OneOfEach()))
    trainer, chosen = cli.trainer, cli.model.configure_optimizers()["lr_scheduler"]
    assert chosen["interval"] == "step" and trainer.precision == PRECISIONS[record.known.training.precision]
    factors = [chosen["scheduler"].lr_lambdas[0](step) for step in range(trainer.max_steps + 1)]
    return Heard(
        **known,
        clip_norm=trainer.gradient_clip_val,
        steps=trainer.max_steps,
        factors=factors[:-1],
        final_lr=factors[-1],
        seed=cli.config["seed_everything"],
    )


def test_it_is_heard_as_predicted(tmp_path: Path) -> None:
    said = check_host(HOSTS.get("lightning"), ALIKE, lambda files, record: hear(tmp_path, record), roles=ROLES)
    assert {"adamw", "soap", "muon under spectral", "adamw, cosine", "muon, trapezoid", "muon, clipped"} <= {*said}
    assert "schedulefree-adamw" not in said


class Run:
    """The first ``steps`` of the real Trainer, with what was exported, under known ``gradients``: parameters ``before``,
    ``after`` and as they were predicted (``wanted``), and the gradients that the optimizer has ``seen``."""

    def __init__(self, record: Canonical, folder: Path, steps: int) -> None:
        from lightning.pytorch import Callback

        class Stop(Callback):
            def on_train_batch_end(self, trainer, *_):
                trainer.should_stop = trainer.global_step == steps

        with exported("lightning", record, folder) as module:
            cli = started(module.PredictedOptimizer, folder, callbacks=[Stop()])
            model = cli.model.double().model
            self.gradients, self.before = teach(model), parameters(model)
            self.wanted = stepped(model, self.gradients, record, folder, steps)
            with watched(model) as self.seen:
                cli.trainer.fit(cli.model)
        assert len(self.seen) == steps
        self.after = parameters(model)


@pytest.mark.parametrize(("recipe", "steps"), [("adamw", 1), ("adamw", 3), ("muon", 1), ("muon", 3), ("soap", 3)])
def test_updates_in_trainer_are_those_of_the_roles(recipe: str, steps: int, tmp_path: Path) -> None:
    record = at_once(recipe, precision="float64")
    run = Run(record, tmp_path, steps)
    assert_moved(run.before, run.after, run.wanted)
    if (recipe, steps) == ("adamw", 1):
        roles = {"norm": "vector"}
        by_formula = first_adamw_step(
            run.before, run.gradients, record, lambda name: roles.get(name.split(".")[0], name.split(".")[0])
        )
        assert_moved(run.before, run.after, by_formula)


def test_gradients_are_clipped_as_predicted(tmp_path: Path) -> None:
    """Not at all, or to the norm."""
    for name, norm in (("muon", None), ("muon, clipped", 0.5)):
        run = Run(RECORDS[name], tmp_path, 1)
        if norm is None:
            assert all(torch.equal(run.seen[0][one], run.gradients[one]) for one in run.gradients)
        else:
            found = torch.cat([grad.flatten() for grad in run.seen[0].values()]).norm().item()
            assert found == pytest.approx(norm, rel=1e-6)
