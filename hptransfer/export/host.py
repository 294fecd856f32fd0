"""What a host is: a production trainer, what of a prediction it can say, and how it is said in its own form.

A host un-applies the scaling that the trainer itself puts on a number, and refuses in words what the trainer cannot do.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from hptransfer.export.canonical import Canonical, Optimizer
from hptransfer.optimizers import get_recipe


class Host(Protocol):
    """A production trainer. ``name`` is that of ``--target``; ``version`` says which release of it the files are for."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def refuse(self, record: Canonical) -> str | None:
        """Why the host cannot do what was predicted, in words; None: it can."""
        ...

    def render(self, record: Canonical) -> dict[str, str]:
        """The host's files, text by name. Of records that are not refused."""
        ...


def unknown_run(record: Canonical) -> str | None:
    """Why nothing but its record can be written of a table's or a program's run; None where the run is known."""
    if record.command is not None:
        return "the run is a program of yours: its configuration is its command, which json holds"
    if record.run is None:
        return f"predicted from a table: {', '.join(record.unknown)} unknown; json holds what is known"
    return None


def unread_average(record: Canonical, host: str) -> str | None:
    """Why a trainer that evaluates and saves what it steps cannot have a schedule-free recipe; None where the run is none.
    ``host``: what it is called in words."""
    optimizer = record.known.optimizer
    if get_recipe(optimizer.recipe).averages:
        return f"a {optimizer.recipe} run is read at the average of its iterates, and {host} evaluates and saves the iterates"
    return None


def refusal(
    record: Canonical,
    host: str,
    recipes: Collection[str],
    *,
    role_wise: bool = True,
    cautious: bool = False,
    wd_schedule: bool = False,
) -> str | None:
    """What most hosts cannot do: an unknown run, a recipe that is not among ``recipes``, updates normalised online, cautious
    weight decay unless ``cautious``, a weight-decay schedule beside that of the learning rate unless ``wd_schedule``, and, unless
    ``role_wise`` is off, different numbers for weights of one role. ``host``: what it is called in words."""
    if (unknown := unknown_run(record)) is not None:
        return unknown
    optimizer, parametrization, _, training = record.known
    if optimizer.recipe not in recipes:
        return f"{host} has no {optimizer.recipe}; it has {', '.join(recipes)}"
    if parametrization.name == "spectral":
        return f"under spectral the norm of each update is set online, which {host} cannot"
    if not cautious and optimizer.options.get("cautious_weight_decay"):
        return f"{host} has no cautious weight decay"
    if not wd_schedule and training.schedule.weight_decay != "constant":
        return f"{host} has no schedule of weight decay beside that of the learning rate"
    if role_wise:
        for role in dict.fromkeys(weight.role for weight in optimizer.weights):
            if role not in optimizer.roles:
                return f"weights of the role {role} have different numbers by shape, and {host} has one for all of them"
    return None


def same(one: float, other: float) -> bool:
    """Whether two learning rates are one but for rounding."""
    return math.isclose(one, other, rel_tol=1e-9)


def present(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate of each role that the model has, but for hidden matrices, whose own may differ."""
    roles = {weight.role for weight in optimizer.weights if weight.count and weight.role != "hidden"}
    return {role: numbers.lr for role, numbers in optimizer.roles.items() if role in roles}


def other_epsilons(optimizer: Optimizer, given: Mapping[str, float]) -> list[str]:
    """What to say of the roles whose epsilon in the host, ``given``, is not the predicted one."""
    return [
        f"epsilon of {role} is {eps:.6g} here, predicted {optimizer.roles[role].epsilons['eps']:.6g}"
        for role, eps in given.items()
        if role in present(optimizer) and not same(eps, optimizer.roles[role].epsilons["eps"])
    ]


def command_line(program: str, flags: Mapping[str, object]) -> str:
    """A command of a shell, a flag a line, and whatever the script is given after them; True is a flag alone."""
    lines = [flag if value is True else f"{flag} {value}" for flag, value in flags.items()]
    return " \\\n  ".join([program, *lines, '"$@"']) + "\n"


def comments(
    record: Canonical, host: str, version: str, mark: str = "#", scaled: str | None = None, otherwise: Iterable[str] = ()
) -> str:
    """What every file says at its head, in the host's syntax for comments: where its numbers come from, how sure they are, what
    the host must be told elsewhere, and what it does ``otherwise``. ``scaled``: how the host scales them; None: they are final.
    Ends with a newline."""
    lines = [
        f"{record.name}: hptransfer {record.hptransfer} for {host} {version}",
        f"prediction {record.prediction}, {', '.join(f'{name} {value:g}' for name, value in record.scales.items())}",
    ]
    for name, one in record.interval_80.items():
        name = "lr of hidden matrices at the base shape" if name == "lr" and record.run else name
        ends = f"80 % interval {_end(one.low)} to {_end(one.high)}"
        lines.append(f"{name} {one.value:.6g} ({ends}; {one.status})")
    if record.expected_regret is not None:
        lines.append(f"expected regret {record.expected_regret:.3%} of the loss")
    if record.parametrization is not None:
        base = ", ".join(f"{name} {value:g}" for name, value in record.parametrization.base.items())
        final = "the numbers below are final" if scaled is None else f"not final: {scaled}"
        lines.append(f"parametrization {record.parametrization.name} from {base}; {final}")
    if record.run is not None:
        rates = ", ".join(f"{weight.kind} {weight.lr:.6g}" for weight in record.run.optimizer.weights if weight.count)
        lines.append(f"final learning rates{'' if scaled is None else ', after that'}: {rates}")
    if training := record.training:
        schedule = training.schedule
        shape = f"{schedule.shape}" + (f" over the last {schedule.cooldown_fraction:g}" if schedule.shape == "trapezoid" else "")
        lines += [
            f"{training.steps} steps of {training.batch_sequences} sequences x {training.context} tokens = "
            f"{training.batch_tokens} tokens; {training.tokens} in all",
            f"schedule {shape}, warm-up {schedule.warmup_steps} steps ({schedule.warmup_tokens} tokens), "
            f"weight decay {schedule.weight_decay} besides; precision {training.precision}",
            f"searched with init_seed {training.init_seed}, data_seed {training.data_seed}",
        ]
    lines += [f"you must set this: {one}" for one in must_set(record)]
    lines += [f"not as predicted: {one}" for one in otherwise]
    if record.unknown:
        lines.append(f"unknown: {', '.join(record.unknown)}")
    lines += provenance(record)
    wrapped = (part for line in lines for part in textwrap.wrap(line, 116, subsequent_indent="  "))
    return "".join(f"{mark} {line}\n" for line in wrapped)


def must_set(record: Canonical) -> list[str]:
    """What of the model the prediction rests on and a configuration of the optimizer cannot say."""
    if record.run is None:
        return []
    model, multiplier = record.run.model, record.run.parametrization.residual_multiplier
    init = ", ".join(f"{kind} {how}" for kind, how in model.init.items())
    return [
        f"width {model.width}, depth {model.depth}, vocabulary {model.vocab}: {model.architecture}",
        f"init: {init}",
        *([] if multiplier == 1 else [f"each residual branch times {multiplier:g} (base depth / depth)"]),
        *(["evaluate and save within `with optimizer.averaged():`"] if get_recipe(record.run.optimizer.recipe).averages else []),
    ]


def provenance(record: Canonical) -> list[str]:
    """The experiment, store or table, versions, and the runs that the prediction rests on."""
    source = dict(record.provenance)
    runs, versions = source.pop("run_ids", ()), source.pop("versions", {})
    lines = [", ".join(f"{name} {value}" for name, value in source.items())] if source else []
    lines += [", ".join(f"{name} {value}" for name, value in versions.items())] if versions else []
    return lines + ([f"from {len(runs)} runs: {' '.join(runs)}"] if runs else [])


def _end(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:.6g}"
