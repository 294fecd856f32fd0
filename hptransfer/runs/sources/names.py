"""What columns are called where people have runs: W&B, Optuna, Ray Tune, MLflow, Hugging Face, nanoGPT, Megatron and by hand."""

from __future__ import annotations

import math
import re
from functools import cache

# Prefixes by which trackers say that a column is a setting or a result, and last words that say nothing of what is set.
SETTING = re.compile(r"^(?:params?|config|(?:study_)?user_attrs|system_attrs|hparams?|hyperparameters?|args|cfg|settings)[_./]")
TRACKERS = re.compile(rf"{SETTING.pattern}|^(?:summary|metrics?|data)[_./]")
EMPTY_WORDS = ("name", "type", "value", "class", "kind", "_target_", "class_path")

# Names of what is meant, in lower case and with `_` between words.
USUAL = {
    "lr": "lr learning_rate learningrate peak_lr max_lr base_lr peak_learning_rate max_learning_rate base_learning_rate lr_max "
    "lr_peak lr_multiplier eta",
    "weight_decay": "weight_decay wd weightdecay decay weight_decay_coupled weight_decay_independent",
    "width": "width d_model hidden_size n_embd n_embed hidden_dim model_dim dim d_embed embed_dim embedding_dim emb_dim "
    "embedding_size hidden model_width dmodel nembd w",
    "depth": "depth n_layer n_layers num_layers num_hidden_layers layers nlayers nlayer",
    "parameters": "parameters params n_params num_params num_parameters n_parameters param_count parameter_count model_size "
    "non_embedding_params n",
    "tokens": "tokens training_tokens train_tokens n_tokens num_tokens total_tokens horizon_tokens max_tokens token_budget d",
    "batch": "batch_tokens batch_size batch bs global_batch_size train_batch_size tokens_per_batch total_batch_size "
    "per_device_train_batch_size",
    "experts": "experts n_experts num_experts",
    "embedding_lr_ratio": "embedding_lr_ratio",
    "seed": "seed random_seed init_seed rng_seed data_seed replicate",
    "run": "run_id trial_id run runid id run_name experiment_tag trial uuid number",
    "state": "state status run_state trial_state job_state run_status",
    "done": "done",
    "step": "_step global_step step training_iteration iteration iter steps steps_done epoch",
    "arm": "arm",
    "optimizer": "optimizer optim optimizer_name opt optimizer_type",
    "parametrization": "parametrization parameterization",
    "recipe": "recipe",
    "corpus": "corpus dataset tokenizer dataset_name train_data",
    "schedule": "schedule lr_schedule scheduler lr_scheduler_type lr_scheduler schedule_type decay_schedule",
    "family": "model_family family architecture arch attention activation",
}  # fmt: skip
_MEANING = {name: what for what, names in USUAL.items() for name in names.split()}

# Losses, the best first: of held-out text; by no such name; in other units; of the training batch.
LOSSES = (
    re.compile(
        r"(?:.*_)?(?:val|valid|validation|eval|evaluation|test|heldout|held_out|dev)_(?:.*_)?(?:loss|nll|ce|cross_entropy)"
    ),
    re.compile(r"(?:(?!train).*_)?(?:loss|nll|cross_entropy)"),
    re.compile(r"(?:.*_)?(?:bpb|bits_per_byte|ppl|perplexity|bpc)"),
    re.compile(r"(?:.*_)?train(?:ing)?_(?:.*_)?(?:loss|nll)"),
)
# Of which the highest is the best.
MAXIMISED = re.compile(
    r"(?:.*_)?(?:acc|accuracy|score|reward|f1|bleu|rouge|auc|auroc|exact_match|mmlu|hellaswag)(?:_.*)?|(?:neg|negative|minus)_.*loss"
)
# What is measured or only tells runs apart: it differs between runs that are alike.
RESULTS = re.compile(
    r"(?:.*_)?(?:loss|ppl|perplexity|bpb|bpc|accuracy|acc|score|nll|grad_norm|param_norm|time|timestamp|date|datetime|created|updated|"
    r"runtime|duration|seconds|hours|s|sec|second|throughput|mfu|memory|mem|flops|heartbeat|wall|end_lr|tags|notes|user|host|"
    r"hostname|pid|node|ip|gpu|device|url|path|dir|folder|commit|sha|git|name|group|sweep|job|id|comment|index|row|logdir|uri|reason|"
    r"worker|checkpoint|restore|total|start|complete|end)"
)

# Prefixes of names whose values are logarithms, with what one unit is in ln. A bare log is to base 10 to those who plot it.
LOGARITHMS = {"log2_": math.log(2.0), "log10_": math.log(10.0), "log_": math.log(10.0), "ln_": 1.0}


@cache
def unit(name: str) -> float:
    """What one unit of a column is in ln; 0 where its values are no logarithms."""
    own = re.split(r"[./]", name)[-1]
    return next((factor for prefix, factor in LOGARITHMS.items() if own.startswith(prefix)), 0.0)


def without_logarithm(name: str) -> str:
    """What a column of logarithms is the logarithm of."""
    return next((name.removeprefix(prefix) for prefix in LOGARITHMS if name.startswith(prefix)), name)


@cache
def plain(name: str) -> str:
    """A column's own name without where it comes from: ``lr`` of ``config.optimizer.lr``, ``optimizer`` of
    ``config.optimizer.name``, ``val_loss`` of ``summary.val/loss``. In lower case, with ``_`` between words."""
    text = name.strip()
    while (shorter := TRACKERS.sub("", text)) != text and shorter:
        text = shorter
    parts = [part for part in re.split(r"[./]", text) if part]
    while len(parts) > 1 and parts[-1].lower() in EMPTY_WORDS:
        parts.pop()
    if not parts:
        return name.lower()
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parts[-1])
    last = re.sub(r"[\s\-]+", "_", words).lower()
    if len(parts) > 1 and last not in _MEANING and (last in ("loss", "nll", "ppl", "perplexity", "accuracy", "acc", "bpb")):
        return f"{plain(parts[-2])}_{last}"
    return last


def meaning(name: str) -> str | None:
    """What a column of that name usually holds, by the keys of `USUAL`; a logarithm means what it is of. None where it is not
    known."""
    own = plain(name)
    return _MEANING.get(own) or _MEANING.get(without_logarithm(own))


def loss_rank(name: str) -> int | None:
    """How well a column serves as the loss, 0 the best; None where it is none by its name."""
    own = plain(name)
    if MAXIMISED.fullmatch(own):
        return None
    return next((rank for rank, pattern in enumerate(LOSSES) if pattern.fullmatch(own)), None)


def is_maximised(name: str) -> bool:
    """Whether the highest is the best of what is called so."""
    return MAXIMISED.fullmatch(plain(name)) is not None


def is_result(name: str) -> bool:
    """Whether a column tells what came of a run, or who and where it was, rather than how it was trained."""
    own = plain(name)
    return own.startswith("_") or RESULTS.fullmatch(own) is not None or meaning(name) in ("seed", "run", "state", "done", "step")
