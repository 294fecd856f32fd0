"""The levanter host, by levanter's own formulas: marin-levanter 0.2.20.dev202606180959 on PyPI."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml
from export.declared import declared, typed
from export.mutants import Mistake, is_caught
from export.samples import changed, prediction, samples

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.modules.schedule import schedule_factor
from hptransfer.testing import check_host
from hptransfer.testing.hosts import Heard

ROLES = ("embedding", "hidden", "readout")
OURS = {"simple": "jordan", "quintic": "dion"}
FILE = "train_lm.yaml"


@cache
def cases() -> dict[str, Canonical]:
    adamw, soap = (prediction(recipe, parametrization="sp", ratio=1.0) for recipe in ("adamw", "soap-all"))
    muon = prediction("muon", parametrization="sp")
    linear = adamw.point.settings["schedule"]
    trapezoid = {"shape": "trapezoid", "weight_decay": "constant", "warmup_tokens": 4096, "cooldown_fraction": 0.25}
    words = {"data": soap.point.settings["data"] | {"vocab": 32768}}
    shaped = {"lr_convention": "original"}
    own = {
        "adamw, one rate": adamw,
        "adamw, clipped, cosine": changed(adamw, {"clip_norm": 0.5}, schedule=linear | {"shape": "cosine"}),
        "adamw, constant": changed(adamw, {"beta2": 0.99}, schedule=linear | {"shape": "constant", "warmup_tokens": 0}),
        "adamw, a step of warm-up": changed(adamw, {}, schedule=linear | {"warmup_tokens": 1024}),
        "muon": changed(muon, shaped),
        "muon, trapezoid": changed(muon, shaped | {"orthogonal_map": "dion", "momentum": 0.9}, schedule=trapezoid),
        "muon, by size": changed(muon, {"lr_convention": "match_rms_adamw", "ns_steps": 4, "nesterov": False}),
        "muon, without weight decay": changed(muon, shaped, weight_decay=0.0),
        "muon of the base": changed(samples()["muon, units"], {}, width=64),
        "soap-all": changed(soap, {"precondition_frequency": 5}, **words),
        "soap-all, unblocked": changed(soap, {"block_size": 0, "skip_first_step": True}, **words),
    }
    refused = {
        "muon, clipped": changed(muon, shaped | {"clip_norm": 1.0}),
        "muon, warm-up of the momentum": changed(muon, shaped | {"momentum_warmup_tokens": 4096}),
        "muon, polar express": changed(muon, shaped | {"orthogonal_map": "polar_express"}),
        "soap-all, one-sided": changed(soap, {"one_sided": True}, **words),
        "soap-all, factorised": changed(soap, {"factorised": True}, **words),
        "soap-all, few words": soap,
    }
    under_sp = {f"{name}, sp": one for name, one in (own | refused).items()}
    return {name: canonical(one) for name, one in (samples() | under_sp).items()}


def config(text: str) -> dict[str, Any]:
    """The YAML with the defaults of what it leaves out. Every key is a field, and of its type."""
    given, known = yaml.safe_load(text), declared("levanter")
    optimizer = dict(given["optimizer"])
    kind = optimizer.pop("type")
    top = {key: value for key, value in given.items() if key not in ("optimizer", "trainer")}
    found: dict[str, Any] = {"type": kind}
    for part, values in (("optimizer", optimizer), ("trainer", given["trainer"]), ("top", top)):
        fields = known[part][kind] if part == "optimizer" else known[part]
        for key, value in values.items():
            assert typed(value, fields[key]["type"]), f"{part}.{key}: {value!r} is no {fields[key]['type']}"
        found |= {key: field["default"] for key, field in fields.items()} | values
    return found


def steps_of(count: float, num_train_steps: int) -> int:
    """levanter/optim/config.py, _convert_frac_or_steps."""
    return int(count * num_train_steps) if count <= 1.0 else int(count)


def factor_at(step: int, found: Mapping[str, Any]) -> float:
    """levanter/optim/config.py, lr_scheduler, of one cycle: what optax's schedules give, joined at their boundaries."""
    total = found["num_train_steps"]
    warmup = min(steps_of(found["warmup"], total), total)
    decay = max(total - warmup, 0) if found["decay"] is None else min(steps_of(found["decay"], total), total - warmup)
    if step < warmup:
        return step / warmup
    gone = step - (total - decay)
    if gone < 0 or found["lr_schedule"] == "constant":
        return 1.0
    share, low = min(gone / decay, 1.0), found["min_lr_ratio"]
    remaining = 1 - share if found["lr_schedule"] == "linear" else 0.5 * (1 + math.cos(math.pi * share))
    assert found["lr_schedule"] in ("linear", "cosine")
    return float(low + (1 - low) * remaining)


def decayed(path: str, found: Mapping[str, Any]) -> bool:
    """levanter/optim/config.py, build_weight_decay_mask, of a regular expression."""
    return re.compile(found["weight_decay_modules"]).match(path) is not None


def hear(files: Mapping[str, str], record: Canonical) -> Heard:
    found = config(files[FILE])
    run = record.known
    width, ffn = run.model.width, run.model.own["mlp_width"]
    total, schedule = found["num_train_steps"], found["lr_schedule"]
    shape = {"linear": "linear" if found["decay"] is None else "trapezoid"}.get(schedule, schedule)
    # config.py, AdamConfig.build, and soap.py, SoapConfig.build: updates, + weight_decay * W, all times the learning rate
    lr = dict.fromkeys(ROLES, found["learning_rate"])
    decay = dict.fromkeys(ROLES, found["learning_rate"] * found["weight_decay"])
    own: dict[str, object] = {"beta1": found["beta1"], "beta2": found["beta2"]}
    epsilons = {"hidden": found["epsilon"]}
    if found["type"] == "muon":  # muon.py, MuonConfig.build: weight decay comes after the scale
        factors = {}
        for kind, (rows, columns) in {"attention": (width, width), "mlp_in": (ffn, width), "mlp_out": (width, ffn)}.items():
            kimi = 0.2 * math.sqrt(max(rows, columns))
            factors[kind] = kimi if found["use_kimi_scaling"] else math.sqrt(max(1, rows / columns))
        adam_decay = found["weight_decay"] if found["adam_weight_decay"] is None else found["adam_weight_decay"]
        lr = {kind: found["learning_rate"] * factor for kind, factor in factors.items()}
        decay = dict.fromkeys(factors, found["learning_rate"] * found["weight_decay"])
        lr |= dict.fromkeys(("embedding", "readout"), found["adam_lr"])
        decay |= dict.fromkeys(("embedding", "readout"), found["adam_lr"] * adam_decay)
        own = {
            "adam.beta1": found["beta1"],
            "adam.beta2": found["beta2"],
            "momentum": found["momentum"],
            "nesterov": found["nesterov"],
            "orthogonal_map": OURS[found["coefficient_type"]],
        }
        assert found["backend_steps"] == (run.optimizer.options["ns_steps"] or 5)
        # scale_with_muon: the momentum is a sum, 1 / (1 - momentum) of an average
        epsilons = {"embedding": found["epsilon"], "readout": found["epsilon"]}
        hidden = next(weight for weight in run.optimizer.weights if weight.role == "hidden")
        assert found["muon_epsilon"] * (1 - found["momentum"]) == pytest.approx(hidden.epsilons["eps"])
    if found["type"] == "soap":
        own |= {"beta2": found["shampoo_beta"], "precondition_frequency": found["precondition_frequency"]}
        own["block_size"] = found["block_size"] if found["partition_grads_into_blocks"] else 0
        assert found["beta2"] == found["shampoo_beta"] and not found["merge_small_dims"] and not found["one_diag"]
        for weight in run.optimizer.weights:  # _get_preconditioner_types
            if weight.role != "vector":
                sides = [size < found["max_precond_dim"] for size in (weight.d_out, weight.d_in)]
                assert [weight.sides.left, weight.sides.right] == sides
    return Heard(
        lr=lr,
        weight_decay=decay,
        epsilons=epsilons,
        options=own,
        clip_norm=found["max_grad_norm"] or None,  # a falsy value is no clipping
        steps=total,
        batch_tokens=found["train_batch_size"] * found["train_seq_len"],
        context=found["train_seq_len"],
        warmup_steps=steps_of(found["warmup"], total),
        shape=shape,
        cooldown_steps=None if found["decay"] is None else steps_of(found["decay"], total),
        final_lr=factor_at(total, found),
    )


def said(host: Host) -> list[str]:
    return check_host(host, cases(), hear, roles=ROLES)


def test_files_are_heard_as_predicted_and_all_else_is_refused() -> None:
    names = ["adamw, one rate", "adamw, clipped, cosine", "adamw, constant", "adamw, a step of warm-up"]
    names += ["muon", "muon, trapezoid", "muon, by size", "muon, without weight decay", "muon of the base"]
    names += ["soap-all", "soap-all, unblocked"]
    assert said(HOSTS.get("levanter")) == [f"{name}, sp" for name in names]


@pytest.mark.parametrize("name", ["adamw, one rate", "adamw, clipped, cosine", "adamw, constant", "muon, trapezoid"])
def test_the_schedule_is_the_searched_one_after_the_warm_up(name: str) -> None:
    record = cases()[f"{name}, sp"]
    found, training = config(HOSTS.get("levanter").render(record)[FILE]), record.known.training
    own = training.schedule.model_dump(include={"warmup_steps", "shape", "cooldown_fraction"})
    for step in range(training.steps):
        wanted = schedule_factor(step, steps=training.steps, **own)
        late = 1 / training.schedule.warmup_steps if step < training.schedule.warmup_steps else 0.0
        assert factor_at(step, found) == pytest.approx(wanted - late, abs=1e-9)


def test_all_but_gains_and_biases_decay() -> None:
    """Paths from the root and from the class, as build_weight_decay_mask asks for both."""
    found = config(HOSTS.get("levanter").render(cases()["muon, sp"])[FILE])
    blocks = "transformer.layers.blocks"
    for path in ("embeddings.token_embeddings.weight", "lm_head.weight", f"{blocks}.self_attn.q_proj.weight", "Linear.weight"):
        assert decayed(path, found)
    for path in (f"{blocks}.input_layernorm.weight", "transformer.norm.weight", f"{blocks}.ln_1.weight", "RmsNorm.weight"):
        assert not decayed(path, found)
    assert not decayed(f"{blocks}.attn.c_attn.bias", found) and not decayed("Linear.bias", found)


MISTAKES = (
    Mistake("the dead field", '"learning_rate": lr,', '"lr": lr,'),
    Mistake("learning rates swapped", '"adam_lr": roles["embedding"].lr', '"adam_lr": lr'),
    Mistake("Adam's decay left at Muon's", '            "adam_weight_decay": roles["embedding"].weight_decay_coupled,\n', ""),
    Mistake("independent decay", '"weight_decay": hidden.weight_decay / lr', '"weight_decay": hidden.weight_decay'),
    Mistake("Kimi's scale left off", '"use_kimi_scaling": kimi', '"use_kimi_scaling": False'),
    Mistake("coefficients left at their default", '            "coefficient_type": coefficients,\n', ""),
    Mistake("epsilon of an average", ' / (1 - options["momentum"])', ""),
    Mistake("clipping left at its default", ', "max_grad_norm": float(options["clip_norm"] or 0.0)', ""),
    Mistake("no clipping as null", 'float(options["clip_norm"] or 0.0)', 'options["clip_norm"]'),
    Mistake("the last learning rate left at its default", '        "min_lr_ratio": 0.0,\n', ""),
    Mistake("one step is all of the run", "1.5 / steps if count == 1 else count", "count"),
    Mistake("a trapezoid is linear", 'if schedule.shape == "trapezoid":', "if False:"),
    Mistake("dimensions merged", '        "merge_small_dims": False,\n', ""),
    Mistake("blocks of the default size", '**({"block_size": options["block_size"]} if options["block_size"] else {})', "**{}"),
    Mistake("always in blocks", 'options["block_size"] > 0', "True"),
    Mistake("the longest axis left alone", "_longest(run) + 1", "_longest(run)"),
    Mistake("the vocabulary preconditioned", "if model.vocab <= _longest(run):", "if False:"),
    Mistake("any rates are written", "if all(same(rate, next(iter(rates.values()))) for rate in rates.values()):", "if True:"),
    Mistake("batch in tokens", "run.training.batch_sequences", "run.training.batch_tokens"),
    Mistake("Muon's clipping forgotten", 'if options["clip_norm"] is not None:', "if False:"),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.what for mistake in MISTAKES])
def test_planted_mistakes_are_caught(mistake: Mistake) -> None:
    def check(host: Host) -> None:
        assert said(host) == said(HOSTS.get("levanter"))

    assert is_caught(check, "levanter", mistake)
