"""nanochat: the flags of ``scripts.base_train``.

It scales the numbers of AdamW and Muon by batch, width and parameters, and each matrix by its shape: the flags have all of that
taken out. What no flag sets (AdamW's betas and decays, Muon's momentum) is said in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hptransfer.export.canonical import Canonical, Model
from hptransfer.export.host import command_line, comments, refusal
from hptransfer.export.muon import matrix_lr, no_matrix_lr
from hptransfer.optimizers.rules.conventions import LrConvention

FILE = "base_train.sh"
REFERENCE_BATCH = 2**19  # tokens at which it takes learning rates as they are
REFERENCE_WIDTH = 768
REFERENCE_DEPTH = 12
MODES: dict[str, LrConvention] = {"by shape": "original"}

SCALED = "nanochat scales by batch, AdamW's by width, matrices by shape, weight decay by parameters"
OTHERWISE = (
    "the algorithm: nanochat's Muon equalises the rows of the momentum, iterates Polar Express 5 times in bfloat16, restores the "
    "norm and has NorMuon's second moment (beta2 0.9); its momentum goes from 0.85 to 0.97 in 400 steps and to 0.9 in the "
    "warm-down; plain Muon was searched, whose update has about the same norm",
    "AdamW: betas (0.8, 0.995) of embeddings and (0.8, 0.96) of lm_head, epsilon 1e-10, weight decay (times its learning rate) "
    "0.001 and 0.01; no flag sets these",
    "the model: nanochat's own, with value embeddings (at half the learning rate of the embedding), learned multipliers of the "
    "residual stream, ReLU^2, softcap and its own init; the scalars keep nanochat's default --scalar-lr, which was not predicted",
    "the seed: always 42",
)


@dataclass(frozen=True)
class Nanochat:
    """karpathy's nanochat."""

    name: str = "nanochat"
    version: str = "of 3 July 2026 (92d63d4)"

    def refuse(self, record: Canonical) -> str | None:
        if (why := refusal(record, "nanochat", ("muon",), role_wise=False, cautious=True, wd_schedule=True)) is not None:
            return why
        optimizer, _, model, training = record.known
        if optimizer.options["clip_norm"] is not None:
            return "nanochat does not clip gradients"
        if training.schedule.shape == "cosine":
            return "nanochat's learning rate goes down linearly, not by a cosine"
        decays = any(weight.weight_decay for weight in optimizer.weights if weight.role == "hidden")
        if decays and not (optimizer.options["cautious_weight_decay"] and training.schedule.weight_decay == "cosine"):
            return (
                "nanochat's weight decay is cautious and goes to 0 by a cosine; it can do what was searched with the options "
                "cautious_weight_decay: true and schedule.weight_decay: cosine, or without weight decay"
            )
        width = model.width
        shapes = {(weight.d_out, weight.d_in) for weight in optimizer.weights if weight.role == "hidden" and weight.count}
        if shapes != {(width, width), (4 * width, width), (width, 4 * width)} or "head_dim" not in model.own:
            return "nanochat's model has square attention matrices and an MLP of ratio 4 without a gate; this one has others"
        if _width(model, model.depth) != width:
            return (
                f"nanochat cannot make width {width} at depth {model.depth}: its width is depth times a whole number, up to the "
                "next multiple of the head dimension"
            )
        return None if matrix_lr(optimizer, MODES) else no_matrix_lr(optimizer, "nanochat", MODES)

    def render(self, record: Canonical) -> dict[str, str]:
        optimizer, _, model, training = record.known
        found = matrix_lr(optimizer, MODES)
        assert found is not None, "refused"
        _, matrix = found
        schedule, roles = training.schedule, optimizer.roles
        batch = math.sqrt(training.batch_tokens / REFERENCE_BATCH)
        adam = batch * (model.width / REFERENCE_WIDTH) ** -0.5
        decay = next(weight.weight_decay for weight in optimizer.weights if weight.role == "hidden") / matrix
        down = {"constant": 0, "linear": training.steps - schedule.warmup_steps, "trapezoid": training.cooldown_steps}
        flags = {
            "--depth": model.depth,
            "--aspect-ratio": _aspect(model),
            "--head-dim": model.own["head_dim"],
            "--max-seq-len": training.context,
            "--window-pattern": "L",
            "--num-iterations": training.steps,
            "--total-batch-size": training.batch_tokens,
            "--device-batch-size": math.gcd(training.batch_sequences, 32),
            "--matrix-lr": repr(matrix / batch),
            "--embedding-lr": repr(roles["embedding"].lr / adam),
            "--unembedding-lr": repr(roles["readout"].lr / adam),
            "--weight-decay": repr(decay / (batch * _parameters(model, REFERENCE_DEPTH) / _parameters(model, model.depth))),
            "--warmup-steps": schedule.warmup_steps,
            "--warmdown-ratio": repr(down[schedule.shape] / training.steps),
            "--final-lr-frac": 0.0,
        }
        mlp = [f"weight decay of the MLP's input matrices: {2 * decay * matrix:.6g} a step, twice the predicted"] if decay else []
        head = comments(record, self.name, self.version, scaled=SCALED, otherwise=[*OTHERWISE, *mlp])
        return {FILE: head + command_line("python -m scripts.base_train", flags)}


def _aspect(model: Model) -> int:
    return model.width // model.depth


def _width(model: Model, depth: int) -> int:
    """`build_model_meta`: depth times the aspect ratio, up to the next multiple of the head dimension."""
    head: int = model.own["head_dim"]
    return -(-depth * _aspect(model) // head) * head


def _parameters(model: Model, depth: int) -> int:
    """`get_scaling_params` of the model at a depth: its blocks, value gates with them, and lm_head over a vocabulary that is
    padded to 64."""
    width = _width(model, depth)
    gates: int = -(-depth // 2) * 12 * (width // model.own["head_dim"])
    return 12 * depth * width**2 + gates + -(-model.vocab // 64) * 64 * width


NANOCHAT = Nanochat()
