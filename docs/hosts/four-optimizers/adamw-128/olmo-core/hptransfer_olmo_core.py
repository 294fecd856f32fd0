# adamw: hptransfer 0.1.0 for OLMo-core 3.0.0
# prediction 37b00f7fba72e6ee, width 128, depth 3, tokens 368640, batch_tokens 1024
# lr of hidden matrices at the base shape 0.0226777 (80 % interval 0.0174761 to 0.0336416; identified)
# weight_decay 0.00018432 (80 % interval unbounded to unbounded; not identified, rule used: the loss does not depend
#   on it beyond the noise)
# embedding_lr_ratio 16 (80 % interval unbounded to unbounded; searched at the smallest width, then kept)
# expected regret 0.127% of the loss
# parametrization mup from width 32, depth 3, tokens 368640, batch_tokens 1024; the numbers below are final
# final learning rates: embedding 0.362843, attention 0.00566943, mlp_in 0.00566943, mlp_out 0.00566943, readout
#   0.0907108
# 360 steps of 8 sequences x 128 tokens = 1024 tokens; 368640 in all
# schedule linear, warm-up 36 steps (36864 tokens), weight decay constant besides; precision float32
# searched with init_seed 0, data_seed 0
# you must set this: width 128, depth 3, vocabulary 256: pre-norm decoder, RMSNorm without gains, QK-norm, RoPE, GELU,
#   no biases, untied embedding and readout, query, key and value apart
# you must set this: init: embedding normal, std 0.1, attention query, key, value normal, std 1/sqrt(d_in), attention
#   output zero, MLP input normal, std 1/sqrt(d_in), MLP output zero, readout zero
# experiment four-optimizers, store runs, written_at 2026-11-27T01:53:04+00:00
# hptransfer 0.1.0, python 3.11.7, numpy 2.4.6, scipy 1.17.1
# from 24 runs: 01b70a61551e9c1d 1d2111aebfda2cf5 3c38cb442db968d3 3e0c4d925118c783 4e6fab8ed8453f8f 5c0f8fbcf7293e50
#   5df59f05aea20f20 5eee0df6f6ccc031 78432d0b0a92fc86 7a572ae4e2d0fbc7 82672e90f434d50e 9044082dcf032747
#   a6952f4c7fd16eb5 aa1f5447ff76aedb afb1b6462f3cec67 bbb28129c282daed c313c7d0f8cf3863 cc6b2466cc5466bb
#   d85a5781b143e33f e710ce60eaf5fa1b ef8fcf4f4df76b81 f2d82f715c876a1d fb690517b12f67d2 fffcee6332009a01
"""The optimizer, schedule, batch and horizon of a predicted run, for OLMo-core 3.0.0.

    from hptransfer_olmo_core import DURATION, GLOBAL_BATCH_SIZE, train_module

    model_config = TransformerConfig...                                        # yours
    train_module_config = train_module(model_config, rank_microbatch_size=...)
    data_loader_config = NumpyDataLoaderConfig(global_batch_size=GLOBAL_BATCH_SIZE, ...)
    trainer_config = TrainerConfig(max_duration=DURATION, ...)

Nothing may scale the learning rates again. OLMo-core counts steps from 1: its warm-up is a step longer than the searched one,
so that the decay is the same at every step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from olmo_core.nn.transformer import TransformerConfig
from olmo_core.optim import AdamWConfig, LinearWithWarmup, OptimGroupOverride
from olmo_core.train import Duration
from olmo_core.train.train_module import TransformerTrainModuleConfig
from typing import Any, Literal, get_args
from torch import Tensor, nn


Role = Literal["embedding", "hidden", "readout", "vector"]
ROLES: tuple[Role, ...] = get_args(Role)
# What DDP, torch.compile, FSDP1 and activation checkpointing put into a parameter's name.
WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
READOUTS = ("lm_head", "head", "readout", "unembed", "unembedding", "embed_out", "output", "output_layer", "to_logits")


@dataclass(frozen=True)
class Numbers:
    """Final numbers of one kind of weight: nothing is left to scale. ``weight_decay`` is independent of the learning rate."""

    role: Role
    d_out: int
    d_in: int
    lr: float
    weight_decay: float
    epsilons: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Assigned:
    """A parameter and its role.

    ``names``: more than one where it is tied. ``d_out`` and ``d_in`` are the role's: an embedding (V, D) has d_in = V.
    ``transposed``: a matrix that is kept (d_in, d_out), as in GPT-2's Conv1D. ``why``: which rule said so.
    """

    names: tuple[str, ...]
    role: Role
    d_out: int
    d_in: int
    parameter: nn.Parameter
    transposed: bool
    why: str

    @property
    def is_tied(self) -> bool:
        """Whether it is the embedding and the readout at once."""
        return self.why == TIED


TIED = "embedding and readout are one tensor"
Places = dict[nn.Parameter, list[tuple[str, nn.Module, str]]]  # the names of a parameter, and the modules that hold it


def assign_roles(model: nn.Module, overrides: Mapping[str, str] | None = None) -> list[Assigned]:
    """Every trainable parameter of ``model`` with its role, each once.

    A tensor of one dimension is a vector, the weight of an embedding an embedding. Of linear layers with an output for each token
    the one that is called ``lm_head``, ``readout`` and the like, else the last, is the readout; the others are hidden.
    ``overrides`` go before these rules: roles by regular expression, searched in a parameter's name; the first that is found
    counts. Raises ValueError, one line, for a parameter without a role (the router and the experts of a mixture have none yet),
    and for an override that matches nothing or names no role.
    """
    overrides = dict(overrides or {})
    for expression in overrides:
        try:
            re.compile(expression)
        except re.error as error:
            raise ValueError(f"override {expression!r} is no regular expression: {error}") from None
    held = list(_held(model))
    readout, places = _readout(held), Places()
    for name, module, local, parameter in held:
        places.setdefault(parameter, []).append((name, module, local))
    used, found = set(), []
    for parameter, found_at in places.items():
        names = tuple(name for name, _, _ in found_at)
        pattern = next((one for one in overrides if any(re.search(one, name) for name in names)), None)
        if pattern is not None:
            used.add(pattern)
            if (role := next((one for one in ROLES if one == overrides[pattern]), None)) is None:
                raise ValueError(f"override {pattern!r}: unknown role {overrides[pattern]!r}; known: {', '.join(ROLES)}")
            found.append(_assigned(names, role, parameter, found_at[0][1], f"override {pattern}"))
            continue
        said = [_by_rule(name, module, local, parameter, readout) for name, module, local in found_at]
        roles = sorted({role for role, _ in said})
        if roles == ["embedding", "readout"]:
            found.append(_assigned(names, "embedding", parameter, found_at[0][1], TIED))
        elif len(roles) == 1:
            found.append(_assigned(names, roles[0], parameter, found_at[0][1], said[0][1]))
        else:
            raise ValueError(f"{' = '.join(names)}: {' and '.join(roles)} at once; say which by an override")
    for expression in overrides.keys() - used:
        raise ValueError(f"override {expression!r} matches no parameter's name; there are {', '.join(_some(places))}")
    return found


def with_numbers(assigned: Sequence[Assigned], weights: Sequence[Numbers]) -> list[tuple[Assigned, Numbers]]:
    """Every parameter with its numbers among ``weights``. Raises ValueError for one that has none, and for an embedding without a
    readout: logits that are made of its weight, or of a layer that no rule knows, have a learning rate of their own."""
    found = [(one, _numbers_of(weights, one)) for one in assigned]
    ends = {_values(one) for one in weights if one.role in ("embedding", "readout")}
    embeddings = [one for one in assigned if one.role == "embedding" and not one.why.startswith("override")]
    if len(ends) > 1 and embeddings and not any(one.role == "readout" or one.is_tied for one in assigned):
        raise ValueError(
            "no layer is known to be the readout; say which by an override, {'its name': 'readout'}, or "
            f"{{'{embeddings[0].names[0]}': 'embedding'}} where the logits are made of that weight"
        )
    return found


def _numbers_of(weights: Sequence[Numbers], assigned: Assigned) -> Numbers:
    """The numbers of a parameter: those of its role; where these differ by shape, of its role and shape. Raises ValueError where
    there are none, where a tied tensor would need two learning rates, and for an embedding of another width: the rates are final
    ones of one width."""
    widths = sorted({one.d_out for one in weights if one.role == "embedding"})
    if assigned.role == "embedding" and widths and assigned.d_out not in widths:
        wide = f"{' = '.join(assigned.names)} is {assigned.d_out} wide"
        raise ValueError(f"{wide}, and the learning rates are final ones of width {widths[0]}")
    roles = ("embedding", "readout") if assigned.is_tied else (assigned.role,)
    found = [one for one in weights if one.role in roles]
    if len({_values(one) for one in found}) > 1 and not assigned.is_tied:
        found = [one for one in found if (one.d_out, one.d_in) == (assigned.d_out, assigned.d_in)]
    distinct = {_values(one): one for one in found}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    what = f"{' = '.join(assigned.names)} ({assigned.role}, {assigned.d_out} x {assigned.d_in})"
    if assigned.is_tied:
        raise ValueError(
            f"{what}: one tensor cannot have the learning rates of embedding and readout; untie them, or give it one role by an "
            "override"
        )
    raise ValueError(f"{what}: the prediction has {'several' if distinct else 'no'} learning rates for it")


def _values(one: Numbers) -> tuple[float, float, tuple[tuple[str, float], ...]]:
    return one.lr, one.weight_decay, tuple(one.epsilons.items())


def _held(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Every place of a trainable parameter: its name without wrappers, the module, its name there, and itself."""
    for path, module in model.named_modules(remove_duplicate=False):
        for local, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                yield WRAPPERS.sub(r"\1", f".{path}.{local}").replace("..", ".").strip("."), module, local, parameter


def _some(places: Places) -> Iterator[str]:
    names = [name for held in places.values() for name, _, _ in held]
    yield from names[:3]
    if len(names) > 3:
        yield f"... ({len(names)})"


def _is_linear(module: nn.Module) -> bool:
    kind = type(module).__name__
    return isinstance(module, nn.Linear) or "Linear" in kind or kind == "Conv1D"


def _is_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or "Embedding" in type(module).__name__


def _readout(held: Sequence[tuple[str, nn.Module, str, nn.Parameter]]) -> str | None:
    """The name of the readout's weight. Of linear layers with an output for every row of the largest embedding the one that has a
    readout's name outside numbered blocks, else the last; where there is none, whatever has such a name."""
    matrices = [(name, module, parameter) for name, module, _, parameter in held if parameter.dim() == 2]
    rows = max((parameter.size(0) for _, module, parameter in matrices if _is_embedding(module)), default=None)
    linear = [(name, parameter.size(0) == rows) for name, module, parameter in matrices if _is_linear(module)]
    named = [(name, fits) for name, fits in linear if _is_readouts(name)]
    for name, fits in (*named, *reversed(linear)):
        if fits:
            return name
    return named[0][0] if named else None


def _is_readouts(name: str) -> bool:
    *outer, last, _ = ["", *name.split(".")]
    return last in READOUTS and not any(part.isdigit() for part in outer)


def _by_rule(name: str, module: nn.Module, local: str, parameter: Tensor, readout: str | None) -> tuple[Role, str]:
    """The role of a parameter at one of its places, and the rule in words."""
    kind = type(module).__name__
    if any(word in part.lower() for part in (*name.split("."), kind) for word in ("router", "expert")):
        raise ValueError(f"{name}: the router and the experts of a mixture have no role yet; give it one by an override")
    if parameter.dim() < 2:
        if local == "weight" and (_is_linear(module) or _is_embedding(module)):
            raise ValueError(f"{name}: the weight of {kind} is flat here, as FSDP1 makes it; FSDP2 (fully_shard) keeps matrices")
        return "vector", "one dimension"
    if parameter.dim() == 2 and _is_embedding(module):
        return "embedding", f"weight of {kind}"
    if parameter.dim() == 2 and _is_linear(module):
        return ("readout", "the last linear layer, by name or size") if name == readout else ("hidden", f"{local} of {kind}")
    shape = " x ".join(map(str, parameter.shape))
    raise ValueError(f"{name} ({shape}, in {kind}): no rule gives it a role; give it one by an override")


def _assigned(names: tuple[str, ...], role: Role, parameter: nn.Parameter, module: nn.Module, why: str) -> Assigned:
    if role == "vector":
        return Assigned(names, role, parameter.numel(), 1, parameter, False, why)
    if parameter.dim() != 2:
        raise ValueError(f"{names[0]}: of {parameter.dim()} dimensions; a weight of the role {role} has two")
    rows, columns = parameter.shape
    transposed = type(module).__name__ == "Conv1D"  # transformers' of GPT-2: (inputs, outputs)
    d_out, d_in = (columns, rows) if transposed or role == "embedding" else (rows, columns)
    return Assigned(names, role, d_out, d_in, parameter, transposed, why)


def role_table(optimizer: Any) -> str:
    """Which parameters each group of an optimizer holds, with role, learning rate and weight decay, numbers in names left out.

    ``optimizer``: what `hptransfer.build_optimizer` returns, or the ``build_optimizer`` of an exported module; any of
    torch's whose groups have ``role`` and ``param_names``. Weight decay is in the units of that optimizer. Raises KeyError where
    a group has no role.

    >>> print(hptransfer.role_table(hptransfer.build_optimizer(model, "predictions/quickstart/soap-128.json")))
    """
    rows = [("role", "lr", "weight_decay", "tensors", "parameters")]
    for group in optimizer.param_groups:
        names = dict.fromkeys(map(without_numbers, group["param_names"]))
        numbers = f"{group['lr']:.6g}", f"{group['weight_decay']:.6g}"
        rows.append((group["role"], *numbers, str(len(group["params"])), ", ".join(names)))
    return aligned(rows)


def without_numbers(name: str) -> str:
    """``layers.3.weight`` as ``layers.*.weight``: what the parameters of all layers are called."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with straight columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


GLOBAL_BATCH_SIZE = 1024  # tokens
MAX_SEQUENCE_LENGTH = 128
DURATION = Duration.steps(360)
MAX_GRAD_NORM = None
SCHEDULER = LinearWithWarmup(alpha_f=0.0, warmup=37, t_max=361)
BETAS = (0.9, 0.95)
WEIGHTS = (
    Numbers('embedding', 128, 256, lr=0.36284334417370445, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # embedding
    Numbers('hidden', 128, 128, lr=0.005669427252714132, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # attention
    Numbers('hidden', 512, 128, lr=0.005669427252714132, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # mlp_in
    Numbers('hidden', 128, 512, lr=0.005669427252714132, weight_decay=0.00018431957085351716, epsilons={'eps': 2.5e-09}),  # mlp_out
    Numbers('readout', 256, 128, lr=0.09071083604342611, weight_decay=0.00018431957085351716, epsilons={'eps': 1e-08}),  # readout
    Numbers('vector', 128, 1, lr=0.022677709010856528, weight_decay=0.0, epsilons={'eps': 2.5e-09}),  # vector
)


def train_module(
    model: TransformerConfig, rank_microbatch_size: int, roles: Mapping[str, str] | None = None, **others: Any
) -> TransformerTrainModuleConfig:
    """``others``: fields that were not predicted. ``roles`` goes before the rules: {"regular expression": "embedding, hidden,
    readout or vector"}. Raises ValueError for a parameter without a role."""
    return TransformerTrainModuleConfig(
        rank_microbatch_size=rank_microbatch_size,
        max_sequence_length=MAX_SEQUENCE_LENGTH,
        optim=optim(model, roles),
        scheduler=SCHEDULER,
        max_grad_norm=MAX_GRAD_NORM,
        **others,
    )


def optim(model: TransformerConfig, roles: Mapping[str, str] | None = None) -> AdamWConfig:
    """Hidden matrices have the optimizer's own options, every other role an override."""
    names: dict[str, list[str]] = {}
    options: dict[str, dict[str, float]] = {}
    for one, numbers in with_numbers(assign_roles(model.build(init_device="meta"), roles), WEIGHTS):
        names.setdefault(one.role, []).append(one.names[0])
        options[one.role] = _options(numbers)
    overrides = [OptimGroupOverride(_globs(role, names), options[role]) for role in names if role != "hidden"]
    return AdamWConfig(**options["hidden"], betas=BETAS, group_overrides=overrides)


def _options(numbers: Numbers) -> dict[str, float]:
    (eps,) = numbers.epsilons.values()
    return {"lr": numbers.lr, "weight_decay": numbers.weight_decay / numbers.lr, "eps": eps}


def _globs(role: str, names: Mapping[str, list[str]]) -> list[str]:
    """Patterns for the parameters of a role, the blocks' numbers open; what checkpointing of activations puts there matches."""
    found = list(dict.fromkeys(map(without_numbers, names[role])))
    for other, some in names.items():
        for name in some:
            if sum(fnmatch(name, glob) for glob in found) != (other == role):
                raise ValueError(f"{name} ({other}): patterns of {role} parameters do not tell it apart: {', '.join(found)}")
    return found
