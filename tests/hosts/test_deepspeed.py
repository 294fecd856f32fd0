"""DeepSpeed: its own parser of configurations, and its own engine on CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from export.mutants import Mistake, is_caught
from export.samples import prediction
from hosts.given import (
    ALIKE,
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
from torch import Tensor, nn

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.export.hosts.deepspeed import CONFIG
from hptransfer.modules.schedule import factors
from hptransfer.testing.hosts import Heard, check_host

pytestmark = pytest.mark.host


class Net(nn.Module):
    """A weight of each role; hidden ones of every aspect, as a model of the samples' width has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(256, 256)
        self.attention = nn.Linear(256, 256, bias=False)
        self.fc = nn.Linear(256, 1024, bias=False)
        self.proj = nn.Linear(1024, 256, bias=False)
        self.norm = nn.RMSNorm(256)
        self.lm_head = nn.Linear(256, 256, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.proj(self.fc(self.attention(self.embed_tokens(tokens))))
        return self.lm_head(self.norm(x)).square().mean()


def role(name: str) -> str:
    kinds = {"embed": "embedding", "norm": "vector", "lm_head": "readout"}
    return next((found for part, found in kinds.items() if part in name), "hidden")


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """One process without a GPU, which compiles nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
            patch.setenv(name, value)
        patch.setenv("MASTER_PORT", "29617")
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setattr(torch._dynamo.config, "disable", True)
        patch.setattr(import_module("deepspeed.comm.torch"), "build_shm_op", lambda: None)
        accelerator = import_module("deepspeed").accelerator.get_accelerator()
        types = [*accelerator.supported_dtypes(), torch.float64]  # its reduction knows none: here is nothing to reduce
        patch.setattr(accelerator, "supported_dtypes", lambda: types)
        yield
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def read(folder: Path) -> Any:
    from deepspeed.runtime.config import DeepSpeedConfig

    return DeepSpeedConfig(str(folder / CONFIG))


def engine_of(model: nn.Module, module: ModuleType, folder: Path) -> Any:
    """DeepSpeed's engine over what was exported; torch's Adam where its own is for GPUs."""
    import deepspeed
    import hjson

    config = hjson.loads((folder / CONFIG).read_text())
    config["optimizer"]["params"]["torch_adam"] = True
    groups = module.parameter_groups(model)
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=groups, config=dict(config), lr_scheduler=module.build_scheduler
    )
    return engine


def scale(parameter: Tensor) -> float:
    """`_aspect_ratio_scale` of deepspeed/runtime/zero/muon/original_muon.py, on every matrix that Muon steps."""
    rows, columns = parameter.shape
    return math.sqrt(rows / columns) if rows > columns else 1.0


def hear(files: Mapping[str, str], record: Canonical, folder: Path) -> Heard:
    muon = record.known.optimizer.recipe == "muon"
    with loaded(files, folder) as module:
        said, model = read(folder), Net()
        groups = [(group, parameter) for group in module.parameter_groups(model) for parameter in group["params"]]
    names = {parameter: name for name, parameter in model.named_parameters()}
    lr: dict[str, float] = {}
    decay: dict[str, float] = {}
    for group, parameter in groups:
        one = role(names[parameter])
        effective = group["lr"] * (scale(parameter) if muon and one == "hidden" else 1.0)
        # Whatever its shape, a weight has its kind's numbers.
        (wanted,) = {weight.lr for weight in record.known.optimizer.weights if matches(weight, one, parameter)}
        assert effective == pytest.approx(wanted, rel=1e-9)
        lr[one], decay[one] = effective, group["lr"] * group["weight_decay"]
    beta1, beta2 = next(group["betas"] for group, _ in groups if "betas" in group)
    options = {"adam.beta1": beta1, "adam.beta2": beta2} if muon else {"beta1": beta1, "beta2": beta2}
    if muon:
        options["momentum"] = said.optimizer_params["momentum"]
    factors_ = [factors(step, module.SCHEDULE)[0] for step in range(module.SCHEDULE["steps"] + 1)]
    return Heard(
        lr=lr,
        weight_decay=decay,
        epsilons={role(names[parameter]): group["eps"] for group, parameter in groups if "betas" in group},
        options=options,
        clip_norm=said.gradient_clipping or None,
        batch_tokens=said.train_batch_size * record.known.training.context,
        factors=factors_[:-1],
        final_lr=factors_[-1],
    )


def matches(weight: Any, one: str, parameter: Tensor) -> bool:
    return weight.role == one and (one != "hidden" or (weight.d_out, weight.d_in) == tuple(parameter.shape))


def is_heard(host: Host, folder: Path) -> None:
    clipped = canonical(prediction("adamw")).model_dump()
    clipped["optimizer"]["options"]["clip_norm"] = 0.5
    records = ALIKE | {"adamw, clipped": Canonical.model_validate(clipped)}
    units = {"muon, units": in_units("original")}  # its hidden weights differ by shape: see `hear`
    said = check_host(host, records, lambda files, record: hear(files, record, folder), roles=ROLES)
    assert {"adamw", "adamw, cosine", "adamw, clipped", "muon", "muon, trapezoid"} <= {*said}
    assert not {"muon, clipped", "muon-all", "soap", "shampoo", "muon under spectral"} & {*said}
    check_host(host, units, lambda files, record: hear(files, record, folder), roles=("embedding", "readout", "vector"))


def test_it_is_heard_as_predicted(tmp_path: Path) -> None:
    is_heard(HOSTS.get("deepspeed"), tmp_path)


@pytest.mark.parametrize(("recipe", "steps"), [("adamw", 1), ("adamw", 3), ("muon", 1), ("muon", 3)])
def test_the_engine_moves_as_predicted(recipe: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, model = at_once(recipe), Net().double()
    original = import_module("deepspeed.runtime.zero.muon.original_muon")
    monkeypatch.setattr(original, "ns_compute_dtype", lambda method: torch.float64)  # else as narrow as the device allows
    gradients, before = teach(model), parameters(model)
    wanted = stepped(model, gradients, record, tmp_path, steps)
    with exported("deepspeed", record, tmp_path) as module:
        engine = engine_of(model, module, tmp_path)
    for _ in range(steps):
        engine.backward(engine(torch.arange(8).repeat(8, 1)))
        engine.step()
    assert_moved(before, parameters(model), wanted)
    if (recipe, steps) == ("adamw", 1):
        assert_moved(before, parameters(model), first_adamw_step(before, gradients, record, role))


def test_a_split_that_was_not_searched_is_refused(tmp_path: Path) -> None:
    """DeepSpeed goes by names: GPT-2's wte is Muon's, and a hidden matrix with embed in its name is Adam's."""
    from deepspeed import set_optimizer_flags
    from deepspeed.runtime.config import DeepSpeedConfig

    class Misnamed(Net):
        def __init__(self, **names: str) -> None:
            super().__init__()
            for old, new in names.items():
                self.register_module(new, self._modules.pop(old))

    names = {"embed_tokens": "wte", "lm_head": "output", "fc": "embed_fc"}
    with exported("deepspeed", ALIKE["muon"], tmp_path) as module:
        for old, new in names.items():
            with pytest.raises(ValueError, match=f"{new}.weight .*DeepSpeed steps it by (Muon|Adam)"):
                module.parameter_groups(Misnamed(**{old: new}))
        model = Net()
        module.parameter_groups(model)
        table = module.split(model)
    set_optimizer_flags(DeepSpeedConfig(str(tmp_path / CONFIG)), model)
    for name, parameter in model.named_parameters():
        (line,) = (line for line in table.splitlines() if name in line)
        assert ("by Muon" in line) == parameter.use_muon


def test_without_the_groups_nothing_moves(tmp_path: Path) -> None:
    """The configuration alone has no learning rate, rather than one for all."""
    with exported("deepspeed", ALIKE["muon"], tmp_path):
        params: Mapping[str, Any] = read(tmp_path).optimizer_params
    assert params["lr"] == 0 and not {"muon_lr", "adam_lr"} & params.keys()


MISTAKES = [
    Mistake("weight decay is not coupled", "numbers.weight_decay / lr", "numbers.weight_decay"),
    Mistake("weight decay is over the unscaled rate", "numbers.weight_decay / lr", "numbers.weight_decay / numbers.lr"),
    Mistake("a tall matrix is scaled twice", "lr = numbers.lr / scale", "lr = numbers.lr"),
    Mistake("a wide matrix is scaled", "max(1.0, rows / columns)", "rows / columns"),
    Mistake("clipping is left at its default", '"gradient_clipping": optimizer.options["clip_norm"] or 0.0,', ""),
    Mistake("a batch in tokens", '"train_batch_size": training.batch_sequences', '"train_batch_size": training.batch_tokens'),
    Mistake(
        "Adam's momentum is Muon's", '(optimizer.adam["beta1"], optimizer.adam["beta2"])', "(0.95, 0.95) if muon else (0.9, 0.95)"
    ),
    Mistake("epsilon is left at its default", ', "eps": numbers.epsilons["eps"]}', "}"),
    Mistake("Muon's updates are clipped", 'options["clip_norm"] is not None', "False"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_planted_mistakes_are_caught(mistake: Mistake, tmp_path: Path) -> None:
    assert is_caught(lambda host: is_heard(host, tmp_path), "deepspeed", mistake)
