"""The role of each parameter of any model, by the module that holds it and by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

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
