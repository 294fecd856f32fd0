"""A run has the same run_id for ever: what is in people's stores is found again, whatever moves in the code."""

from __future__ import annotations

from typing import Any

import pytest
from records import DATA

from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Job, Point
from hptransfer.trainers.ours.points import resolve, spec_of

EXPERIMENT = {
    "name": "frozen",
    "model": {"depth": 2, "head_dim": 16, "context": 32},
    "base_width": 32,
    "widths": [32, 64],
    "target_width": 128,
    "horizon": {"tokens": 16384},
    "batch_sequences": 4,
    "optimizers": ["adamw"],
}

# Recipe, its options, changes of the experiment, parametrization, width. An id changes with `NUMERICS_VERSION` alone.
FROZEN: list[tuple[str, dict[str, Any], dict[str, Any], str, int, str]] = [
    ("adamw", {}, {}, "mup", 32, "36fc850d820a5910"),
    ("adamw", {}, {}, "mup", 128, "7347327195f123db"),
    ("signum", {}, {}, "mup", 32, "48bed0b089b12771"),
    ("signum", {}, {}, "mup", 128, "6bf6ca2e9f9174d5"),
    ("sgd", {}, {}, "mup", 32, "500164abf31ea2ee"),
    ("sgd", {}, {}, "mup", 128, "4f9004f703727dc5"),
    ("muon", {}, {}, "mup", 32, "9db93cdf5284eb3e"),
    ("muon", {}, {}, "mup", 128, "8b8889d8c6df356c"),
    ("muon-all", {}, {}, "mup", 32, "1c2a9be43308dadd"),
    ("muon-all", {}, {}, "mup", 128, "351f2d10b523a0fc"),
    ("normuon", {}, {}, "mup", 32, "c51d52683f92dbed"),
    ("normuon", {}, {}, "mup", 128, "33ac12726f808db5"),
    ("adamuon", {}, {}, "mup", 32, "39657280861977aa"),
    ("adamuon", {}, {}, "mup", 128, "12b6d88f47009c5b"),
    ("shampoo", {}, {}, "mup", 32, "8a5e53b18e63ec29"),
    ("shampoo", {}, {}, "mup", 128, "3fe9e06463d345ec"),
    ("shampoo-quarter", {}, {}, "mup", 32, "79db164d728adfda"),
    ("shampoo-quarter", {}, {}, "mup", 128, "d8cc04d2fc4130c6"),
    ("shampoo-quarter-all", {}, {}, "mup", 32, "03eb39b8800dfb57"),
    ("shampoo-quarter-all", {}, {}, "mup", 128, "8f4a3db716012a33"),
    ("soap", {}, {}, "mup", 32, "334e5347bc0d5e7d"),
    ("soap", {}, {}, "mup", 128, "13f70659357739c3"),
    ("soap-all", {}, {}, "mup", 32, "4a52d3027da26608"),
    ("soap-all", {}, {}, "mup", 128, "03be05f6c317ff57"),
    ("schedulefree-adamw", {}, {}, "mup", 32, "659e3dcc56e598cf"),
    ("schedulefree-adamw", {}, {}, "mup", 128, "371448bcbf2a871e"),
    ("sf-normuon", {}, {}, "mup", 32, "7cb28642699c49b6"),
    ("sf-normuon", {}, {}, "mup", 128, "32c6578bc69fccd7"),
    ("adamw", {}, {}, "sp", 128, "520d1ac199d51959"),
    ("muon", {}, {}, "sp", 128, "f034294a9b8209c0"),
    ("muon-all", {}, {}, "sp", 128, "e9be8e67fec4c409"),
    ("shampoo", {}, {}, "sp", 128, "a394b57c67fca036"),
    ("soap", {}, {}, "sp", 128, "ea1c04855a388e51"),
    ("sf-normuon", {}, {}, "sp", 128, "489057e73e0fb5c8"),
    ("adamw", {}, {}, "spectral", 128, "d9f32681697a67ec"),
    ("muon", {}, {}, "spectral", 128, "6df12b14314c3a16"),
    ("muon-all", {}, {}, "spectral", 128, "95238a857e7e2848"),
    ("shampoo", {}, {}, "spectral", 128, "d013a8789fda27f7"),
    ("soap", {}, {}, "spectral", 128, "1757fe30ee01959e"),
    ("sf-normuon", {}, {}, "spectral", 128, "8f87a47091b3a840"),
    ("muon", {"lr_convention": "match_rms_adamw", "momentum_warmup_tokens": 4096}, {}, "mup", 128, "c57af54485af4c83"),
    ("muon-all", {"lr_convention": "original"}, {}, "sp", 128, "e891a82b6a7ab743"),
    ("soap", {"one_sided": True}, {}, "mup", 128, "bce12dbd5c751535"),
    ("soap", {"block_size": 0}, {}, "mup", 128, "1a4301b2788496a3"),
    (
        "shampoo",
        {"block_size": 8, "relative_eps": False, "adam": {"beta1": 0.8, "eps": 1e-06}},
        {},
        "mup",
        128,
        "7badbb62eaf15e62",
    ),
    ("normuon", {"preserve_norm": True, "clip_norm": 1.0}, {}, "mup", 128, "8080c987c42ee881"),
    ("schedulefree-adamw", {"decay_at": "z", "cautious_weight_decay": True}, {}, "mup", 128, "166ea5c12ddf9cdd"),
    ("adamw", {}, {"model": {"preset": "paper", "head_dim": 16}}, "mup", 128, "a8539e2a0fd2dff4"),
    ("adamw", {}, {"model": {"preset": "llama", "head_dim": 16}}, "mup", 128, "70a46858e3e6d149"),
    ("adamw", {}, {"model": {"preset": "speedrun", "head_dim": 16}}, "mup", 128, "9bfda9b74297aa9a"),
    (
        "adamw",
        {},
        {"horizon": {"policy": "tpp", "tpp": 5.0, "convention": "non_embedding"}, "weight_decay_rule": "constant_tau"},
        "mup",
        128,
        "918d753376c87af7",
    ),
    (
        "soap",
        {},
        {"precision": "bfloat16", "schedule": {"shape": "trapezoid", "warmup_tokens": 512, "weight_decay": "linear"}},
        "mup",
        128,
        "475ef290e3144571",
    ),
]


def job_of(recipe: str, options: dict[str, Any], changes: dict[str, Any], parametrization: str, width: int) -> Job:
    experiment = Experiment.model_validate(EXPERIMENT | changes)
    arm = Arm.of(recipe, parametrization)
    tuned = {"lr": 0.01, "weight_decay": 0.002, "embedding_lr_ratio": 2.0}
    return resolve(experiment.point(arm, DATA, width=width, seed=3, **tuned).at(options=options))


@pytest.mark.parametrize(("recipe", "options", "changes", "parametrization", "width", "run_id"), FROZEN)
def test_the_run_id_is_what_it_was(
    recipe: str, options: dict[str, Any], changes: dict[str, Any], parametrization: str, width: int, run_id: str
) -> None:
    job = job_of(recipe, options, changes, parametrization, width)
    assert job.run_id == run_id
    assert resolve(job.point) == job  # a complete point is its own
    assert resolve(Point.model_validate_json(job.point.model_dump_json())).run_id == run_id


def test_what_a_model_is_stored_as() -> None:
    """The keys that records, predictions and exports have had from the first day; the family is named where it is not gpt."""
    assert spec_of(job_of("adamw", {}, {}, "mup", 64).point).model.model_dump() == {
        "width": 64,
        "depth": 2,
        "head_dim": 16,
        "mlp_ratio": 4.0,
        "activation": "gelu",
        "positions": "rope",
        "qk_norm": True,
        "norm_gains": False,
        "context": 32,
        "vocab": 256,
    }
