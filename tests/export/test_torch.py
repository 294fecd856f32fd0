"""The torch host, and `hptransfer.build_optimizer`: measured on parameters."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from export.mutants import Mistake, is_caught
from export.ranks import STEPS, module_of, somebodys, trained, worker
from export.samples import prediction, samples, small
from torch import Tensor, multiprocessing, nn

import hptransfer
from hptransfer.base.errors import UsageError
from hptransfer.export.canonical import canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.modules.roles import ROLES
from hptransfer.optimizers import recipe as base
from hptransfer.testing import check_host
from hptransfer.testing.hosts import Heard
from hptransfer.trainers.ours import build
from hptransfer.trainers.ours.points import spec_of
from hptransfer.trainers.ours.schedule import decay_factor, schedule_factor
from hptransfer.transfer.prediction import Prediction

torch.set_num_threads(1)
# One of each kind, and whatever of options and schedules a step reads.
CASES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {},
    "muon-all": {},
    "soap": {},
    "shampoo": {},
    "normuon": {},
    "muonh": {},
    "schedulefree-adamw": {},
    "adamw, cautious": {"options": {"cautious_weight_decay": True, "clip_norm": 0.5}},
    "muon, options": {
        "options": {"orthogonal_map": "polar_express", "momentum_warmup_tokens": 1024, "clip_norm": 0.5},
        "schedule": {"shape": "trapezoid", "warmup_tokens": 256, "cooldown_fraction": 0.4, "weight_decay": "cosine"},
    },
    "muon, units": {"options": {"lr_convention": "match_rms_adamw"}},
    "muon, spectral": {"parametrization": "spectral"},
}
CASES = {name: changes for name, changes in CASES.items() if name.split(",")[0] in hptransfer.optimizers.RECIPES.names()}


@cache
def case(name: str) -> Prediction:
    return small(name.split(",")[0], **CASES[name])


def written(folder: Path, files: dict[str, str]) -> Any:
    """The exported module, imported from ``folder``."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return module_of(folder)


def known_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.1


def move(exported: Any, model: nn.Module) -> None:
    """20 steps by the exported module."""
    optimizer = exported.build_optimizer(model)
    scheduler = exported.build_scheduler(optimizer)
    for step in range(STEPS):
        known_gradients(model, step)
        exported.clip_gradients(model)
        optimizer.step()
        scheduler.step()


def by_our_trainer(one: Prediction, model: nn.Module) -> list[Tensor]:
    """The weights after 20 steps of the run as it is trained here."""
    spec = spec_of(one.point)
    optimizer = build.build_optimizer(model, spec)
    for step in range(STEPS):
        known_gradients(model, step)
        if (largest := spec.optimizer.resolved_options.clip_norm) is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), largest)
        optimizer.set_schedule(schedule_factor(spec, step), decay_factor(spec, step))
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_moves_as_predicted(name: str, tmp_path: Path) -> None:
    """20 steps on the same gradients as our own trainer's, warm-up, schedule, decay and clipping included."""
    model = build.build_model(spec_of(case(name).point).at(precision="float64"))
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    move(written(tmp_path / "module", hptransfer.export(case(name), "torch")), theirs)
    for start, wanted, found in zip(model.parameters(), by_our_trainer(case(name), ours), theirs.parameters(), strict=True):
        moved = (wanted - start).norm()
        assert moved > 0 and (found - wanted).norm() < 1e-9 * moved


@pytest.mark.parametrize("recipe", ["adamw", "muon"])
def test_adamw_and_muon_need_torch_alone(recipe: str, tmp_path: Path) -> None:
    written(tmp_path / "module", hptransfer.export(case(recipe), "torch"))
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('hptransfer', 'ray', 'mup', 'pydantic')))\n"
        "from torch import nn\nfrom hptransfer_optimizer import build_optimizer, build_scheduler, role_table\n"
        "model = nn.Sequential(nn.Embedding(9, 32), nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 9))\n"
        "optimizer = build_optimizer(model); build_scheduler(optimizer).step(); print(role_table(optimizer))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "module", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[4:] for line in done.stdout.splitlines()[1:]}
    assert rows == {"embedding": ["0.weight"], "hidden": ["1.weight"], "readout": ["3.weight"], "vector": rows["vector"]}
    assert rows["vector"] == ["1.bias,", "2.weight,", "2.bias,", "3.bias"]


def heard(files: Any, record: Any) -> Heard:
    """By building it on somebody's model, and one step along gradients of zero, in which nothing but weight decay acts."""
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        exported = written(Path(home) / "module", files)
        torch.manual_seed(0)
        width, inner = record.model.width, record.model.mlp_width
        shapes = (width, width), (width, inner), (inner, width)
        hidden = [nn.Linear(*shape, bias=False) for shape in shapes]
        model = nn.Sequential(nn.Embedding(7, width), *hidden, nn.LayerNorm(width), nn.Linear(width, 7, bias=False)).double()
        optimizer = exported.build_optimizer(model)
        kinds = ("embedding", "attention", "mlp_in", "mlp_out", "vector", "readout")
        names = {kind: f"{place}.weight" for place, kind in enumerate(kinds)}
        rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        peak = {kind: rates[id(model.get_parameter(name))] for kind, name in names.items()}
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        now = dict(model.named_parameters())
        decay = {kind: 1 - (now[name] / before[name])[before[name] != 0].mean().item() for kind, name in names.items()}
        spent = exported.SCHEDULE
        return Heard(
            lr=peak,
            weight_decay={kind: 0.0 if abs(value) < 1e-15 else value for kind, value in decay.items()},
            clip_norm=exported.CLIP_NORM,
            steps=spent["steps"],
            warmup_steps=spent["warmup_steps"],
            shape=spent["shape"],
        )


def test_the_host_conforms() -> None:
    records = {name: canonical(one) for name, one in samples().items() if "spectral" not in name and not name.endswith("h")}
    said = check_host(HOSTS.get("torch"), records, heard, roles=ROLES)
    assert {"adamw", "muon", "soap", "shampoo", "unbounded"} <= {*said} and not {"table", "command"} & {*said}


SHARDED = [name for name in ("adamw", "muon", "shampoo", "soap", "muonh") if name in CASES]


@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
def test_two_ranks_train_as_one(strategy: str, tmp_path: Path) -> None:
    """FSDP2 and DDP over gloo: float64, 20 steps of a model that is not ours."""
    for name in SHARDED:
        written(tmp_path / name, hptransfer.export(case(name), "torch"))
    multiprocessing.spawn(worker, args=(str(tmp_path), SHARDED, strategy), nprocs=2)
    for name in SHARDED:
        start, one = somebodys().parameters(), trained(module_of(tmp_path / name), somebodys())
        for first, alone, shared in zip(start, one, torch.load(tmp_path / f"{name}-{strategy}.pt"), strict=True):
            assert (alone - first).norm() > 0
            torch.testing.assert_close(shared, alone, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["adamw", "muon", "soap"])
def test_a_compiled_model_keeps_its_roles(name: str, tmp_path: Path) -> None:
    exported = written(tmp_path / "module", hptransfer.export(case(name), "torch"))
    plain, compiled = somebodys(), somebodys()
    one = trained(exported, plain)
    two = trained(exported, torch.compile(compiled, backend="eager"))  # type: ignore[arg-type]
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["adamw", "muon", "soap"])
def test_a_state_dict_continues_bitwise(name: str, tmp_path: Path) -> None:
    exported = written(tmp_path / "module", hptransfer.export(case(name), "torch"))

    def steps(model: nn.Module, optimizer: Any, scheduler: Any, numbers: range) -> None:
        for number in numbers:
            known_gradients(model, number)
            optimizer.step()
            scheduler.step()

    straight = somebodys()
    optimizer = exported.build_optimizer(straight)
    scheduler = exported.build_scheduler(optimizer)
    steps(straight, optimizer, scheduler, range(8))
    torch.save([straight.state_dict(), optimizer.state_dict(), scheduler.state_dict()], tmp_path / "saved.pt")
    steps(straight, optimizer, scheduler, range(8, 14))

    resumed = somebodys()
    other = exported.build_optimizer(resumed)
    other_scheduler = exported.build_scheduler(other)
    for one, state in zip((resumed, other, other_scheduler), torch.load(tmp_path / "saved.pt"), strict=True):
        one.load_state_dict(state)
    steps(resumed, other, other_scheduler, range(8, 14))
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


# -- roles -------------------------------------------------------------------------------------------------------------


def test_roles_of_the_two_homes_are_the_same() -> None:
    assert ROLES == base.ROLES


def roles(optimizer: Any) -> dict[str, str]:
    return {name: group["role"] for group in optimizer.param_groups for name in group["param_names"]}


class Odd(nn.Module):
    """A table of positions that is a bare parameter, and a readout that no rule knows by name."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 32)
        self.positions = nn.Parameter(torch.zeros(4, 32))
        self.mix = nn.Linear(32, 32)
        self.scores = nn.Linear(32, 9)


def test_an_override_gives_the_role_that_no_rule_can() -> None:
    with pytest.raises(UsageError, match=r"positions \(4 x 32, in Odd\): no rule gives it a role; give it one by an override"):
        hptransfer.build_optimizer(Odd(), case("adamw"))
    found = roles(hptransfer.build_optimizer(Odd(), case("adamw"), roles={"^positions$": "embedding"}))
    assert found["positions"] == "embedding" and found["scores.weight"] == "readout" and found["mix.weight"] == "hidden"
    assert sorted(found) == sorted(name for name, _ in Odd().named_parameters())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"pos": "embedding", "nothing": "hidden"}, "override 'nothing' matches no parameter's name"),
        ({"pos(": "embedding"}, "override 'pos\\(' is no regular expression"),
        ({"pos": "table"}, "override 'pos': unknown role 'table'; known: embedding, hidden, readout, vector"),
        ({"pos": "embedding", "bias": "hidden"}, "mix.bias: of 1 dimensions; a weight of the role hidden has two"),
    ],
)
def test_a_wrong_override_is_one_line(overrides: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        hptransfer.build_optimizer(Odd(), case("adamw"), roles=overrides)
    assert "\n" not in str(caught.value)


def test_experts_are_refused_by_name() -> None:
    model = somebodys()
    model.layers[0].router = nn.Linear(32, 4)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"layers\.0\.router\.weight: the router and the experts of a mixture have no role yet"):
        hptransfer.build_optimizer(model, case("adamw"))


def test_tied_weights_have_one_role_or_none() -> None:
    """With different numbers for embedding and readout a tied tensor is refused; an override gives it one role; with equal
    numbers there is nothing to choose."""
    model = somebodys()
    model.lm_head.weight = model.wte.weight
    with pytest.raises(UsageError, match=r"wte\.weight = lm_head\.weight .*: one tensor cannot have the learning rates of"):
        hptransfer.build_optimizer(model, case("adamw"))
    found = hptransfer.build_optimizer(model, case("adamw"), roles={"lm_head": "embedding"})
    assert sum(len(group["params"]) for group in found.param_groups) == len(list(model.parameters()))
    group = next(group for group in found.param_groups if group["role"] == "embedding")
    assert group["params"] == [model.wte.weight] and group["lr"] == case("adamw").roles["embedding"].lr
    same = small("adamw", ratio=1.0, parametrization="sp")
    assert roles(hptransfer.build_optimizer(model, same))["wte.weight"] == "embedding"


def test_a_readout_that_no_rule_knows_is_refused_and_not_taken_for_hidden() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.scores = nn.Embedding(9, 32), nn.Linear(32, 16, bias=False)

    with pytest.raises(UsageError, match="no layer is known to be the readout; say which by an override"):
        hptransfer.build_optimizer(Padded(), case("adamw"))
    said = hptransfer.build_optimizer(Padded(), case("adamw"), roles={"scores": "readout"})
    assert roles(said) == {"tokens.weight": "embedding", "scores.weight": "readout"}
    functional = nn.Sequential(nn.Embedding(9, 32), nn.LayerNorm(32))  # its logits are made of the embedding's weight
    hptransfer.build_optimizer(functional, case("adamw"), roles={r"^0\.": "embedding"})


def test_of_layers_with_a_readouts_name_the_one_with_an_output_for_each_token_counts() -> None:
    model = nn.Module()
    model.tokens, model.attention = nn.Embedding(9, 32), nn.Module()
    model.attention.output, model.last = nn.Linear(32, 32, bias=False), nn.Linear(32, 9, bias=False)
    found = roles(hptransfer.build_optimizer(model, case("adamw")))
    assert (found["attention.output.weight"], found["last.weight"]) == ("hidden", "readout")
    model.last.weight = model.tokens.weight  # tied under a name that says nothing
    with pytest.raises(UsageError, match=r"tokens\.weight = last\.weight .* one tensor cannot have the learning rates"):
        hptransfer.build_optimizer(model, case("adamw"))


def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    exported = written(tmp_path / "module", hptransfer.export(prediction("adamw"), "torch"))
    with pytest.raises(ValueError, match=r"wte\.weight is 32 wide"):
        exported.build_optimizer(somebodys())
    with pytest.raises(UsageError, match=r"wte\.weight is 32 wide, and the learning rates are final ones of width 256"):
        hptransfer.build_optimizer(somebodys(), prediction("adamw"))


def test_numbers_that_differ_by_shape_go_by_shape() -> None:
    """Muon's learning rate in torch's match_rms_adamw units, converted at the base shape."""
    spec = spec_of(case("muon, units").point)
    model = build.build_model(spec)
    found = hptransfer.build_optimizer(model, case("muon, units"))
    wanted = {group.kind: group.lr for group in spec.groups()}
    assert len({lr for kind, lr in wanted.items() if kind in ("attention", "mlp_in", "mlp_out")}) > 1
    for group in found.param_groups:
        assert {wanted[spec.model.of.kind(name)] for name in group["param_names"]} == {group["lr"]}
    odd = nn.Sequential(nn.Embedding(9, 32), nn.Linear(32, 40), nn.Linear(40, 9))
    with pytest.raises(UsageError, match="the prediction has no learning rates for it"):
        hptransfer.build_optimizer(odd, case("muon, units"))


def test_a_matrix_that_is_kept_the_other_way_round_moves_as_its_transpose() -> None:
    """GPT-2's Conv1D keeps (inputs, outputs)."""

    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(32, 16, dtype=torch.float64))

    for name in ("soap", "normuon", "adamw"):
        straight = nn.Sequential(nn.Linear(32, 16, bias=False).double(), nn.Embedding(9, 32).double())
        turned = nn.Sequential(Conv1D(), nn.Embedding(9, 32).double())
        nn.init.zeros_(straight[0].weight)
        optimizers = [hptransfer.build_optimizer(one, case(name), roles={r"^1\.": "embedding"}) for one in (straight, turned)]
        for step in range(12):
            for one in (straight, turned):
                known_gradients(one, step)
            turned[0].weight.grad = straight[0].weight.grad.T.contiguous()
            for optimizer in optimizers:
                optimizer.step()
        assert straight[0].weight.norm() > 0
        torch.testing.assert_close(turned[0].weight.T, straight[0].weight, rtol=1e-10, atol=1e-12)


def test_an_exported_record_serves_as_the_prediction(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(hptransfer.export(case("soap"))["run.json"])
    by_file, by_prediction = (hptransfer.build_optimizer(somebodys(), one) for one in (path, case("soap")))
    for a, b in zip(by_file.param_groups, by_prediction.param_groups, strict=True):
        assert (a["kind"], a["lr"], a["weight_decay"]) == (b["kind"], b["lr"], b["weight_decay"])


@pytest.mark.parametrize(("name", "words"), [("table", "predicted from a table"), ("command", "a program of yours")])
def test_without_an_optimizer_there_is_none_to_build(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"has no optimizer to build: .*{words}"):
        hptransfer.build_optimizer(somebodys(), samples()[name])


# -- planted mistakes --------------------------------------------------------------------------------------------------

MISTAKES = [
    Mistake("clipping left out", "CLIP_NORM = {optimizer.options.get('clip_norm')!r}", "CLIP_NORM = None"),
    Mistake("weight decay over a learning rate that is not its own", "weight_decay={weight.weight_decay!r}", "weight_decay=0.1"),
    Mistake("the base learning rate", "lr={weight.lr!r}", "lr={optimizer.weights[0].lr!r}"),
    Mistake(
        "betas the other way round",
        '(optimizer.adam["beta1"], optimizer.adam["beta2"])',
        '(optimizer.adam["beta2"], optimizer.adam["beta1"])',
    ),
    Mistake("warm-up in tokens", '"warmup_steps", "shape"', '"shape"'),
    Mistake("one step fewer", '"steps": training.steps', '"steps": training.steps - 1'),
    Mistake("Nesterov dropped", '"nesterov": options["nesterov"]', '"nesterov": False'),
    Mistake(
        "momentum's warm-up in tokens",
        'options["momentum_warmup_tokens"] / training.batch_tokens',
        'options["momentum_warmup_tokens"]',
    ),
    Mistake("Muon on every role", "if get_recipe(optimizer.recipe).serves(role)", "if role != 'vector'"),
]


def moves_as_predicted(host: Host, folder: Path) -> None:
    for name in ("adamw", "muon", "muon, options"):
        record = canonical(case(name))
        model = build.build_model(spec_of(case(name).point).at(precision="float64"))
        ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
        move(written(folder / name, host.render(record)), theirs)
        for wanted, found in zip(by_our_trainer(case(name), ours), theirs.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_the_host_itself_is_not_mistaken(tmp_path: Path) -> None:
    moves_as_predicted(HOSTS.get("torch"), tmp_path)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[one.what for one in MISTAKES])
def test_a_planted_mistake_is_caught(mistake: Mistake, tmp_path: Path) -> None:
    assert is_caught(lambda host: moves_as_predicted(host, tmp_path), "torch", mistake)
