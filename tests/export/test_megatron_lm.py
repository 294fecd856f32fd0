"""The Megatron-LM host, by Megatron-LM's own formulas: NVIDIA/Megatron-LM at d98e8a6, and Emerging-Optimizers at v0.3.0, which it
pins."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping
from functools import cache

import pytest
from export.declared import parsed
from export.mutants import Mistake, is_caught
from export.samples import changed, samples

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.modules.schedule import schedule_factor
from hptransfer.testing import check_host
from hptransfer.testing.hosts import Heard

ROLES = ("embedding", "hidden", "readout")
OURS = {"simple": "jordan", "quintic": "dion"}
FILE = "pretrain_gpt.sh"


@cache
def cases() -> dict[str, Canonical]:
    muon, adamw, sp = (samples()[name] for name in ("muon, units", "adamw", "adamw under sp"))
    linear = adamw.point.settings["schedule"]
    trapezoid = {"shape": "trapezoid", "weight_decay": "constant", "warmup_tokens": 4096, "cooldown_fraction": 0.25}
    gains = adamw.point.settings["model"] | {"norm_gains": True}
    by_size = changed(samples()["muon"], {"lr_convention": "match_rms_adamw", "ns_steps": 4, "nesterov": False})
    own = {
        "muon, by size": by_size,
        "trapezoid": changed(muon, {}, schedule=trapezoid),
        "cosine": changed(adamw, {"clip_norm": 0.5}, schedule=linear | {"shape": "cosine"}),
        "constant": changed(sp, {}, schedule=linear | {"shape": "constant", "warmup_tokens": 0}),
        "gains": changed(adamw, {"beta2": 0.99}, model=gains),
        "by ratio": changed(muon, {"lr_convention": "spectral", "orthogonal_map": "dion"}),
        "without weight decay": changed(muon, {}, weight_decay=0.0),
        "swiglu": changed(adamw, {}, model=adamw.point.settings["model"] | {"activation": "swiglu"}),
        "the base itself": changed(adamw, {}, width=64),
    }
    refused = {
        "muon, swiglu": changed(muon, {}, model=muon.point.settings["model"] | {"activation": "swiglu"}),
        "muon, warm-up of the momentum": changed(muon, {"momentum_warmup_tokens": 4096}),
        "muon, polar express": changed(muon, {"orthogonal_map": "polar_express"}),
        "learned positions": changed(sp, {}, model=sp.point.settings["model"] | {"positions": "learned"}),
        "muon, gains": changed(by_size, {}, model=gains),
    }
    found = {name: canonical(one) for name, one in (samples() | own | refused).items()}
    return found | {"another readout": with_readout(found["adamw"], 1.5)}


def with_readout(record: Canonical, factor: float) -> Canonical:
    """As no recipe of ours has it: the readout's learning rate times a factor."""
    optimizer = record.known.optimizer
    numbers = optimizer.roles["readout"]
    roles = optimizer.roles | {"readout": numbers.model_copy(update={"lr": factor * numbers.lr})}
    return record.model_copy(update={"optimizer": optimizer.model_copy(update={"roles": roles})})


def flags(host: Host, record: Canonical) -> argparse.Namespace:
    return parsed("megatron-lm", host.render(record)[FILE], "torchrun pretrain_gpt.py")


def scale_factor(size_out: int, size_in: int, mode: str) -> float:
    """emerging_optimizers/orthogonalized_optimizers/muon.py, get_muon_scale_factor."""
    if mode == "shape_scaling":
        return float(max(1, size_out / size_in) ** 0.5)
    if mode == "spectral":
        return float(max(size_out, size_in) ** 0.5)
    assert mode == "unit_rms_norm"
    return float((size_out / size_in) ** 0.5)


def lr_at(num_steps: int, args: argparse.Namespace, max_lr: float) -> float:
    """megatron/core/optimizer_param_scheduler.py, get_lr; steps in iterations, as get_optimizer_param_scheduler has them times
    the batch."""
    warmup, decay = args.lr_warmup_iters, args.lr_decay_iters
    if warmup > 0 and num_steps <= warmup:
        return float(args.lr_warmup_init + (max_lr - args.lr_warmup_init) * num_steps / warmup)
    if args.lr_decay_style == "constant":
        return max_lr
    if num_steps > decay:
        return float(args.min_lr)
    ratio = (num_steps - warmup) / (decay - warmup)
    if args.lr_decay_style == "linear":
        coeff = 1.0 - ratio
    elif args.lr_decay_style == "cosine":
        coeff = 0.5 * (math.cos(math.pi * ratio) + 1.0)
    else:
        assert (args.lr_decay_style, args.lr_wsd_decay_style) == ("WSD", "linear")
        start = decay - args.lr_wsd_decay_iters
        coeff = 1.0 if num_steps <= start else 1.0 - (num_steps - start) / args.lr_wsd_decay_iters
    return float(args.min_lr + coeff * (max_lr - args.min_lr))


def hear(files: Mapping[str, str], record: Canonical) -> Heard:
    args = parsed("megatron-lm", files[FILE], "torchrun pretrain_gpt.py")
    width, ffn = args.hidden_size, args.ffn_hidden_size
    # transformer_config.py, __post_init__
    width_mult = width / args.mup_base_hidden_size if args.use_mup else 1.0
    output_mult = 1.0 / width_mult if args.use_mup and args.mup_output_mult == 1.0 else args.mup_output_mult
    softmax_scale = 1.0 / args.kv_channels**args.mup_attn_scale_power if args.use_mup else 1.0 / math.sqrt(args.kv_channels)
    init_std = args.init_method_std / math.sqrt(width_mult)
    assert softmax_scale == pytest.approx(1 / math.sqrt(args.kv_channels))
    assert init_std == pytest.approx(1 / math.sqrt(record.known.model.width)) and args.embedding_init_method_std == 0.1
    assert args.attention_dropout == args.hidden_dropout == 0 and args.num_attention_heads * args.kv_channels == width
    # optimizer/__init__.py, get_standard_config_overrides and get_mup_config_overrides
    adam = args.optimizer == "adam"
    hidden = args.lr / width_mult if adam else args.lr
    eps = {"embedding": args.adam_eps, "hidden": args.adam_eps / width_mult}
    if adam:
        lr, decay = {"hidden": hidden}, {"hidden": hidden * args.weight_decay}
        names = {"beta1": args.adam_beta1, "beta2": args.adam_beta2}
        own: dict[str, object] = {**names}
        epsilons = {"hidden": eps["hidden"]}
    else:
        shapes = {"attention": (width, width), "mlp_in": (ffn, width), "mlp_out": (width, ffn)}
        extra = args.muon_extra_scale_factor
        lr = {kind: hidden * scale_factor(*shape, args.muon_scale_mode) * extra for kind, shape in shapes.items()}
        # emerging_optimizers/mixin.py: decoupled decay by lr * weight_decay, before and without the scale factor
        decay = dict.fromkeys(shapes, hidden * args.weight_decay)
        own = {
            "adam.beta1": args.adam_beta1,
            "adam.beta2": args.adam_beta2,
            "momentum": args.muon_momentum,
            "nesterov": args.muon_nesterov,
            "orthogonal_map": OURS[args.muon_coefficient_type],
        }
        assert args.muon_num_ns_steps == (record.known.optimizer.options["ns_steps"] or 5)
        # logits times output_mult: the gradient of the output layer is smaller by that
        epsilons = {"embedding": eps["embedding"], "readout": eps["embedding"] / output_mult}
    return Heard(
        lr={"embedding": args.decoupled_lr, "readout": args.decoupled_lr * output_mult, **lr},
        weight_decay=decay,
        epsilons=epsilons,
        options=own,
        clip_norm=args.clip_grad or None,  # training.py clips where clip_grad > 0
        steps=args.train_iters,
        batch_tokens=args.global_batch_size * args.seq_length,
        context=args.seq_length,
        warmup_steps=args.lr_warmup_iters,
        shape="trapezoid" if args.lr_decay_style == "WSD" else args.lr_decay_style,
        cooldown_steps=args.lr_wsd_decay_iters,
        final_lr=lr_at(args.lr_decay_iters, args, args.lr) / args.lr,
    )


def said(host: Host) -> list[str]:
    return check_host(host, cases(), hear, roles=ROLES)


def test_flags_are_heard_as_predicted_and_all_else_is_refused() -> None:
    found = {*said(HOSTS.get("megatron-lm"))}
    assert {"adamw", "adamw under sp", "muon, units", "muon, by size", "unbounded", "trapezoid", "cosine", "constant"} <= found
    assert {"gains", "by ratio", "without weight decay", "swiglu", "the base itself"} <= found
    assert not {"muon", "soap", "muon, swiglu", "muon, warm-up of the momentum", "muon, polar express", "table"} & found
    assert not {"learned positions", "muon, gains", "another readout", "adamw, cosine", "muon under spectral", "command"} & found


def test_base_values_go_with_mup_flags_and_absolute_values_without() -> None:
    """Never both: hidden matrices get their learning rate once."""
    mup, absolute = (flags(HOSTS.get("megatron-lm"), cases()[name]) for name in ("adamw", "adamw under sp"))
    wide, sp = (cases()[name].known for name in ("adamw", "adamw under sp"))
    assert mup.use_mup and mup.lr == pytest.approx(wide.parametrization.base_lr) and mup.mup_base_hidden_size == 64
    assert not absolute.use_mup and absolute.lr == sp.optimizer.roles["hidden"].lr


@pytest.mark.parametrize("name", ["adamw", "adamw under sp", "muon, by size"])
def test_the_weight_decay_of_the_outer_layers_is_said(name: str) -> None:
    """lr * weight_decay * wd_mult, in optimizer_param_scheduler.py, step."""
    record, host = cases()[name], HOSTS.get("megatron-lm")
    args = flags(host, record)
    text = re.sub(r"\n#\s+", " ", host.render(record)[FILE])
    multiplier = float(re.findall(r"wd_mult (\S+)", text)[0])
    wanted = record.known.optimizer.roles["embedding"].weight_decay
    assert args.decoupled_lr * args.weight_decay * multiplier == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["adamw", "trapezoid", "cosine", "constant"])
def test_the_schedule_is_the_searched_one_after_the_warm_up(name: str) -> None:
    record = cases()[name]
    args, training = flags(HOSTS.get("megatron-lm"), record), record.known.training
    own = training.schedule.model_dump(include={"warmup_steps", "shape", "cooldown_fraction"})
    for step in range(training.steps):
        wanted = schedule_factor(step, steps=training.steps, **own)
        late = 1 / training.schedule.warmup_steps if step < training.schedule.warmup_steps else 0.0
        assert lr_at(step, args, 1.0) == pytest.approx(wanted - late, abs=1e-9)


MISTAKES = (
    Mistake("muP applied twice", "        lr *= multiplier\n", "        pass\n"),
    Mistake("muP flags left out", "**({} if plan.multiplier is None else mup)", "**{}"),
    Mistake("the model's own width as base", '"--mup-base-hidden-size": base["width"]', '"--mup-base-hidden-size": model.width'),
    Mistake("attention by 1/d", '        "--mup-attn-scale-power": 0.5,', "        **{},"),
    Mistake("init scaled twice", "model.width if plan.multiplier is None else base", "model.width if True else base"),
    Mistake("learning rates swapped", '"--decoupled-lr": repr(plan.decoupled_lr)', '"--decoupled-lr": repr(plan.lr)'),
    Mistake("clipping left at its default", '        "--clip-grad": repr(options["clip_norm"] or 0.0),\n', ""),
    Mistake("epsilon divided twice", " * (plan.multiplier or 1.0)\n\n\ndef _scaled", "\n\n\ndef _scaled"),
    Mistake("decay of the base", "plan.lr / plan.multiplier if recipe", "plan.lr if recipe"),
    Mistake("dion's word for the scale", '"spectral": "unit_rms", "unit_rms_norm": "spectral"', '"spectral": "spectral"'),
    Mistake("scale mode left at its default", '            "--muon-scale-mode": plan.mode,\n', ""),
    Mistake("momentum left at its default", '            "--muon-momentum": options["momentum"],\n', ""),
    Mistake("Nesterov left out", '{"--muon-nesterov": True} if options["nesterov"] else {}', "{}"),
    Mistake("coefficients left at their default", '            "--muon-coefficient-type": coefficients,\n', ""),
    Mistake("dropout left at its default", '        "--hidden-dropout": 0.0,\n', ""),
    Mistake("exponential cool-down", '"--lr-wsd-decay-style": "linear", ', ""),
    Mistake("batch in tokens", "training.batch_sequences,\n", "training.batch_tokens,\n"),
    Mistake("another unit of the warm-up", "schedule.warmup_steps,\n", "schedule.warmup_tokens,\n"),
    Mistake("beta2 left at its default", ', "--adam-beta2": optimizer.adam["beta2"]', ""),
    Mistake("any two rates are written", "mup and not same(embedding, readout * multiplier)", "False"),
    Mistake("positions among hidden matrices", 'if model.own["positions"] != "rope":', "if False:"),
    Mistake("gains at another rate", '"vector" in rates and not same(rates["vector"], lr)', "False"),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.what for mistake in MISTAKES])
def test_planted_mistakes_are_caught(mistake: Mistake) -> None:
    def check(host: Host) -> None:
        assert said(host) == said(HOSTS.get("megatron-lm"))

    assert is_caught(check, "megatron-lm", mistake)
