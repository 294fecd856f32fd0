"""What columns are called where people have runs: W&B, Optuna, Ray Tune, MLflow, Hugging Face, nanoGPT, Megatron and by hand."""

from __future__ import annotations

import math
import re
from functools import cache

# Prefixes by which trackers say that a column is a setting or a result, and last words that say nothing of what is set.
CONFIG = r"params?|config|hparams?|hyperparam(?:eter)?s?|parameters|args|cfg|settings"
SETTING = re.compile(rf"^(?:{CONFIG}|(?:study_)?user_attrs|system_attrs)[_./]")
TRACKERS = re.compile(rf"{SETTING.pattern}|^(?:summary|(?:last_)?metrics?)[_./]")
EMPTY_WORDS = ("name", "type", "value", "class", "kind", "cls", "_target_", "class_path")

# Names of what is meant, in lower case and with `_` between words.
USUAL = {
    "weight_decay": "weight_decay wd weightdecay decay weight_decay_coupled weight_decay_independent lambda l2",
    "width": "width d_model hidden_size n_embd n_embed hidden_dim model_dim dim d_embed embed_dim embedding_dim emb_dim emb "
    "embedding_size hidden model_width dmodel dim_model nembd n_hid nhid d_hidden hidden_units residual_dim residual_stream_dim "
    "channels w",
    "depth": "depth n_layer n_layers num_layers num_hidden_layers layers nlayers nlayer blocks n_blocks num_blocks",
    "parameters": "parameters params n_params num_params num_parameters n_parameters param_count parameter_count model_size "
    "non_embedding_params n",
    "tokens": "tokens training_tokens train_tokens n_tokens num_tokens total_tokens horizon horizon_tokens max_tokens "
    "token_budget d",
    "horizon": "max_steps total_steps num_steps n_steps train_steps training_steps num_train_steps max_iters train_iters "
    "num_iters n_iter n_iters max_iterations num_iterations epochs n_epochs num_epochs max_epochs num_train_epochs tpp "
    "tokens_per_param tokens_per_parameter",
    "experts": "experts n_experts num_experts",
    "embedding_lr_ratio": "embedding_lr_ratio",
    "seed": "seed replicate replica repeat repetition rep",
    "run": "run_id trial_id run runid id run_name experiment_tag trial uuid number",
    "state": "state status run_state trial_state job_state run_status trial_status job_status outcome",
    "exit": "exit_code exitcode return_code returncode exit_status",
    "arm": "arm",
    "optimizer": "optimizer optimiser optim opt method algo algorithm",
    "parametrization": "parametrization parameterization parametrisation parameterisation mup use_mup",
    "recipe": "recipe",
    "corpus": "corpus dataset tokenizer data train_data",
    "schedule": "schedule lr_schedule scheduler lr_scheduler lr_sched sched decay_schedule lr_decay_style",
    "family": "model_family family architecture arch attention activation",
}  # fmt: skip
_MEANING = {name: what for what, names in USUAL.items() for name in names.split()}
# Those that people put together from words.
_SAID = {
    "lr": r"(?:(?:peak|max|base|init|initial|start|opt|optimizer|best|optimal)_)*(?:lr|learning_?rate|eta|\u03b7|step_?size)"
    r"(?:_?(?:peak|max|base|init|initial|start|0|multiplier|opt|best|optimal))*",
    "step": r"_?(?:(?:global|train|training|optimizer|opt|current|last|final|total)_)*(?:step|iter|iteration|epoch|update|it)"
    r"(?:_num|_nr|_count)?|(?:num_|n_)?(?:steps|iterations|updates)(?:_(?:done|completed|run|taken|trained))?|num_updates|"
    r"(?:num_)?(?:input_)?(?:tokens|samples|examples)_(?:seen|processed|trained|consumed)|consumed_(?:train_)?(?:tokens|samples)|"
    r"progress|(?:fraction|percent)_(?:done|complete|completed)",
    "batch": r"(?:(?:global|train|training|total|effective|per_device|device|local)_)*(?:batch|batch_?size|bs|bsz)"
    r"(?:_size|_tokens)?|gbs|tokens_per_(?:batch|step|update)",
    "seed": r"(?:.*_)?seed",
}
_PATTERNS = {what: re.compile(pattern) for what, pattern in _SAID.items()}

# Losses, the best first: of held-out text; by no such name; what a study looked for; in other units; of the training batch.
_HELD = r"(?:val|valid|validation|validate|eval|evaluation|test|heldout|held_out|dev)"
_LOSS = r"(?:loss|log_?loss|nll|ce|xent|cross_?entropy|(?:neg|negative)_log_likelihood)"
LOSSES = (
    re.compile(rf"(?:.*_)?{_HELD}_(?:.*_)?{_LOSS}|(?:.*_)?{_LOSS}_(?:.*_)?{_HELD}"),
    re.compile(rf"(?!(?:.*_)?(?:train|training|aux|z|balancing|balance|router|reg)_)(?:.*_)?{_LOSS}"),
    re.compile(r"objective|objective_value|value|values_0"),
    re.compile(r"(?:.*_)?(?:bpb|bits_per_byte|bits_byte|ppl|perplexity|bpc|mse|error_rate)"),
    re.compile(rf"(?:.*_)?train(?:ing)?_(?:.*_)?{_LOSS}|(?:.*_)?{_LOSS}_train(?:ing)?"),
)
# Words beside a result that say which of its values it is; another number, as its std, is none.
REMARKS = ("final", "last", "best", "min", "lowest", "mean", "avg", "average", "ema", "smooth", "smoothed", "end", "nats")
# Of which the highest is the best.
MAXIMISED = re.compile(
    r"(?!.*_loss)(?:.*_)?(?:acc|accuracy|score|reward|f1|bleu|rouge|auc|auroc|exact_match|mmlu|hellaswag)(?:_.*)?|"
    r"(?:neg|negative|minus)_.*loss|(?!neg)(?:.*_)?log_?(?:likelihood|prob|probability)"
)
# What is measured or only tells runs apart: it differs between runs that are alike.
RESULTS = re.compile(
    r"(?:.*_)?(?:loss|ppl|perplexity|bpb|bpc|accuracy|acc|score|nll|grad_norm|param_norm|time|timestamp|date|datetime|created|updated|"
    r"runtime|duration|seconds|hours|s|sec|second|throughput|mfu|memory|mem|flops|heartbeat|wall|end_lr|tags|notes|user|host|"
    r"hostname|pid|node|ip|gpu|device|url|path|dir|folder|commit|sha|git|name|group|sweep|job|id|comment|index|row|logdir|uri|reason|"
    r"worker|checkpoint|restore|total|start|complete|end)"
)

# Words for logarithms, with what one unit is in ln. A bare log is to base 10 to those who plot it.
LOGARITHMS = {"log2": math.log(2.0), "log10": math.log(10.0), "log": math.log(10.0), "ln": 1.0}
_LOG = r"(log_?2|log_?10|log|ln)"
_OF = re.compile(rf"(?i)\b{_LOG}\s*\(\s*([^()]+)\)|^(.+)[(\[]\s*{_LOG}\s*[)\]]$")  # log10(lr), lr (log10)
_REMARK = re.compile(r"\s*[(\[](?!\d+\))[^()\[\]]*[)\]]$")  # lr (peak), loss [nats]; but loss (2) is another column


@cache
def _logarithm(own: str) -> tuple[str, str] | None:
    """The word for the logarithm in a plain name, and what it is the logarithm of; None where it is none."""
    for pattern, word, rest in ((rf"{_LOG}_(.+)", 1, 2), (rf"(.+)_{_LOG}", 2, 1), (rf"{_LOG}(.+)", 1, 2)):
        found = re.fullmatch(pattern, own)
        if found and ("_" in pattern.replace("_?", "") or _usual(found[rest])):
            return found[word].replace("_", ""), found[rest]
    return None


def unit(name: str) -> float:
    """What one unit of a column is in ln; 0 where its values are no logarithms."""
    found = _logarithm(plain(name))
    return LOGARITHMS[found[0]] if found else 0.0


def base_is_guessed(name: str) -> bool:
    """Whether a column is called a logarithm, and not to which base."""
    found = _logarithm(plain(name))
    return found is not None and found[0] == "log"


def without_logarithm(name: str) -> str:
    """What a column of logarithms is the logarithm of; another name as it is."""
    found = _logarithm(plain(name))
    return found[1] if found else name


def _parts(name: str) -> list[str]:
    """The words between the dots and slashes of a name, without where a tracker put it and what a person says beside it, each in
    lower case with ``_`` between words."""
    text = re.sub("^[-\N{MINUS SIGN}]", "neg_", name.strip())
    text = _OF.sub(lambda found: f"{found[1] or found[4]}_{(found[2] or found[3]).strip()}", text)
    text = _REMARK.sub("", text).rstrip("* ") or text
    while (shorter := TRACKERS.sub("", text)) != text and shorter:
        text = shorter
    words = (re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part) for part in re.split(r"[./]", text) if part)
    return [re.sub(r"[\s\-]+", "_", part.strip()).lower() for part in words] or [name.lower()]


@cache
def plain(name: str) -> str:
    """A column's own name without where it comes from: ``lr`` of ``config.optimizer.lr``, ``optimizer`` of
    ``config.optimizer.name``, ``val_loss`` of ``summary.val/loss``, ``lr`` of ``LR (peak)``. In lower case, with ``_`` between
    words."""
    parts = _parts(name)
    while len(parts) > 1 and parts[-1] in EMPTY_WORDS:
        parts.pop()
    if len(parts) > 1 and parts[-1] in ("loss", "nll", "ppl", "perplexity", "accuracy", "acc", "bpb"):
        return "_".join(parts[-2:])
    return parts[-1]


def _usual(own: str) -> str | None:
    bare = re.sub(r"_(?:name|type|class|kind|cls)$", "", own)
    usual = _MEANING.get(own) or _MEANING.get(bare)
    return usual or next((what for what, pattern in _PATTERNS.items() if pattern.fullmatch(own)), None)


@cache
def meaning(name: str) -> str | None:
    """What a column of that name usually holds, by the keys of `USUAL`; a logarithm means what it is of. None where it is not
    known."""
    own = plain(name)
    return _usual(own) or (_usual(log[1]) if (log := _logarithm(own)) else None)


@cache
def _result(name: str) -> str:
    """All of a name but what a tracker says, without remarks, in words: ``eval_c4_loss`` of ``summary.eval/c4/loss_final``."""
    words = "_".join(_parts(name)).split("_")
    return "_".join(word for word in words if word not in REMARKS) or plain(name)


def _is_config(name: str) -> bool:
    return re.match(rf"(?:{CONFIG})[_./]", name) is not None


def loss_rank(name: str) -> int | None:
    """How well a column serves as the loss, 0 the best; None where it is none by its name."""
    if _is_config(name) or is_maximised(name):
        return None
    return next((rank for rank, pattern in enumerate(LOSSES) if pattern.fullmatch(_result(name))), None)


def is_maximised(name: str) -> bool:
    """Whether the highest is the best of what is called so."""
    return not _is_config(name) and MAXIMISED.fullmatch(_result(name)) is not None


def is_result(name: str) -> bool:
    """Whether a column tells what came of a run, or who and where it was, rather than how it was trained."""
    own = plain(name)
    return own.startswith("_") or RESULTS.fullmatch(own) is not None or meaning(name) in ("seed", "run", "state", "exit", "step")
