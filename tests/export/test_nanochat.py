"""The nanochat host, by nanochat's own formulas: karpathy/nanochat at 92d63d4."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import pytest
from export.declared import parsed
from export.mutants import Mistake, is_caught
from export.samples import changed, samples

from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.modules.schedule import decay_factor, schedule_factor
from hptransfer.testing import check_host
from hptransfer.testing.hosts import Heard

ROLES = ("embedding", "hidden", "readout")


@cache
def cases() -> dict[str, Canonical]:
    """What nanochat can say, and all samples."""
    muon = samples()["muon, units"]
    schedule = {"shape": "linear", "weight_decay": "cosine", "warmup_tokens": 8192}
    trapezoid = {"shape": "trapezoid", "weight_decay": "cosine", "warmup_tokens": 4096, "cooldown_fraction": 0.25}
    cautious = {"cautious_weight_decay": True}
    refused = {
        "cosine": changed(muon, cautious, schedule=schedule | {"shape": "cosine"}),
        "clipped": changed(muon, cautious | {"clip_norm": 1.0}, schedule=schedule),
        "no such width": changed(muon, cautious, schedule=schedule, depth=150),
    }
    own = {
        "as nanochat decays": changed(muon, cautious, schedule=schedule),
        "trapezoid": changed(muon, cautious, schedule=trapezoid),
        "constant": changed(muon, cautious, schedule=schedule | {"shape": "constant"}),
        "without weight decay": changed(muon, {}, weight_decay=0.0),
        "deep": changed(muon, cautious, schedule=schedule, depth=24, width=1536, batch_tokens=2**14, tokens=2**21),
    }
    return {name: canonical(one) for name, one in (samples() | refused | own).items()}


def model_dim(depth: int, aspect_ratio: int, head_dim: int) -> int:
    """scripts/base_train.py, build_model_meta."""
    base_dim = depth * aspect_ratio
    return ((base_dim + head_dim - 1) // head_dim) * head_dim


def scaling_params(depth: int, dim: int, head_dim: int, vocab: int) -> int:
    """nanochat/gpt.py, num_scaling_params: transformer_matrices + lm_head."""
    total = 0
    for layer in range(depth):
        total += 4 * dim * dim + 2 * 4 * dim * dim  # c_q, c_k, c_v, c_proj; c_fc, c_proj
        if layer % 2 == (depth - 1) % 2:  # has_ve
            total += 12 * (dim // head_dim)  # ve_gate
    padded = ((vocab + 63) // 64) * 64
    return total + padded * dim


def lr_multiplier(it: int, num_iterations: int, warmup_steps: int, warmdown_ratio: float, final_lr_frac: float) -> float:
    """scripts/base_train.py, get_lr_multiplier."""
    warmdown_iters = round(warmdown_ratio * num_iterations)
    if it < warmup_steps:
        return (it + 1) / warmup_steps
    if it <= num_iterations - warmdown_iters:
        return 1.0
    progress = (num_iterations - it) / warmdown_iters
    return progress * 1.0 + (1 - progress) * final_lr_frac


def hear(files: Mapping[str, str], record: Canonical) -> Heard:
    args = parsed("nanochat", files["base_train.sh"], "python -m scripts.base_train")
    model = record.known.model
    dim = model_dim(args.depth, args.aspect_ratio, args.head_dim)
    assert (args.depth, dim, args.window_pattern) == (model.depth, model.width, "L")
    # scripts/base_train.py, steps 1 to 4, and gpt.py, setup_optimizer
    params = scaling_params(args.depth, dim, args.head_dim, model.vocab)
    reference = scaling_params(12, model_dim(12, args.aspect_ratio, args.head_dim), args.head_dim, model.vocab)
    target_tokens = int(args.target_param_data_ratio * params)
    batch_lr_scale = (args.total_batch_size / 2**19) ** 0.5
    weight_decay = args.weight_decay * math.sqrt(args.total_batch_size / 2**19)
    weight_decay *= args.target_param_data_ratio * reference / target_tokens
    dmodel_lr_scale = (dim / 768) ** -0.5
    # nanochat/optim.py, _compute_muon: the learning rate by shape, of update and decay
    shapes = {"attention": (dim, dim), "mlp_in": (4 * dim, dim), "mlp_out": (dim, 4 * dim)}
    matrices = {
        kind: args.matrix_lr * batch_lr_scale * max(1.0, rows / columns) ** 0.5 for kind, (rows, columns) in shapes.items()
    }
    assert args.total_batch_size % (args.device_batch_size * args.max_seq_len) == 0
    down = round(args.warmdown_ratio * args.num_iterations)
    return Heard(
        lr={
            "embedding": args.embedding_lr * batch_lr_scale * dmodel_lr_scale,
            "readout": args.unembedding_lr * batch_lr_scale * dmodel_lr_scale,
            **matrices,
        },
        # The MLP's input decays by twice that, which the file says.
        weight_decay={kind: matrices[kind] * weight_decay for kind in ("attention", "mlp_out")},
        clip_norm=None,  # it has none
        steps=args.num_iterations,
        batch_tokens=args.total_batch_size,
        context=args.max_seq_len,
        warmup_steps=args.warmup_steps,
        shape={0: "constant", args.num_iterations - args.warmup_steps: "linear"}.get(down, "trapezoid"),
        cooldown_steps=down,
        final_lr=args.final_lr_frac if down else 1.0,
    )


def said(host: Host) -> list[str]:
    return check_host(host, cases(), hear, roles=ROLES)


def test_flags_are_heard_as_predicted_and_all_else_is_refused() -> None:
    assert said(HOSTS.get("nanochat")) == ["as nanochat decays", "trapezoid", "constant", "without weight decay", "deep"]


def test_what_decays_otherwise_is_said_with_its_number() -> None:
    record = cases()["as nanochat decays"]
    text = HOSTS.get("nanochat").render(record)["base_train.sh"]
    assert f"{2 * record.known.optimizer.weights[1].weight_decay:.6g} a step" in text


@pytest.mark.parametrize("name", ["as nanochat decays", "trapezoid", "constant"])
def test_the_schedule_is_the_searched_one_at_every_step(name: str) -> None:
    record = cases()[name]
    args = parsed("nanochat", HOSTS.get("nanochat").render(record)["base_train.sh"], "python -m scripts.base_train")
    training = record.known.training
    own = training.schedule.model_dump(include={"warmup_steps", "shape", "cooldown_fraction"})
    for step in range(training.steps):
        found = lr_multiplier(step, args.num_iterations, args.warmup_steps, args.warmdown_ratio, args.final_lr_frac)
        assert found == pytest.approx(schedule_factor(step, steps=training.steps, **own), abs=1e-9)
        decay = 0.5 * (1 + math.cos(math.pi * step / args.num_iterations))  # scripts/base_train.py, get_weight_decay
        assert decay == pytest.approx(decay_factor(step, steps=training.steps, shape=training.schedule.weight_decay), abs=1e-9)


MISTAKES = (
    Mistake("batch left in", '"--matrix-lr": repr(matrix / batch)', '"--matrix-lr": repr(matrix)'),
    Mistake("width left in", "(model.width / REFERENCE_WIDTH) ** -0.5", "1"),
    Mistake("width the wrong way", "REFERENCE_WIDTH) ** -0.5", "REFERENCE_WIDTH) ** 0.5"),
    Mistake("parameters left in", " * _parameters(model, REFERENCE_DEPTH) / _parameters(model, model.depth)", ""),
    Mistake("reference of nanochat's own width", "depth * _aspect(model)", "depth * 64"),
    Mistake("gates forgotten", "+ gates ", ""),
    Mistake("roles swapped", 'roles["readout"].lr', 'roles["embedding"].lr'),
    Mistake("decay not divided by the learning rate", 'if weight.role == "hidden") / matrix', 'if weight.role == "hidden")'),
    Mistake("automatic batch", "training.batch_tokens,\n", "-1,\n"),
    Mistake("another unit of the warm-up", "schedule.warmup_steps,\n", "schedule.warmup_tokens,\n"),
    Mistake("the last learning rate left at its default", '            "--final-lr-frac": 0.0,\n', ""),
    Mistake("any decay is written", "if decays and not (optimizer", "if False and (optimizer"),
    Mistake("a cosine is written", 'training.schedule.shape == "cosine"', "False"),
    Mistake("clipping is forgotten", 'optimizer.options["clip_norm"] is not None', "False"),
    Mistake("another width", "if _width(model, model.depth) != width:", "if False:"),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.what for mistake in MISTAKES])
def test_planted_mistakes_are_caught(mistake: Mistake) -> None:
    def check(host: Host) -> None:
        assert said(host) == said(HOSTS.get("nanochat"))

    assert is_caught(check, "nanochat", mistake)
