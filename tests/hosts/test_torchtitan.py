"""torchtitan: its own registry of configurations, its own containers of optimizers and schedulers, on CPU."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from export.mutants import Mistake, is_caught
from export.samples import prediction
from hosts.given import (
    RECORDS,
    ROLES,
    assert_moved,
    at_once,
    exported,
    first_adamw_step,
    in_units,
    loaded,
    parameters,
    stepped,
    teach,
)
from torch import nn

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.export.hosts.torchtitan import ADJUST
from hptransfer.testing.hosts import Heard, check_host

pytestmark = pytest.mark.host

MINE = """
from torchtitan.models.llama3.config_registry import llama3_debugmodel
from hptransfer_torchtitan import predicted

def run():
    return predicted(llama3_debugmodel())

def run_muon():
    return predicted(llama3_debugmodel(), muon={})
"""
# What torchtitan's own code calls `_adjust_muon_learning_rate`: distributed/flex_shard/dist_muon.py of 0.3.0.
SCALES = {
    "original": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "spectral_unclamped": lambda rows, columns: math.sqrt(rows / columns),
}


def role(name: str) -> str:
    kinds = {"tok_embeddings": "embedding", "norm": "vector", "lm_head": "readout"}
    return next((found for part, found in kinds.items() if part in name), "hidden")


def parsed(files: Mapping[str, str], folder: Path, config: str = "run") -> Any:
    """The configuration, as ``--module mine --config ...`` makes it."""
    from torchtitan.config.manager import ConfigManager

    with loaded(files, folder):
        (folder / "mine.py").write_text(MINE)
        try:
            return ConfigManager().parse_args(["--module", "mine", "--config", config])
        finally:
            sys.modules.pop("mine", None)


def factors(config: Any, steps: int) -> Iterator[float]:
    """s(t) at each step and after the last, by torchtitan's scheduler."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler = config.lr_scheduler.build(optimizers=[optimizer], training_steps=config.training.steps)
    (factor,) = scheduler.schedulers[0].lr_lambdas
    yield from map(factor, range(steps + 1))


def hear(files: Mapping[str, str], record: Canonical, folder: Path) -> Heard:
    muon = record.known.optimizer.recipe == "muon"
    config, training = parsed(files, folder, "run_muon" if muon else "run"), record.known.training
    groups = {role(group.pattern): (group.optimizer_name, group.optimizer_kwargs) for group in config.optimizer.param_groups}
    assert len(groups) == len(config.optimizer.param_groups) == 4
    name, hidden = groups["hidden"]
    beta1, beta2 = groups["readout"][1]["betas"]
    options = {"adam.beta1": beta1, "adam.beta2": beta2} if muon else {"beta1": beta1, "beta2": beta2}
    scale = 1.0
    if muon:
        assert name == "DistMuon" and hidden["ns_steps"] == 5 and not hidden["fused"]
        options |= {one: hidden[one] for one in ("momentum", "nesterov")}
        (attention,) = (weight for weight in record.known.optimizer.weights if weight.kind == "attention")
        scale = SCALES[hidden["adjust_lr_fn"]](attention.d_out, attention.d_in)
        # The role's numbers differ by shape here, and the group's serve every one of them.
        for weight in record.known.optimizer.weights:
            if weight.role == "hidden":
                assert hidden["lr"] * SCALES[hidden["adjust_lr_fn"]](weight.d_out, weight.d_in) == pytest.approx(weight.lr, 1e-9)
                assert hidden["lr"] * hidden["weight_decay"] == pytest.approx(weight.weight_decay, rel=1e-9)
                assert hidden["eps"] == weight.epsilons["eps"]
    said = list(factors(config, training.steps))
    return Heard(
        lr={one: kwargs["lr"] * (scale if one == "hidden" else 1) for one, (_, kwargs) in groups.items()},
        weight_decay={one: kwargs["lr"] * kwargs["weight_decay"] for one, (_, kwargs) in groups.items()},
        epsilons={one: kwargs["eps"] for one, (_, kwargs) in groups.items() if one in record.known.optimizer.roles},
        options=options,
        clip_norm=None if config.training.max_norm > 1e30 else config.training.max_norm,
        steps=config.training.steps,
        batch_tokens=config.training.global_batch_size * config.training.seq_len,
        context=config.training.seq_len,
        warmup_steps=config.lr_scheduler.warmup_steps,
        factors=said[:-1],
        final_lr=said[-1],
    )


def is_heard(host: Host, folder: Path) -> None:
    schedules = {
        "trapezoid": {"shape": "trapezoid", "warmup_tokens": 8 * 1024, "cooldown_fraction": 0.3},
    }
    records = RECORDS | {name: canonical(prediction("adamw", schedule=schedule)) for name, schedule in schedules.items()}
    records |= {f"muon, {units}": in_units(units) for units in ADJUST.values()}
    by_role = tuple(one for one in ROLES if one != "hidden")
    said = check_host(host, records, lambda files, record: hear(files, record, folder), roles=by_role)
    adamw = {name: records[name] for name in said if "muon" not in name}
    assert check_host(host, adamw, lambda files, record: hear(files, record, folder), roles=ROLES) == list(adamw)
    assert {"adamw", "adamw under sp", "adamw, cosine alone", "unbounded", "adamw, constant", "trapezoid"} <= {*said}
    assert {f"muon, {units}" for units in ADJUST.values()} <= {*said}
    assert not {"muon", "muon, clipped", "muon-all", "soap", "shampoo", "muon under spectral", "table", "command"} & {*said}


def test_it_is_heard_as_predicted(tmp_path: Path) -> None:
    is_heard(HOSTS.get("torchtitan"), tmp_path)


def test_a_cooldown_is_of_whole_steps(tmp_path: Path) -> None:
    record = canonical(prediction("adamw", schedule={"shape": "trapezoid", "warmup_tokens": 4096, "cooldown_fraction": 0.4}))
    factors_ = list(factors(parsed(HOSTS.get("torchtitan").render(record), tmp_path), 128))
    assert sum(factor < 1 for factor in factors_[4:-1]) == round(0.4 * (128 - 4)) - 1


def test_updates_are_those_of_the_roles(tmp_path: Path) -> None:
    """The container of torchtitan over its own model, moved by a known gradient."""
    record = at_once("adamw")
    config = parsed(HOSTS.get("torchtitan").render(record), tmp_path)
    config.optimizer.implementation = "for-loop"
    torch.manual_seed(0)
    model = config.model_spec.model.build().double()
    gradients, before = teach(model), parameters(model)
    optimizers = config.optimizer.build(model_parts=[model])
    schedulers = config.lr_scheduler.build(optimizers=optimizers, training_steps=config.training.steps)
    for step in range(3):
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizers.step()
        schedulers.step()
        if step == 0:
            assert_moved(before, parameters(model), first_adamw_step(before, gradients, record, role))
    after = parameters(model)
    model.load_state_dict(before, strict=False)
    assert_moved(before, after, stepped(model, gradients, record, tmp_path, 3))


def test_patterns_find_wrapped_blocks(tmp_path: Path) -> None:
    """Every parameter is in a group when torchtitan checkpoints activations and compiles blocks."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    config = parsed(HOSTS.get("torchtitan").render(RECORDS["adamw"]), tmp_path)
    config.optimizer.implementation = "for-loop"
    model = config.model_spec.model.build()
    for name, block in model.layers.named_children():
        model.layers.register_module(name, torch.compile(checkpoint_wrapper(block)))
    optimizers = config.optimizer.build(model_parts=[model])
    (optimizer,) = optimizers
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_clipping_is_off(tmp_path: Path) -> None:
    from torchtitan.distributed.utils import clip_grad_norm_

    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), 1e4)
    clip_grad_norm_([parameter], parsed(HOSTS.get("torchtitan").render(RECORDS["adamw"]), tmp_path).training.max_norm)
    assert parameter.grad.tolist() == [1e4] * 3


def test_mains_words_are_not_those_of_the_release(tmp_path: Path) -> None:
    """main counts a batch in tokens; a release that does not know its words raises."""
    from torchtitan.models.llama3.config_registry import llama3_debugmodel

    record, config = RECORDS["adamw"], llama3_debugmodel()
    with exported("torchtitan-main", record, tmp_path) as module:
        with pytest.raises(AttributeError, match="num_tokens_per_train_step"):
            module.predicted(llama3_debugmodel())
        # TrainingConfig of main at b5bcd76: torchtitan/config/configs.py.
        names = ("num_tokens_per_microbatch_per_dp_rank", "num_tokens_per_train_step", "max_context_length", "steps", "max_norm")
        config.training = SimpleNamespace(**dict.fromkeys(names))
        module.predicted(config)
    found, training = config.training, record.known.training
    assert vars(found).keys() == {*names} and found.num_tokens_per_microbatch_per_dp_rank is None
    assert (found.num_tokens_per_train_step, found.max_context_length) == (training.batch_tokens, training.context)
    assert (found.steps, len(config.optimizer.param_groups)) == (training.steps, 4)


def test_scales_are_those_of_dist_muon() -> None:
    from torchtitan.distributed.flex_shard.dist_muon import _adjust_muon_learning_rate

    assert SCALES.keys() == ADJUST.keys()
    for name, scale in SCALES.items():
        for shape in ((1024, 256), (256, 1024), (64, 64)):
            assert _adjust_muon_learning_rate(1.0, name, shape) == scale(*shape)


MISTAKES = [
    Mistake("weight decay is not coupled", "numbers.weight_decay / numbers.lr", "numbers.weight_decay"),
    Mistake("clipping is left at its default", "1e38 if clip_norm is None", "1.0 if clip_norm is None"),
    Mistake("a batch in tokens", '"global_batch_size": training.batch_sequences', '"global_batch_size": training.batch_tokens'),
    Mistake("the decay is over all of the run", "round(share * (steps - schedule.warmup_steps)) / steps", "share"),
    Mistake("a constant schedule decays", 'if schedule.shape == "trapezoid" else 0.0', "if steps else 0.0"),
    Mistake("warm-up in tokens", '"warmup_steps": schedule.warmup_steps', '"warmup_steps": schedule.warmup_tokens'),
    Mistake("Muon's scale is multiplied", "weight.lr / update_factor", "weight.lr * update_factor", "hptransfer.export.muon"),
    Mistake(
        "the betas of Adam are swapped",
        '(optimizer.adam["beta1"], optimizer.adam["beta2"])',
        '(optimizer.adam["beta2"], optimizer.adam["beta1"])',
    ),
    Mistake("epsilon is left at its default", '"eps": eps, **options', "**options"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_planted_mistakes_are_caught(mistake: Mistake, tmp_path: Path) -> None:
    assert is_caught(lambda host: is_heard(host, tmp_path), "torchtitan", mistake)
