"""Hugging Face Transformers: its own parser, its own schedulers, its own Trainer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export.samples import prediction
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
from torch import Tensor, nn

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.hosts import HOSTS
from hptransfer.export.hosts.transformers import ARGUMENTS, SCHEDULERS
from hptransfer.optimizers.engine import clip_gradients
from hptransfer.testing.hosts import Heard, check_host
from hptransfer.trainers.ours.build import build_model, build_optimizer
from hptransfer.trainers.ours.data.batches import batch
from hptransfer.trainers.ours.points import spec_of
from hptransfer.trainers.ours.schedule import decay_factor, schedule_factor
from hptransfer.trainers.ours.spec import RunSpec

pytestmark = pytest.mark.host


def arguments(folder: Path) -> Any:
    from transformers import HfArgumentParser, TrainingArguments

    (found,) = HfArgumentParser(TrainingArguments).parse_yaml_file(folder / ARGUMENTS)
    return found


def hear(folder: Path, record: Canonical) -> Heard:
    from transformers import get_scheduler

    with exported("transformers", record, folder) as module:
        optimizer, said = module.Factory()(OneOfEach()), arguments(folder)
    warmup = said.get_warmup_steps(said.max_steps)
    known = numbers(optimizer)
    scheduler = get_scheduler(said.lr_scheduler_type, optimizer, warmup, said.max_steps, said.lr_scheduler_kwargs)
    factors = [one(step) for one in scheduler.lr_lambdas[:1] for step in range(said.max_steps + 1)]
    return Heard(
        **known,
        clip_norm=said.max_grad_norm or None,
        steps=said.max_steps,
        batch_tokens=said.per_device_train_batch_size * said.gradient_accumulation_steps * record.known.training.context,
        warmup_steps=warmup,
        shape={name: shape for shape, name in SCHEDULERS.items()}[said.lr_scheduler_type],
        factors=factors[:-1],
        final_lr=factors[-1],
        seed=said.seed,
    )


def test_it_is_heard_as_predicted(tmp_path: Path) -> None:
    said = check_host(HOSTS.get("transformers"), ALIKE, lambda files, record: hear(tmp_path, record), roles=ROLES)
    assert {
        "adamw",
        "soap",
        "muon under spectral",
        "adamw, constant",
        "adamw, cosine alone",
        "muon, trapezoid",
        "muon, clipped",
    } <= {*said}
    assert "schedulefree-adamw" not in said and "adamw, cosine" not in said  # the latter has a schedule of weight decay


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=32,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).double()


def role(name: str) -> str:
    kinds = {"embed_tokens": "embedding", "norm": "vector", "lm_head": "readout"}
    return next((found for part, found in kinds.items() if part in name), "hidden")


class Tokens(torch.utils.data.IterableDataset):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while True:
            yield {"input_ids": torch.arange(8), "labels": torch.arange(8)}


def run(model: nn.Module, data: Any, record: Canonical, folder: Path, steps: int) -> list[dict[str, Tensor]]:
    """The first ``steps`` of the real Trainer, with what was exported; the gradients that its optimizer saw at each."""
    from transformers import Trainer, TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == steps

    with exported("transformers", record, folder) as module:
        said = arguments(folder)
        said.output_dir, said.save_strategy, said.report_to, said.disable_tqdm = str(folder / "out"), "no", [], True
        trainer = Trainer(
            model=model, args=said, train_dataset=data, callbacks=[Stop()], optimizer_cls_and_kwargs=(module.Factory, {})
        )
        with watched(model) as seen:
            trainer.train()
    return seen


@pytest.mark.parametrize(("recipe", "steps"), [("adamw", 1), ("adamw", 3), ("muon", 1), ("muon", 3), ("soap", 3)])
def test_updates_in_trainer_are_those_of_the_roles(recipe: str, steps: int, tmp_path: Path) -> None:
    record, model = at_once(recipe), llama()
    gradients, before = teach(model), parameters(model)
    wanted = stepped(model, gradients, record, tmp_path, steps)
    seen = run(model, Tokens(), record, tmp_path, steps)
    assert len(seen) == steps
    assert_moved(before, parameters(model), wanted)
    if (recipe, steps) == ("adamw", 1):
        assert_moved(before, parameters(model), first_adamw_step(before, gradients, record, role))


def test_gradients_are_clipped_as_predicted(tmp_path: Path) -> None:
    """Not at all, or to the norm; their own norm here is far beyond Trainer's default of 1."""
    for name, wanted in (("muon", None), ("muon, clipped", 0.5)):
        model = llama()
        gradients = teach(model)
        (seen,) = run(model, Tokens(), RECORDS[name], tmp_path, 1)
        if wanted is None:
            assert all(torch.equal(seen[one], gradients[one]) for one in gradients)
        else:
            assert torch.cat([grad.flatten() for grad in seen.values()]).norm().item() == pytest.approx(wanted, rel=1e-6)


class Ours(nn.Module):
    """Our trainer's model, as Trainer calls one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"loss": self.model(inputs, targets)}


class Batches(torch.utils.data.IterableDataset):
    """The sequences of our trainer's run, one after the other."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.shards = (np.random.default_rng(0).integers(0, spec.model.vocab, 2000, dtype=np.uint16),)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        spec = self.spec
        return batch(self.shards, seed=0, step=step, sequences=spec.batch_sequences, context=spec.model.context)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in itertools.count():
            for inputs, targets in zip(*self.at(step), strict=True):
                yield {"inputs": inputs, "targets": targets}


@pytest.mark.parametrize("recipe", ["adamw", "muon", "soap"])
def test_trainer_repeats_our_trainers_run(recipe: str, tmp_path: Path) -> None:
    """The same model, data and 20 steps in float64."""
    steps = 20
    predicted = prediction(
        recipe,
        schedule={"shape": "linear", "warmup_tokens": 0},
        precision="float64",
        model={"depth": 1, "head_dim": 32, "context": 16},
        horizon={"policy": "tokens", "tokens": 60 * 8 * 16},
    )
    spec, record = spec_of(predicted.point), canonical(predicted)
    data, ours, theirs = Batches(spec), build_model(spec), Ours(build_model(spec))
    before = parameters(ours)
    optimizer = build_optimizer(ours, spec)
    for step in range(steps):
        ours(*data.at(step)).backward()
        clip_gradients(ours.parameters(), spec.optimizer.resolved_options.clip_norm)
        optimizer.set_schedule(schedule_factor(spec, step), decay_factor(spec, step))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert len(run(theirs, data, record, tmp_path, steps)) == steps
    found = parameters(theirs.model)
    for name, wanted in parameters(ours).items():
        assert (wanted - before[name]).abs().max() > 1e-3, name
        assert (found[name] - wanted).abs().max() < 1e-8, name
