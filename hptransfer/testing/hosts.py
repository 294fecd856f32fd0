"""What every host must do: say in its own files what was predicted, after its own scaling, or refuse in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hptransfer.export.canonical import Canonical, Training
from hptransfer.export.host import Host
from hptransfer.modules.schedule import schedule_factor
from hptransfer.testing.small import require

NOT_SAID = object()
"""Of what a host's files do not hold: whoever starts the run says it elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a host makes of its files: read by its own parser, with its own scaling applied.

    ``lr`` and ``weight_decay`` are by role, the peak and the independent decay: where the host decays by lr * wd, that product.
    A host that scales by shape says them by kind of weight instead.
    ``options``: values by the names that the record's options have (beta1, beta2, momentum, adam.beta1, ...); ``epsilons`` by
    role. ``factors``: share of the peak at each step, by the host's own scheduler; ``final_lr``: after the last step.
    ``clip_norm`` None: gradients are not clipped.
    """

    lr: Mapping[str, float]
    weight_decay: Mapping[str, float]
    epsilons: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    clip_norm: object
    steps: object = NOT_SAID
    batch_tokens: object = NOT_SAID
    context: object = NOT_SAID
    warmup_steps: object = NOT_SAID
    shape: object = NOT_SAID
    cooldown_fraction: object = NOT_SAID
    factors: Sequence[float] = ()
    cooldown_steps: object = NOT_SAID
    final_lr: object = NOT_SAID
    seed: object = NOT_SAID


Hear = Callable[[Mapping[str, str], Canonical], Heard]


def check_host(host: Host, records: Mapping[str, Canonical], hear: Hear, *, roles: Iterable[str]) -> list[str]:
    """Run every check of a host on ``records``, by name, and return the names of those that it can say.

    ``hear(files, record)``: what the host makes of its files, by its own parser where that is installed. ``roles``: those that
    the host must give their own numbers. Raises AssertionError, one line.
    """
    said = []
    for name, record in records.items():
        where = f"{host.name}, {name}"
        why = host.refuse(record)
        if why is not None:
            require(bool(why.strip()) and "\n" not in why, f"{where}: refused without one line of words")
            continue
        files = host.render(record)
        require(bool(files), f"{where}: no file")
        _says_where_it_comes_from(where, files, record)
        _is_heard_as_predicted(where, hear(files, record), record, roles)
        require(host.render(record) == files, f"{where}: the same record gives other files")
        said.append(name)
    require(bool(said), f"{host.name} can say none of {', '.join(records)}")
    return said


def _says_where_it_comes_from(where: str, files: Mapping[str, str], record: Canonical) -> None:
    """The prediction, its intervals and its runs stand in the files."""
    text = "\n".join(files.values())
    require(record.prediction in text, f"{where}: the prediction's digest is not in the files")
    for run in record.provenance.get("run_ids", ()):
        require(run in text, f"{where}: run {run} is not named")


def _is_heard_as_predicted(where: str, heard: Heard, record: Canonical, roles: Iterable[str]) -> None:
    optimizer, _, _, training = record.known
    wanted_roles = {*roles}
    for weight in optimizer.weights:
        if weight.role not in wanted_roles:
            continue
        kind = weight.kind if weight.kind in heard.lr else weight.role
        _agree(f"{where}: lr of {kind}", heard.lr[kind], weight.lr)
        if kind in heard.weight_decay:
            _agree(f"{where}: weight decay of {kind}", heard.weight_decay[kind], weight.weight_decay)
    for role, epsilon in heard.epsilons.items():
        _agree(f"{where}: epsilon of {role}", epsilon, optimizer.roles[role].epsilons["eps"])
    for name, value in heard.options.items():
        node: object = optimizer.options
        for part in name.split("."):
            node = node[part]  # type: ignore[index]
        _agree(f"{where}: {name}", value, node)
    schedule = training.schedule
    _agree(f"{where}: clip_norm", heard.clip_norm, optimizer.options.get("clip_norm"))
    wanted: dict[str, object] = {
        "steps": training.steps,
        "batch_tokens": training.batch_tokens,
        "context": training.context,
        "warmup_steps": schedule.warmup_steps,
        "shape": schedule.shape,
        "final_lr": 1.0 if schedule.shape == "constant" else 0.0,
        "seed": training.init_seed,
    }
    if schedule.shape == "trapezoid":
        wanted["cooldown_fraction"] = schedule.cooldown_fraction
        wanted["cooldown_steps"] = training.cooldown_steps
    for name, value in wanted.items():
        if getattr(heard, name) is not NOT_SAID:
            _agree(f"{where}: {name}", getattr(heard, name), value)
    if heard.factors:
        _is_scheduled(where, heard.factors, training)


def _is_scheduled(where: str, factors: Sequence[float], training: Training) -> None:
    """s(t) at every step; a host's warm-up may begin at 0 or at the first of its steps."""
    _agree(f"{where}: steps of the schedule", len(factors), training.steps)
    warmup = training.schedule.warmup_steps
    shape = {"warmup_steps": warmup, **training.schedule.model_dump(include={"shape", "cooldown_fraction"})}
    for step, factor in enumerate(factors):
        if step < warmup:
            require(step / warmup <= factor <= (step + 1) / warmup, f"{where}: factor {factor} at step {step} of the warm-up")
        else:
            _agree(f"{where}: factor at step {step}", factor, schedule_factor(step, steps=training.steps, **shape))


def _agree(what: str, found: object, wanted: object) -> None:
    """Raises AssertionError unless numbers agree to 1e-6, and all else is equal."""
    if isinstance(found, int | float) and isinstance(wanted, int | float) and not isinstance(wanted, bool):
        require(math.isclose(found, wanted, rel_tol=1e-6, abs_tol=1e-30), f"{what} is heard as {found}, predicted {wanted}")
    else:
        require(found == wanted, f"{what} is heard as {found!r}, predicted {wanted!r}")
