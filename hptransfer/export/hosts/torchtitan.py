"""torchtitan: a module whose function puts the run into a trainer's configuration, in the words of 0.3.0 or of main.

Patterns of parameters come from the model of that configuration, built on torch's meta device, so that they are complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hptransfer.export.canonical import Canonical, Optimizer, Training
from hptransfer.export.host import comments, refusal
from hptransfer.export.hosts.torch import pretty, weights
from hptransfer.export.inline import standalone
from hptransfer.export.muon import matrix_lr
from hptransfer.optimizers.orthogonalized import iterations
from hptransfer.optimizers.rules.conventions import LrConvention

FILE = "hptransfer_torchtitan.py"
# What DistMuon scales a learning rate by, in its own words (`_adjust_muon_learning_rate` of 0.3.0).
ADJUST: dict[str, LrConvention] = {
    "original": "original",
    "match_rms_adamw": "match_rms_adamw",
    "spectral_unclamped": "spectral",
}

DOCUMENT = '''"""The optimizer, schedule, batch and horizon of a predicted run, for torchtitan {version}.

    # mine.py: torchtitan's --module mine --config run
    from torchtitan.models.llama3.config_registry import llama3_debugmodel
    from hptransfer_torchtitan import predicted

    def run():
        return predicted(llama3_debugmodel())

Nothing may scale the learning rates again. The model stays yours. Under pipeline parallelism torchtitan refuses a group without a
parameter on one of the stages.{more}
"""

'''
MUON = """

DistMuon needs to know how matrices are laid out: ``muon`` is {"compute_sharding_by_fqn": ..., "bucket_configs": ...}, as in
torchtitan.models.kimi_k2_7.config_registry. It runs on CUDA alone, and iterates in bfloat16."""

IMPORTS = (
    "import torch",
    "from typing import Any",
    "from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer, ParamGroupConfig",
    "from torchtitan.trainer import Trainer",
)

ENTRIES = '''

def predicted(config: Trainer.Config, roles: Mapping[str, str] | None = None{argument}) -> Trainer.Config:
    """``config`` with what was predicted; every field that is not named here stays. ``roles`` goes before the rules:
    {{"regular expression": "embedding, hidden, readout or vector"}}. Raises ValueError for a parameter without a role."""
    config.optimizer = OptimizersContainer.Config(
        param_groups=groups(config, roles), implementation=config.optimizer.implementation{factory}
    )
    config.lr_scheduler = LRSchedulersContainer.Config(**SCHEDULE)
    for name, value in TRAINING.items():
        setattr(config.training, name, value)
    return config


def groups(config: Trainer.Config, roles: Mapping[str, str] | None = None) -> list[ParamGroupConfig]:
    """A group for each role and its numbers, over every trainable parameter of the model."""
    with torch.device("meta"):
        model = config.model_spec.model.build()
    found: dict[str, ParamGroupConfig] = {{}}
    names: dict[str, set[str]] = {{}}
    for one, numbers in with_numbers(assign_roles(model, roles), WEIGHTS):
        optimizer, options = HIDDEN if one.role == "hidden" else OTHERS
        (eps,) = numbers.epsilons.values()
        options = {{"lr": numbers.lr, "weight_decay": numbers.weight_decay / numbers.lr, "eps": eps, **options}}
        key = f"{{one.role}} {{options}}"
        found[key] = ParamGroupConfig(pattern="", optimizer_name=optimizer, optimizer_kwargs=options)
        names.setdefault(key, set()).add(re.sub(r"(?<=\\.)\\d+(?=\\.)", "0", one.names[0]))
    if len(set().union(*names.values())) < sum(map(len, names.values())):
        raise ValueError("weights of one name have different numbers from block to block, and a pattern names them all")
    for key, group in found.items():
        group.pattern = pattern(names[key])
    return list(found.values())


def pattern(names: set[str]) -> str:
    """These parameters of every block; names may have wrappers in them, as _orig_mod or _checkpoint_wrapped_module."""
    dot = r"\\.(?:_\\w+\\.)*"
    found = [re.escape(name).replace(r"\\.0\\.", r"\\.\\d+\\.").replace(r"\\.", dot) for name in sorted(names)]
    return rf"^(?:_\\w+\\.)*(?:{{'|'.join(found)}})$"
'''


@dataclass(frozen=True)
class Torchtitan:
    """AdamW role by role; Muon where one learning rate serves every matrix."""

    name: str
    version: str
    in_tokens: bool

    def refuse(self, record: Canonical) -> str | None:
        if (why := refusal(record, "torchtitan", ("adamw", "muon"), role_wise=False)) is not None:
            return why
        return None if record.known.optimizer.recipe == "adamw" else _refuse_muon(record)

    def render(self, record: Canonical) -> dict[str, str]:
        optimizer, _, _, training = record.known
        muon = optimizer.recipe == "muon"
        adamw = ("AdamW", {"betas": (optimizer.adam["beta1"], optimizer.adam["beta2"])})
        constants = {
            "SCHEDULE": pretty(_schedule(training)),
            "TRAINING": pretty(self._training(training, optimizer.options["clip_norm"])),
            "HIDDEN": repr(("DistMuon", _dist_muon(optimizer)) if muon else adamw),
            "OTHERS": repr(adamw),
            "WEIGHTS": f"(\n{weights(_in_units(optimizer) if muon else optimizer)})",
        }
        text = "".join(f"{name} = {value}\n" for name, value in constants.items())
        head = comments(record, "torchtitan", self.version) + DOCUMENT.format(version=self.version, more=MUON if muon else "")
        code = standalone("roles", imports=IMPORTS)
        entries = ENTRIES.format(
            argument=", *, muon: dict[str, Any]" if muon else "",
            factory=', optimizer_factory_kwargs_by_name={"DistMuon": muon}' if muon else "",
        )
        return {FILE: f"{head}{code}\n\n{text}{entries}"}

    def _training(self, training: Training, clip_norm: float | None) -> dict[str, Any]:
        batch = (
            {"num_tokens_per_train_step": training.batch_tokens, "max_context_length": training.context}
            if self.in_tokens
            else {"global_batch_size": training.batch_sequences, "seq_len": training.context}
        )
        # Its default is 1, and it has no word for "not at all".
        return {**batch, "steps": training.steps, "max_norm": 1e38 if clip_norm is None else clip_norm}


def _schedule(training: Training) -> dict[str, Any]:
    """The fields of LRSchedulersContainer.Config. Its warm-up begins at 1/w, as ours does."""
    schedule, steps = training.schedule, training.steps
    found: dict[str, Any] = {"warmup_steps": schedule.warmup_steps, "total_steps": steps, "min_lr_factor": 0.0}
    if schedule.shape == "cosine":
        return found | {"decay_type": "cosine"}
    if schedule.shape == "linear":
        return found | {"decay_type": "linear"}
    share = schedule.cooldown_fraction if schedule.shape == "trapezoid" else 0.0
    # It decays over round(total_steps * decay_ratio) whole steps.
    return found | {"decay_type": "linear", "decay_ratio": round(share * (steps - schedule.warmup_steps)) / steps}


def _refuse_muon(record: Canonical) -> str | None:
    optimizer = record.known.optimizer
    options = optimizer.options
    if len(set(iterations(options["orthogonal_map"], options["ns_steps"]))) > 1:
        return f"DistMuon iterates one polynomial, and {options['orthogonal_map']} has another for each iteration"
    if options["momentum_warmup_tokens"]:
        return "DistMuon has no warm-up of the momentum"
    if _units(optimizer) is None:
        return (
            "DistMuon takes one learning rate for all hidden matrices and scales it by their shapes; no scale of its own "
            f"({', '.join(ADJUST)}) makes of one what was predicted for each"
        )
    return None


def _units(optimizer: Optimizer) -> tuple[str, float] | None:
    """DistMuon's name for the scale under which one learning rate is that of every hidden matrix, and this one; None: there is
    none."""
    hidden = [weight for weight in optimizer.weights if weight.role == "hidden"]
    if len({(weight.weight_decay, *weight.epsilons.values()) for weight in hidden}) > 1:
        return None
    return matrix_lr(optimizer, ADJUST)


def _in_units(optimizer: Optimizer) -> Optimizer:
    """With the one learning rate of hidden matrices that DistMuon takes; it decays by this one, before the scale."""
    units = _units(optimizer)
    assert units is not None
    weights = (one.model_copy(update={"lr": units[1]}) if one.role == "hidden" else one for one in optimizer.weights)
    return optimizer.model_copy(update={"weights": tuple(weights)})


def _dist_muon(optimizer: Optimizer) -> dict[str, Any]:
    """DistMuon's options beside learning rate, weight decay and epsilon."""
    options, units = optimizer.options, _units(optimizer)
    assert units is not None
    polynomials = iterations(options["orthogonal_map"], options["ns_steps"])
    return {
        "adjust_lr_fn": units[0],
        "momentum": options["momentum"],
        "nesterov": options["nesterov"],
        "ns_coefficients": polynomials[0],
        "ns_steps": len(polynomials),
        "fused": False,
        "foreach": False,
    }


TORCHTITAN = Torchtitan("torchtitan", "0.3.0", in_tokens=False)
TORCHTITAN_MAIN = Torchtitan("torchtitan-main", "main since 20 August 2026 (read at b5bcd76)", in_tokens=True)
