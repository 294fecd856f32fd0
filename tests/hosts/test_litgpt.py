"""litgpt: its own command line, its own pretraining."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

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
from torch import Tensor, nn

from hptransfer.export.canonical import Canonical
from hptransfer.export.hosts import HOSTS
from hptransfer.export.hosts.litgpt import CONFIG
from hptransfer.testing.hosts import Heard, check_host

pytestmark = pytest.mark.host

MODEL = {
    "name": "tiny",
    "block_size": 128,
    "padded_vocab_size": 256,
    "n_layer": 1,
    "n_head": 4,
    "n_embd": 256,
    "intermediate_size": 256,
    "rotary_percentage": 1.0,
    "parallel_residual": False,
    "bias": False,
    "norm_class_name": "RMSNorm",
    "mlp_class_name": "LLaMAMLP",
}


def hear(folder: Path, record: Canonical) -> Heard:
    from jsonargparse import ArgumentParser
    from litgpt.pretrain import get_lr, setup

    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(setup)
    with exported("litgpt", record, folder) as module:
        said = parser.parse_args(["--config", str(folder / CONFIG), "--model_name", "pythia-14m"])
        known = numbers(sys.modules["hptransfer_optimizer"].build_optimizer(OneOfEach()))
        factors = [module.factors(step, module.SCHEDULE)[0] for step in range(record.known.training.steps + 1)]
    train = said.train
    iterations = train.max_tokens // (train.micro_batch_size * train.max_seq_length)
    steps = iterations * train.micro_batch_size / train.global_batch_size
    assert said.optimizer["class_path"] == "hptransfer_litgpt.predicted_optimizer"
    assert not train.lr_warmup_steps and not train.lr_warmup_fraction
    assert {get_lr(1.0, at, 0, iterations, train.min_lr) for at in range(iterations)} == {1.0}
    return Heard(
        **known,
        clip_norm=None if train.max_norm == float("inf") else train.max_norm,
        steps=steps,
        batch_tokens=train.global_batch_size * train.max_seq_length,
        context=train.max_seq_length,
        factors=factors[:-1],
        final_lr=factors[-1],
        seed=said.seed,
    )


def test_it_is_heard_as_predicted(tmp_path: Path) -> None:
    said = check_host(HOSTS.get("litgpt"), ALIKE, lambda files, record: hear(tmp_path, record), roles=ROLES)
    assert {"adamw", "soap", "muon under spectral", "adamw, cosine", "muon, trapezoid", "muon, clipped"} <= {*said}
    assert "schedulefree-adamw" not in said


class Run:
    """The first ``steps`` of the real ``litgpt pretrain``, with what was exported, under known ``gradients``: parameters
    ``before``, ``after`` and as they were predicted (``wanted``), and the gradients that the optimizer has ``seen``. ``options``
    go over the exported ones."""

    def __init__(self, record: Canonical, folder: Path, steps: int, patch: pytest.MonkeyPatch, **options: object) -> None:
        from litgpt import pretrain
        from litgpt.__main__ import main
        from litgpt.utils import reset_parameters

        training = record.known.training
        micro = int(str(options.get("train.micro_batch_size", training.batch_sequences)))
        parts = training.batch_sequences // micro
        tokens = torch.zeros(training.batch_sequences * steps, training.context + 1, dtype=torch.int64)
        batches = torch.utils.data.DataLoader(tokens, batch_size=micro)
        found: list[nn.Module] = []

        def initialize(fabric: object, model: nn.Module, **_: object) -> None:
            reset_parameters(model)
            self.gradients = {name: parts * grad for name, grad in teach(model.double()).items()}
            self.before = parameters(model)
            self.wanted = stepped(model, self.gradients, record, folder, steps)
            self.seen = watching.enter_context(watched(model))
            found.append(model)

        patch.setattr(pretrain, "initialize_weights", initialize)
        patch.setattr(pretrain, "get_dataloaders", lambda *_: (batches, batches))
        patch.setattr(torch._dynamo.config, "disable", True)  # it compiles for longer than it trains here
        said = {
            "config": folder / CONFIG,
            "model_config": json.dumps(MODEL),
            "out_dir": folder / "out",
            "logger_name": "csv",
            "eval.final_validation": "false",
            "train.max_tokens": steps * training.batch_tokens,
            **options,
        }
        patch.setattr(sys, "argv", ["litgpt", "pretrain", "tiny", *(f"--{name}={value}" for name, value in said.items())])
        with ExitStack() as watching, exported("litgpt", record, folder):
            main()
        assert len(self.seen) == steps
        self.after = parameters(found[0])


def role(name: str) -> str:
    kinds = {"wte": "embedding", "norm_": "vector", "ln_f": "vector", "lm_head": "readout"}
    return next((found for part, found in kinds.items() if part in name), "hidden")


@pytest.mark.parametrize(("recipe", "steps"), [("adamw", 1), ("adamw", 3), ("muon", 1), ("muon", 3), ("soap", 3)])
def test_updates_in_pretraining_are_those_of_the_roles(
    recipe: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = at_once(recipe)
    run = Run(record, tmp_path, steps, monkeypatch)
    assert_moved(run.before, run.after, run.wanted)
    if (recipe, steps) == ("adamw", 1):
        assert_moved(run.before, run.after, first_adamw_step(run.before, run.gradients, record, role))


def test_warm_up_counts_steps_and_not_micro_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(RECORDS["muon, trapezoid"], tmp_path, 3, monkeypatch, **{"train.micro_batch_size": 2})
    assert_moved(run.before, run.after, run.wanted)


def test_gradients_are_clipped_as_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at all, or to the norm; their own norm here is far beyond litgpt's default of 1."""
    for name, norm in (("muon", None), ("muon, clipped", 0.5)):
        run = Run(RECORDS[name], tmp_path, 1, monkeypatch)
        if norm is None:
            assert all(torch.equal(run.seen[0][one], run.gradients[one]) for one in run.gradients)
        else:
            found = torch.cat([grad.flatten() for grad in run.seen[0].values()]).norm().item()
            assert found == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("option", [{"train.min_lr": 4e-5}, {"train.lr_warmup_steps": 2}])
def test_a_second_schedule_is_refused(option: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="once more"):
        Run(RECORDS["adamw"], tmp_path, 3, monkeypatch, **option)


def test_parameters_without_a_litgpt_model_are_refused(tmp_path: Path) -> None:
    with exported("litgpt", RECORDS["adamw"], tmp_path) as module:
        for parameters_alone in (OneOfEach().parameters(), list(OneOfEach().parameters()), iter(())):
            with pytest.raises(ValueError, match="without a model"):
                module.predicted_optimizer(parameters_alone)


def test_a_resumed_run_goes_on_in_its_schedule(tmp_path: Path) -> None:
    """The step count is in the state that litgpt keeps."""
    from litgpt.model import GPT, Config

    with exported("litgpt", at_once("adamw"), tmp_path) as module:

        def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"]
            for one in model.parameters():
                one.grad = torch.ones_like(one)
            optimizer.step()
            return parameters(model)

        straight, resumed = GPT(Config(**MODEL)), GPT(Config(**MODEL))
        optimizer = module.predicted_optimizer(straight.parameters())
        for _ in range(40):
            step(straight, optimizer)
        again = module.predicted_optimizer(resumed.parameters())
        resumed.load_state_dict(straight.state_dict())
        again.load_state_dict(optimizer.state_dict())
        found, wanted = step(resumed, again), step(straight, optimizer)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
