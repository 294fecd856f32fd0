"""The optimizer of any model, from the final numbers of its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hptransfer.base.errors import UsageError
from hptransfer.modules.roles import Assigned, Numbers, assign_roles, with_numbers
from hptransfer.optimizers.engine import Chain, ChainOptimizer, make_optimizer
from hptransfer.optimizers.engine.hyperball import keeps_norm
from hptransfer.optimizers.engine.transforms import State, Step, is_elementwise
from hptransfer.optimizers.recipe import Options, Recipe, Setting, Sides


@dataclass(frozen=True)
class Transposed:
    """A chain on the transposes of matrices that are kept (d_in, d_out): to it rows are outputs, as everywhere."""

    chain: Chain
    name: str = "transposed"

    def init(self, like: Tensor) -> State:
        return {f"{one.name}/{key}": value for one in self.chain for key, value in one.init(like.mT).items()}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        turned, update = Step(step.number, step.grad.mT), update.mT
        for one in self.chain:
            own = {key.removeprefix(f"{one.name}/"): value for key, value in state.items() if key.startswith(f"{one.name}/")}
            update = one.apply(update, own, turned)
        step.failures += turned.failures
        return update.mT

    def flops(self, rows: int, columns: int) -> float:
        return sum(one.flops(columns, rows) for one in self.chain)


def _transposed(chain: Chain) -> Chain:
    """The chain on transposes, where it matters to it: not entry by entry, nor for the whole's norm."""
    if is_elementwise(chain):
        return chain
    return (Transposed(chain[:-1]), chain[-1]) if keeps_norm(chain) else (Transposed(chain),)


def optimizer_of(
    model: nn.Module,
    recipe: Recipe,
    options: Mapping[str, Any],
    weights: Iterable[Mapping[str, Any]],
    *,
    batch_tokens: int,
    spectral: bool,
    overrides: Mapping[str, str] | None = None,
) -> ChainOptimizer:
    """The recipe over every trainable parameter of ``model``, with the numbers of its role among ``weights`` (fields of
    `Numbers`). ``options``: without epsilons, which the weights have. Raises UsageError, one line."""
    numbers = [Numbers(**weight) for weight in weights]
    try:
        pairs = with_numbers(assign_roles(model, overrides), numbers)
    except ValueError as error:
        raise UsageError(str(error)) from None
    resolved = recipe.options.model_validate(options)
    block_size = options.get("block_size") or 0  # resolved: what a base width had to say is in it
    return optimizer_over(pairs, recipe, resolved, batch_tokens=batch_tokens, block_size=block_size, spectral=spectral)


def optimizer_over(
    parameters: Iterable[tuple[Assigned, Numbers]],
    recipe: Recipe,
    options: Options,
    *,
    batch_tokens: int,
    block_size: int = 0,
    spectral: bool = False,
) -> ChainOptimizer:
    """The recipe over parameters with their roles and final numbers: one group for each role, preconditioned sides and numbers.

    ``block_size`` of preconditioners, 0: unblocked. ``spectral``: the chain sets the update's norm. Each group says its ``kind``
    and the ``param_names`` in it.
    """
    groups: dict[tuple[object, ...], tuple[list[Assigned], Numbers, Sides]] = {}
    for one, numbers in parameters:
        sides = options.sides(one.role, one.d_out, one.d_in) if recipe.serves(one.role) else Sides()
        key = (one.role, one.transposed, sides, numbers.lr, numbers.weight_decay, *numbers.epsilons.items())
        groups.setdefault(key, ([], numbers, sides))[0].append(one)
    made, chains = [], dict[str, Chain]()
    for number, (members, numbers, sides) in enumerate(groups.values()):
        role = members[0].role
        kind = f"{role}-{number}"
        setting = Setting(
            role=role,
            sides=sides,
            epsilons=numbers.epsilons,
            batch_tokens=batch_tokens,
            block_size=block_size,
            spectral=spectral,
        )
        chain = recipe.chain(options, setting)
        chains[kind] = _transposed(chain) if members[0].transposed else chain
        made.append(
            {
                "params": [one.parameter for one in members],
                "param_names": [one.names[0] for one in members],
                "kind": kind,
                "role": role,
                "lr": numbers.lr,
                "weight_decay": numbers.weight_decay,
            }
        )
    return make_optimizer(options, made, chains)
