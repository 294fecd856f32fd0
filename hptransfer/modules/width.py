"""Width rules for any model: what each parameter's learning rate, epsilons and initial values become at another width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hptransfer.base.config import checked
from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.experiment.settings import PARAMETRIZATIONS, Parametrization
from hptransfer.models.shapes import dimension_ratios
from hptransfer.modules.optimizer import optimizer_over
from hptransfer.modules.roles import Assigned, Numbers, assign_roles
from hptransfer.modules.table import aligned, without_numbers
from hptransfer.optimizers import get_recipe
from hptransfer.optimizers.engine import ChainOptimizer
from hptransfer.optimizers.recipe import Options, Role
from hptransfer.optimizers.rules.weight_decay import WeightDecayRule, weight_decay_multiplier
from hptransfer.optimizers.rules.width import Ratios, init_multiplier
from hptransfer.optimizers.scaling import Size, final_epsilons, final_lr, ratios_of, sides_of

ModelFn = Callable[[int], nn.Module]
"""Builds and initialises the model of a width; everything else about it stays the same."""


@dataclass(frozen=True)
class ParameterRule:
    """What one parameter becomes between two widths.

    ``names``: several where it is tied. ``base`` and ``target``: the dimensions of its role there, and ``ratios`` how they grew.
    ``lr``: what the base learning rate is multiplied by. ``epsilons``: final, by the names of the optimizer's options.
    ``init_rms``: root mean square of its initial values at the target (of a matrix: their standard deviation); None: as built.
    """

    names: tuple[str, ...]
    role: Role
    base: Size
    target: Size
    ratios: Ratios
    lr: float
    epsilons: Mapping[str, float]
    init_rms: float | None


@dataclass(frozen=True)
class WidthRules:
    """The rules of an optimizer for a model of width ``target``, tuned at width ``base``; ``print`` shows them as a table.

    ``logit_multiplier``: what the readout's input is multiplied by, 1 unless it is tied to the embedding. ``unset``: what the
    model must do besides and no parameter shows, in words.
    """

    optimizer_name: str
    options: Options
    parametrization: str
    base: int
    target: int
    parameters: tuple[ParameterRule, ...]
    logit_multiplier: float
    unset: tuple[str, ...]
    overrides: Mapping[str, str]

    @torch.no_grad()
    def initialize(self, model: nn.Module) -> None:
        """Bring a freshly initialised ``model`` of the target width to its start under the rules, in place.

        Every parameter is rescaled to its ``init_rms``; the input of a tied readout is multiplied by ``logit_multiplier`` from
        then on, in a hook of that layer, which a checkpoint does not hold: call this before loading one too. Call it once, and
        before the model is compiled or wrapped. Raises UsageError, one line, for a model that these are not the rules of.
        """
        for one, rule in self._matched(model):
            if rule.init_rms is None:
                continue
            rms = root_mean_square(one.parameter)
            if rms == 0 < rule.init_rms:
                raise UsageError(f"{one.names[0]} is initialised with zeros at width {self.target} and not at {self.base}")
            one.parameter.mul_(rule.init_rms / rms if rms else 0.0)
        if self.logit_multiplier != 1:
            layer = readout_layer(model, self.overrides)
            assert layer is not None  # else it would be unset
            layer.register_forward_pre_hook(partial(_multiply_input, self.logit_multiplier))

    def optimizer(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float = 0.0,
        embedding_lr_ratio: float = 1.0,
        weight_decay_rule: WeightDecayRule = "inverse_width",
        batch_tokens: int = 1,
    ) -> ChainOptimizer:
        """The optimizer of ``model``, of the target width, with a group for each role and each set of numbers.

        ``lr``: of hidden weights at the base width; ``embedding_lr_ratio``: of embedding and readout relative to it.
        ``weight_decay``: at the base width, independent of the learning rate; it moves by ``weight_decay_rule``, with as many
        tokens and as large a batch as there. ``batch_tokens``: counts where an optimizer warms its momentum up over tokens.
        Raises UsageError, one line, for a model that these are not the rules of.
        """
        recipe = get_recipe(self.optimizer_name)
        decay = weight_decay * weight_decay_multiplier(weight_decay_rule, width=self.target / self.base)
        numbers = [
            Numbers(
                role=rule.role,
                d_out=one.d_out,
                d_in=one.d_in,
                lr=lr * rule.lr * (embedding_lr_ratio if rule.role in ("embedding", "readout") else 1.0),
                weight_decay=decay if recipe.decays(rule.role) else 0.0,
                epsilons=rule.epsilons,
            )
            for one, rule in self._matched(model)
        ]
        return optimizer_over(
            zip((one for one, _ in self._matched(model)), numbers, strict=True),
            recipe,
            self.options,
            batch_tokens=batch_tokens,
            block_size=self.options.block(self.base),
            spectral=self.parametrization == "spectral",
        )

    def _matched(self, model: nn.Module) -> list[tuple[Assigned, ParameterRule]]:
        """The parameters of ``model``, each with its rule."""
        rules = {rule.names: rule for rule in self.parameters}
        assigned = _assigned(model, self.overrides)
        _require_same({rule.names for rule in self.parameters}, {one.names for one in assigned}, "the rules", "the model")
        for one in assigned:
            if (one.d_out, one.d_in) != rules[one.names].target:
                size = rules[one.names].target
                raise UsageError(
                    f"{one.names[0]} is {one.d_out} x {one.d_in}; at width {self.target} it is {size[0]} x {size[1]}"
                )
        return [(one, rules[one.names]) for one in assigned]

    def __str__(self) -> str:
        found: dict[tuple[str, ...], list[float]] = {}
        for rule in self.parameters:
            cells: tuple[str, ...] = (
                " = ".join(map(without_numbers, rule.names)),
                rule.role,
                f"x {rule.ratios.d_out:g}",
                f"x {rule.ratios.d_in:g}",
                f"x {rule.lr:.4g}",
                ", ".join(f"{name} {value:.3g}" for name, value in rule.epsilons.items()),
            )
            found.setdefault(cells, []).extend([] if rule.init_rms is None else [rule.init_rms])
        rows: list[tuple[str, ...]] = [("parameter", "role", "d_out", "d_in", "lr", "epsilons", "initial RMS")]
        for cells, rms in found.items():
            between = " to ".join(dict.fromkeys((f"{min(rms):.2g}", f"{max(rms):.2g}"))) if rms else "as built"
            rows.append((*cells, between))
        lines = [aligned(rows)]
        title = f"{self.optimizer_name} under {self.parametrization}, width {self.base} to {self.target}"
        if self.logit_multiplier != 1:
            lines.append(f"readout: one tensor with the embedding; its input is multiplied by {self.logit_multiplier:g}")
        return "\n".join([title, *lines, *(f"you must set this: {one}" for one in self.unset)])


def rules_between(
    model_fn: ModelFn,
    base: int,
    target: int,
    optimizer: str,
    *,
    options: Mapping[str, Any] | None = None,
    parametrization: Parametrization = "mup",
    zero_readout: bool = True,
    overrides: Mapping[str, str] | None = None,
) -> WidthRules:
    """What `hptransfer.width_rules` says."""
    if not 0 < base <= target:
        raise UsageError(f"target width {target} is below base width {base}: take the smaller one as the base")
    if parametrization not in PARAMETRIZATIONS:
        raise unknown("parametrization", parametrization, PARAMETRIZATIONS)
    recipe, overrides = get_recipe(optimizer), dict(overrides or {})
    resolved = checked(recipe.options, dict(options or {}), f"options of {optimizer}")
    if refusal := resolved.refusal(parametrization):
        raise UsageError(refusal)
    small, large = _built(model_fn, base), _shape_only(model_fn, target)
    before, after = _assigned(small, overrides), _assigned(large, overrides)
    _require_same({one.names for one in before}, {one.names for one in after}, f"width {base}", f"width {target}")
    tensors = dimension_ratios(large, small)
    is_tied = any(one.is_tied for one in after)
    rules = []
    for one, grown in zip(before, after, strict=True):
        _require_growth(one, grown, base, target, tensors[one.names[0]])
        sizes = Size(one.d_out, one.d_in), Size(grown.d_out, grown.d_in)
        sides = [sides_of(recipe, resolved, one.role, size) for size in sizes]
        if parametrization == "mup" and sides[0] != sides[1]:
            raise UsageError(
                f"no width rule: {one.names[0]} is not preconditioned along the axes at width {target} that it is at {base}; "
                "change max_preconditioner_dim"
            )
        ratios = ratios_of(*sizes, sides[1], block_size=resolved.block(base))
        rules.append(
            ParameterRule(
                names=one.names,
                role=one.role,
                base=sizes[0],
                target=sizes[1],
                ratios=ratios,
                lr=final_lr(recipe, resolved, one.role, sizes[0], ratios, sides[1], parametrization=parametrization, lr=1.0),
                epsilons=final_epsilons(recipe, resolved, one.role, ratios, sides[1], parametrization=parametrization),
                init_rms=None if parametrization == "sp" else _init_rms(one, ratios, zero_readout),
            )
        )
    if base < target and all(rule.ratios.d_out == rule.ratios.d_in == 1 for rule in rules):
        raise UsageError(f"nothing grows from width {base} to {target}: does the function use its width?")
    found = WidthRules(optimizer, resolved, parametrization, base, target, tuple(rules), 1.0, (), overrides)
    if parametrization == "sp" or base == target:
        return found
    has_readout = readout_layer(large, overrides) is not None
    return replace(
        found,
        logit_multiplier=base / target if is_tied and has_readout else 1.0,
        unset=(*_of_attention(small, large, base / target), *([] if has_readout else [NO_READOUT.format(base / target)])),
    )


NO_READOUT = "no layer is known to be the readout; if the logits are made of the embedding's weight, multiply them by {:g}"


def readout_layer(model: nn.Module, overrides: Mapping[str, str] | None = None) -> nn.Module | None:
    """The layer that gives the logits, also where its weight is the embedding's; None: there is none with such a weight."""
    for one in assign_roles(model, overrides):
        if one.role == "readout" or one.is_tied:
            layers = [model.get_submodule(name.rpartition(".")[0]) for name in one.names]
            return next((layer for layer in layers if not isinstance(layer, nn.Embedding)), None)
    return None


def _multiply_input(factor: float, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0] * factor, *inputs[1:])


def _built(model_fn: ModelFn, width: int) -> nn.Module:
    """The model with its initial values. Seeded, and without a trace in torch's own stream of random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model = model_fn(width)
        except Exception as error:
            raise UsageError(f"the model at width {width}: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"the model at width {width} is no torch.nn.Module but {type(model).__name__}")
    return model


def _shape_only(model_fn: ModelFn, width: int) -> nn.Module:
    """The model without memory, unless it cannot be built so: some initialisations need values."""
    try:
        with torch.device("meta"):
            return _built(model_fn, width)
    except UsageError:
        return _built(model_fn, width)


def _assigned(model: nn.Module, overrides: Mapping[str, str]) -> list[Assigned]:
    try:
        return assign_roles(model, overrides)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _require_same(first: set[tuple[str, ...]], second: set[tuple[str, ...]], where_first: str, where_second: str) -> None:
    """Only what exists on both sides has a ratio."""
    for extra, has, lacks in ((first - second, where_first, where_second), (second - first, where_second, where_first)):
        if extra:
            name = " = ".join(min(extra))
            raise UsageError(f"{has} has {len(extra)} parameters that {lacks} has not, as {name}: width may differ, nothing else")


def _require_growth(one: Assigned, grown: Assigned, base: int, target: int, ratios: tuple[float, ...]) -> None:
    name = one.names[0]
    if one.role != grown.role:
        raise UsageError(f"{name} is {one.role} at width {base} and {grown.role} at {target}; say which by an override")
    if one.parameter.dim() != grown.parameter.dim():
        raise UsageError(f"{name} has {one.parameter.dim()} dimensions at width {base} and {grown.parameter.dim()} at {target}")
    if min(ratios, default=1) < 1:
        raise UsageError(f"{name} shrinks from {_shape(one)} at width {base} to {_shape(grown)} at {target}: no rule for that")
    fixed = {"embedding": (one.d_in, grown.d_in), "readout": (one.d_out, grown.d_out)}.get(one.role)
    if fixed and fixed[0] != fixed[1]:
        raise UsageError(
            f"{name} ({one.role}) has {fixed[0]} tokens at width {base} and {fixed[1]} at {target}: a width alone may grow"
        )


def _shape(one: Assigned) -> str:
    return " x ".join(map(str, one.parameter.shape))


def _init_rms(one: Assigned, ratios: Ratios, zero_readout: bool) -> float:
    return 0.0 if one.role == "readout" and zero_readout else root_mean_square(one.parameter) * init_multiplier(one.role, ratios)


def root_mean_square(values: Tensor) -> float:
    """Of all values of a tensor."""
    return values.detach().double().square().mean().sqrt().item()


def _of_attention(small: nn.Module, large: nn.Module, shrunk: float) -> list[str]:
    """What attention's scale needs: no parameter shows it, but the configuration of a model of transformers may."""
    before, after = _head_dim(small), _head_dim(large)
    if before is None or after is None:
        return [f"attention scale: if the head dimension grows as width does, multiply scores in 1/sqrt(d) by {shrunk**0.5:.4g}"]
    if before == after:
        return []
    factor = (before / after) ** 0.5
    return [f"attention scale: the head dimension grows from {before} to {after}; multiply scores in 1/sqrt(d) by {factor:.4g}"]


def _head_dim(model: nn.Module) -> int | None:
    config = getattr(model, "config", None)
    if isinstance(head_dim := getattr(config, "head_dim", None), int):
        return head_dim
    width, heads = getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None)
    return width // heads if isinstance(width, int) and isinstance(heads, int) else None
