"""Megatron-LM: the flags of ``pretrain_gpt.py``.

It has two learning rates: ``--decoupled-lr`` of embedding and output layer, ``--lr`` of all else. Where the predicted ones of
embedding and readout are one, absolute values are written and its muP is off. Where they are the width multiplier m apart, its
muP flags are written: they divide the logits by m, so that the output layer moves the function by 1/m of its learning rate, and
divide Adam's learning rate and epsilon of hidden matrices by m, for which base values are written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hptransfer.export.canonical import Canonical, Run
from hptransfer.export.host import command_line, comments, other_epsilons, present, refusal, same
from hptransfer.export.muon import map_flags, matrix_lr, no_matrix_lr, plain_refusal
from hptransfer.optimizers.rules.conventions import LrConvention

FILE = "pretrain_gpt.sh"
RECIPES = ("adamw", "muon")
SOAP = "Megatron-LM's SOAP has no blocks, and preconditions by KL-Shampoo, which no flag turns off"
# --muon-scale-mode: Megatron's names mean other things than dion's. "spectral" is sqrt(max(d_out, d_in)).
MODES: dict[str, LrConvention] = {"shape_scaling": "original", "spectral": "unit_rms", "unit_rms_norm": "spectral"}


@dataclass(frozen=True)
class Plan:
    """The two learning rates, the width multiplier where its muP flags are used, and Muon's way to scale by shape."""

    lr: float
    decoupled_lr: float
    multiplier: float | None
    mode: str | None


@dataclass(frozen=True)
class MegatronLM:
    """NVIDIA's Megatron-LM."""

    name: str = "megatron-lm"
    version: str = "of 22 August 2026 (d98e8a6)"

    def refuse(self, record: Canonical) -> str | None:
        if record.optimizer is not None and record.optimizer.recipe in ("soap", "soap-all"):
            return SOAP
        if (why := refusal(record, "Megatron-LM", RECIPES, role_wise=False)) is not None:
            return why
        found = _plan(record.known)
        return found if isinstance(found, str) else None

    def render(self, record: Canonical) -> dict[str, str]:
        run = record.known
        plan = _plan(run)
        assert isinstance(plan, Plan), "refused"
        head = comments(record, self.name, self.version, scaled=_scaled(run, plan), otherwise=_otherwise(run, plan))
        return {FILE: head + command_line("torchrun pretrain_gpt.py", _model(run, plan) | _optimizer(run, plan) | _training(run))}


def _plan(run: Run) -> Plan | str:
    """What to write, or why nothing can be."""
    optimizer, parametrization, model, _ = run
    rates = present(optimizer)
    if "head_dim" not in model.own:
        return "Megatron-LM trains transformers"
    if model.own["positions"] != "rope":
        return "Megatron-LM trains learned positions as it trains hidden matrices; they were searched as an embedding"
    hidden = _hidden(run)
    if isinstance(hidden, str):
        return hidden
    mode, lr = hidden
    embedding, readout, multiplier = rates["embedding"], rates["readout"], model.width / parametrization.base["width"]
    mup = not same(embedding, readout)
    if mup and not same(embedding, readout * multiplier):
        return (
            f"Megatron-LM has one learning rate for embedding and output layer, or with its muP flags two that are the width "
            f"multiplier {multiplier:g} apart; predicted are {embedding:.6g} and {readout:.6g}"
        )
    if mup and optimizer.recipe == "adamw":
        lr *= multiplier
    if "vector" in rates and not same(rates["vector"], lr):
        return f"Megatron-LM gives gains and biases its --lr, here {lr:.6g}; predicted is {rates['vector']:.6g}"
    return Plan(lr, embedding, multiplier if mup else None, mode)


def _hidden(run: Run) -> tuple[str | None, float] | str:
    """Muon's way to scale by shape, None of Adam, and the learning rate of hidden matrices before that; or why there is none."""
    optimizer, model = run.optimizer, run.model
    if optimizer.recipe == "adamw":
        return None, optimizer.roles["hidden"].lr
    if model.own["activation"] == "swiglu":
        return "Megatron-LM's Muon orthogonalises the MLP's input and gate as one matrix; they were searched as two"
    if (why := plain_refusal(optimizer.options, "Megatron-LM")) is not None:
        return why
    return matrix_lr(optimizer, MODES) or no_matrix_lr(optimizer, "Megatron-LM", MODES)


def _model(run: Run, plan: Plan) -> dict[str, object]:
    model, base = run.model, run.parametrization.base
    extra = model.own
    width = model.width if plan.multiplier is None else base["width"]
    mup = {
        "--use-mup": True,
        "--mup-base-hidden-size": base["width"],
        "--mup-attn-scale-power": 0.5,  # 1/sqrt(head dimension), which is fixed; its own is 1/(head dimension)
    }
    return {
        "--num-layers": model.depth,
        "--hidden-size": model.width,
        "--ffn-hidden-size": extra["mlp_width"],
        "--num-attention-heads": model.width // extra["head_dim"],
        "--kv-channels": extra["head_dim"],
        "--init-method-std": repr(1 / math.sqrt(width)),
        "--embedding-init-method-std": 0.1,
        "--untie-embeddings-and-output-weights": True,
        "--disable-bias-linear": True,
        "--normalization": "RMSNorm",
        "--position-embedding-type": "rope",
        **({"swiglu": {"--swiglu": True}, "relu2": {"--squared-relu": True}}.get(extra["activation"], {})),
        "--attention-dropout": 0.0,
        "--hidden-dropout": 0.0,
        **({} if plan.multiplier is None else mup),
    }


def _optimizer(run: Run, plan: Plan) -> dict[str, object]:
    optimizer = run.optimizer
    options, hidden = optimizer.options, _decay(run)
    flags: dict[str, object] = {
        "--optimizer": "adam" if optimizer.recipe == "adamw" else "muon",
        "--lr": repr(plan.lr),
        "--decoupled-lr": repr(plan.decoupled_lr),
        "--min-lr": 0.0,
        "--weight-decay": repr(hidden / _hidden_lr(plan, optimizer.recipe)),
        "--clip-grad": repr(options["clip_norm"] or 0.0),
        "--adam-eps": repr(_eps(run, plan)),
    }
    flags |= {"--adam-beta1": optimizer.adam["beta1"], "--adam-beta2": optimizer.adam["beta2"]}
    if optimizer.recipe == "muon":
        coefficients, count = map_flags(options)
        flags |= {
            "--muon-momentum": options["momentum"],
            **({"--muon-nesterov": True} if options["nesterov"] else {}),
            "--muon-scale-mode": plan.mode,
            "--muon-extra-scale-factor": 1.0,
            "--muon-coefficient-type": coefficients,
            "--muon-num-ns-steps": count,
            "--muon-tp-mode": "duplicated",
        }
    return flags


def _training(run: Run) -> dict[str, object]:
    training, schedule = run.training, run.training.schedule
    flags: dict[str, object] = {
        "--seq-length": training.context,
        "--max-position-embeddings": training.context,
        "--micro-batch-size": 1,
        "--global-batch-size": training.batch_sequences,
        "--train-iters": training.steps,
        "--lr-decay-iters": training.steps,
        "--lr-warmup-iters": schedule.warmup_steps,
        "--lr-decay-style": "WSD" if schedule.shape == "trapezoid" else schedule.shape,
    }
    if schedule.shape == "trapezoid":
        flags |= {"--lr-wsd-decay-style": "linear", "--lr-wsd-decay-iters": training.cooldown_steps}
    return flags


def _decay(run: Run) -> float:
    return next(weight.weight_decay for weight in run.optimizer.weights if weight.role == "hidden")


def _hidden_lr(plan: Plan, recipe: str) -> float:
    """What hidden matrices decay by, times weight decay: Muon's own scaling comes after."""
    return plan.lr / plan.multiplier if recipe == "adamw" and plan.multiplier is not None else plan.lr


def _eps(run: Run, plan: Plan) -> float:
    """Adam's epsilon before its muP divides that of hidden matrices; embedding and output keep it."""
    if run.optimizer.recipe == "muon":
        return run.optimizer.roles["embedding"].epsilons["eps"]
    return run.optimizer.roles["hidden"].epsilons["eps"] * (plan.multiplier or 1.0)


def _scaled(run: Run, plan: Plan) -> str | None:
    by = [f"updates of matrices by --muon-scale-mode {plan.mode}"] if plan.mode else []
    if plan.multiplier is not None:
        adam = [] if plan.mode else [f"Adam's learning rate and epsilon of hidden matrices by 1/{plan.multiplier:g}"]
        by += [*adam, f"logits by 1/{plan.multiplier:g}, and so what the output layer's learning rate does"]
    return f"Megatron-LM scales {', '.join(by)}" if by else None


def _otherwise(run: Run, plan: Plan) -> Iterator[str]:
    optimizer, training = run.optimizer, run.training
    decay = _decay(run)
    here = plan.decoupled_lr * decay / _hidden_lr(plan, optimizer.recipe)
    if decay and not same(here, decay):
        yield (
            f"weight decay of embedding and output layer is {here:.6g} a step, {here / decay:.3g} times the predicted, unless "
            f"you add wd_mult {decay / here:.6g} for ParamKey(attr='is_embedding_or_output_parameter') in "
            "get_standard_config_overrides; no flag does"
        )
    eps = _eps(run, plan)
    # Logits divided by m: a gradient of 1/m, so that the same epsilon is m times as large.
    yield from other_epsilons(optimizer, {"embedding": eps, "readout": eps * (plan.multiplier or 1.0)})
    if "vector" not in present(optimizer):
        yield f"gains of RMSNorm: the runs had none; Megatron-LM has them and trains them at {plan.lr:.6g}"
    if training.schedule.warmup_steps:
        yield f"the warm-up is one step late: Megatron-LM begins it at 0, the runs at 1/{training.schedule.warmup_steps}"
    if optimizer.recipe == "muon":
        yield "Muon's epsilon, beside the norm of the momentum: fixed in Emerging-Optimizers"


MEGATRON_LM = MegatronLM()
