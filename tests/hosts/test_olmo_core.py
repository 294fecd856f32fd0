"""OLMo-core: its own configurations, and the optimizer and the schedule that they build, on its own model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from export.mutants import Mistake, is_caught
from export.samples import prediction
from hosts.given import RECORDS, ROLES, assert_moved, at_once, exported, first_adamw_step, loaded, parameters, stepped, teach

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.testing.hosts import Heard, check_host

pytestmark = pytest.mark.host


def role(name: str) -> str:
    kinds = {"norm": "vector", "embeddings": "embedding", "lm_head": "readout"}
    return next((found for part, found in kinds.items() if part in name), "hidden")


def model_config(layers: int = 12) -> Any:
    from olmo_core.nn.transformer import TransformerConfig

    return TransformerConfig.llama_like(vocab_size=256, d_model=256, n_layers=layers, n_heads=4)


def read_back(config: Any) -> Any:
    """Through the dictionary that OLMo-core saves beside a run."""
    return type(config).from_dict(config.as_config_dict())


def hear(files: Mapping[str, str], record: Canonical, folder: Path) -> Heard:
    with loaded(files, folder) as module:
        said = read_back(module.train_module(model_config(), rank_microbatch_size=128))
    model = model_config().build(init_device="meta")
    optimizer = said.optim.build(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = {role(names[parameter]): group for group in optimizer.param_groups for parameter in group["params"]}
    assert {len({role(names[parameter]) for parameter in group["params"]}) for group in optimizer.param_groups} == {1}
    (beta1, beta2), steps = groups["hidden"]["betas"], module.DURATION.value
    # Its trainer counts the step before it asks: train/trainer.py and train_module.optim_step.
    factors = [said.scheduler.get_lr(1.0, step + 1, steps) for step in range(steps)]
    return Heard(
        lr={one: group["lr"] for one, group in groups.items()},
        weight_decay={one: group["lr"] * group["weight_decay"] for one, group in groups.items()},
        epsilons={one: group["eps"] for one, group in groups.items()},
        options={"beta1": beta1, "beta2": beta2},
        clip_norm=said.max_grad_norm,
        steps=steps,
        batch_tokens=module.GLOBAL_BATCH_SIZE,
        context=said.max_sequence_length,
        factors=factors,
    )


def is_heard(host: Host, folder: Path) -> None:
    schedules = {
        "trapezoid": {"shape": "trapezoid", "warmup_tokens": 8 * 1024, "cooldown_fraction": 0.3},
        "without warm-up": {"shape": "linear", "warmup_tokens": 0},
    }
    records = RECORDS | {name: canonical(prediction("adamw", schedule=schedule)) for name, schedule in schedules.items()}
    clipped = canonical(prediction("adamw")).model_dump()
    clipped["optimizer"]["options"]["clip_norm"] = 0.5
    records["adamw, clipped"] = Canonical.model_validate(clipped)
    said = check_host(host, records, lambda files, record: hear(files, record, folder), roles=ROLES)
    assert {"adamw", "adamw under sp", "adamw, cosine alone", "adamw, constant", "adamw, clipped", *schedules} <= {*said}
    assert not {"muon", "soap", "shampoo", "adamw, cosine", "table", "command"} & {*said}


def test_it_is_heard_as_predicted(tmp_path: Path) -> None:
    is_heard(HOSTS.get("olmo-core"), tmp_path)


def test_updates_are_those_of_the_roles(tmp_path: Path) -> None:
    record = at_once("adamw")
    with exported("olmo-core", record, tmp_path) as module:
        said = module.train_module(model_config(2), rank_microbatch_size=128)
    model = model_config(2).build(init_device="cpu").double()
    gradients, before = teach(model), parameters(model)
    optimizer, trainer = said.optim.build(model), Trainer(record.known.training.steps)
    for step in range(3):
        trainer.global_step += 1
        for group in optimizer.param_groups:
            said.scheduler.set_lr(group, trainer)
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizer.step()
        if step == 0:
            assert_moved(before, parameters(model), first_adamw_step(before, gradients, record, role))
    after = parameters(model)
    model.load_state_dict(before, strict=False)
    assert_moved(before, after, stepped(model, gradients, record, tmp_path, 3))


class Trainer:
    """What a scheduler asks of OLMo-core's trainer."""

    def __init__(self, steps: int) -> None:
        self.global_step, self.max_steps = 0, steps


def test_overrides_find_checkpointed_blocks(tmp_path: Path) -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    with exported("olmo-core", RECORDS["adamw"], tmp_path) as module:
        said = module.optim(model_config())
    model = model_config().build(init_device="meta")
    plain = [[*map(id, group["params"])] for group in said.build(model).param_groups]
    for name, block in [*model.blocks.items()]:
        model.blocks[name] = checkpoint_wrapper(block)
    assert [[*map(id, group["params"])] for group in said.build(model).param_groups] == plain


def test_muon_is_refused_for_what_olmo_core_does() -> None:
    """One learning rate, no overrides, no decay of the embedding: as its configuration says."""
    from olmo_core.optim import MuonConfig, OptimGroupOverride

    why = HOSTS.get("olmo-core").refuse(RECORDS["muon"])
    assert why is not None and "group_overrides" in why
    model = model_config().build(init_device="meta")
    with pytest.raises(RuntimeError, match="group_overrides"):
        MuonConfig(group_overrides=[OptimGroupOverride(["embeddings.weight"], {"lr": 1.0})]).build_groups(model)
    options = [{name: value for name, value in group.items() if name != "params"} for group in MuonConfig().build_groups(model)]
    assert {"algorithm": "adamw", "weight_decay": 0.0} in options and {"algorithm": "adamw"} in options


MISTAKES = [
    Mistake("weight decay is not coupled", "numbers.weight_decay / numbers.lr", "numbers.weight_decay"),
    Mistake("clipping is forgotten", "max_grad_norm=MAX_GRAD_NORM,", ""),
    Mistake("a batch in sequences", 'f"{training.batch_tokens}  # tokens"', 'f"{training.batch_sequences}"'),
    Mistake("the decay ends at a tenth", "{kind}(alpha_f=0.0, ", "{kind}("),
    Mistake("the decay is a step early", "t_max={steps + 1}", "t_max={steps}"),
    Mistake("the cool-down is over all of the run", "* (steps - schedule.warmup_steps)", "* steps"),
    Mistake("warm-up in tokens", "schedule.warmup_steps + 1", "schedule.warmup_tokens"),
    Mistake("epsilon is left at its default", ', "eps": eps}', "}"),
    Mistake("vectors are as matrices", 'if role != "hidden"]', 'if role not in ("hidden", "vector")]'),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_planted_mistakes_are_caught(mistake: Mistake, tmp_path: Path) -> None:
    assert is_caught(lambda host: is_heard(host, tmp_path), "olmo-core", mistake)
