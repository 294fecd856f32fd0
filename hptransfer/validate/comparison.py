"""Two experiments side by side: what differs in their settings, and what each found. Pure: results in, one object out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import scipy  # loads its parts when they are asked for: stats takes a second

from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.words import count, ends, known, listing, plain
from hptransfer.experiment import Experiment
from hptransfer.runs import Point
from hptransfer.transfer.prediction import Estimate
from hptransfer.validate.result import AXES, Axis, Multiplier
from hptransfer.validate.results import Results
from hptransfer.validate.significance import welch_freedom
from hptransfer.validate.verdict import annealed

Agreement = Literal["agree", "differ", "unknown", "not judged"]
NOT_SETTINGS = ("name", "description")
QUANTITIES = {"lr": "learning rates", "hidden_lr": "learning rates of hidden matrices", "weight_decay": "weight decays"}


class Difference(Frozen):
    """A field that differs, by its dotted name, with its values as --set takes them. None: the experiment does not have it."""

    name: str
    a: str | None
    b: str | None


class Quantity(Frozen):
    """One number of both experiments with 80 % intervals, and B's over A's. ``agreement``: whether the interval of the ratio
    holds 1; unknown where one of its ends is not bounded and the other does not decide, not judged where the rules alone change
    the number from one experiment to the other."""

    a: Interval
    b: Interval
    ratio: Interval
    agreement: Agreement


class HeldOutLoss(Frozen):
    """The predicted run of one arm at the held-out width: mean loss in nats per token, and its standard error."""

    experiment: str
    arm: str
    optimizer: str | None
    parametrization: str
    width: int
    tokens: int | None
    loss: float
    standard_error: float
    freedom: int  # degrees of freedom behind the standard error
    seeds: int

    @property
    def words(self) -> str:
        """The run by its arm and experiment."""
        return f"{self.arm} of {self.experiment}"


class Pairing(Frozen):
    """One arm in both experiments, or one recipe under two parametrizations. None and empty: not known or refused in one of
    them, which ``missing`` says.

    ``lr`` in base coordinates; ``hidden_lr``, the final one of the hidden matrices, where those coordinates differ.
    ``losses`` are those of the predicted runs, nats per token; ``loss`` is B's over A's minus 1, None where the runs are not
    comparable. ``notes`` say what of it no run told.
    """

    optimizer: str | None
    a: str
    b: str
    lr: Quantity | None = None
    hidden_lr: Quantity | None = None
    weight_decay: Quantity | None = None
    regret: tuple[Interval | None, Interval | None] = (None, None)
    losses: tuple[float | None, float | None] = (None, None)
    loss: Interval | None = None
    multipliers: dict[Axis, tuple[Multiplier | None, Multiplier | None]] = {}
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The arm, or both where they differ."""
        return self.a if self.a == self.b else f"{self.a} against {self.b}"


class Comparison(Frozen):
    """What comparing two experiments gives. ``not_comparable``: why losses at the held-out widths say nothing about each other;
    ``caveats``: what else must be known to read the numbers."""

    a: str
    b: str
    settings: tuple[Difference, ...]
    arms: tuple[Pairing, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    held_out: tuple[HeldOutLoss, ...]
    not_comparable: str | None
    caveats: tuple[str, ...]
    runs: tuple[int, int]
    shared_runs: int


def comparison_of(a: Results, b: Results, names: tuple[str, str]) -> Comparison:
    """The comparison of two experiments, called ``names``."""
    reason, both = _not_comparable(a, b, names), paired(a.experiment, b.experiment)
    held_out = [*_held_out(a, names[0]), *_held_out(b, names[1])]
    runs_a, runs_b = ({record.run_id for record in found.records} for found in (a, b))
    shared = len(runs_a & runs_b)
    return Comparison(
        a=names[0],
        b=names[1],
        settings=tuple(differing(a.experiment, b.experiment)),
        arms=tuple(_pairing(a, b, *pair, names, is_comparable=reason is None) for pair in both),
        only_a=tuple(arm.name for arm in a.arms if arm.name not in [one for one, _ in both]),
        only_b=tuple(arm.name for arm in b.arms if arm.name not in [other for _, other in both]),
        held_out=tuple(sorted(held_out, key=lambda run: run.loss)) if reason is None else tuple(held_out),
        not_comparable=reason,
        caveats=tuple(_caveats(a, b, names, shared)),
        runs=(len(runs_a), len(runs_b)),
        shared_runs=shared,
    )


def differing(a: Experiment, b: Experiment) -> Iterable[Difference]:
    """The settings that differ, in the order of the experiment file."""
    flat_a, flat_b = (dict(_flat(one.model_dump(mode="json", exclude=set(NOT_SETTINGS)))) for one in (a, b))
    for name in dict.fromkeys((*flat_a, *flat_b)):
        if flat_a.get(name) != flat_b.get(name):
            yield Difference(name=name, a=flat_a.get(name), b=flat_b.get(name))


def paired(a: Experiment, b: Experiment) -> list[tuple[str, str]]:
    """The arms that both have, by name, those of one recipe together; of a recipe that they have under other parametrizations
    alone, the first of each."""
    found: list[tuple[str, str]] = []
    for optimizer in dict.fromkeys(arm.optimizer for arm in a.compared):
        ours, theirs = ([arm for arm in one.compared if arm.optimizer == optimizer] for one in (a, b))
        both = [(arm.name, arm.name) for arm in ours if arm.name in {other.name for other in theirs}]
        apart = not {arm.parametrization for arm in ours} & {arm.parametrization for arm in theirs}
        found += both or ([(ours[0].name, theirs[0].name)] if theirs and apart else [])
    return found


def quantity(a: Interval, b: Interval, *, judged: bool = True) -> Quantity | None:
    """Two numbers and their ratio; None where one is 0. The interval of the ratio adds their distances to the ends in
    quadrature, on the log scale: the two are taken as independent. ``judged``: whether no rule alone makes them differ."""
    if a.value <= 0 or b.value <= 0:
        return None
    low = _off(_log(a.high, a.value), _log(b.low, b.value))
    high = _off(_log(a.low, a.value), _log(b.high, b.value))
    value = b.value / a.value
    ratio = Interval(
        value=value,
        low=None if low is None else value * math.exp(-low),
        high=None if high is None else value * math.exp(high),
    )
    return Quantity(a=_plain(a), b=_plain(b), ratio=ratio, agreement=agreement(ratio) if judged else "not judged")


def agreement(ratio: Interval) -> Agreement:
    """Whether the interval of a ratio holds 1."""
    if (ratio.low is not None and ratio.low > 1) or (ratio.high is not None and ratio.high < 1):
        return "differ"
    return "unknown" if ratio.low is None or ratio.high is None else "agree"


def loss_ratio(a: HeldOutLoss, b: HeldOutLoss) -> Interval:
    """Loss of B over that of A, minus 1, with an 80 % interval from Student's t: the seeds are few. Freedom by Welch."""
    value = b.loss / a.loss - 1
    variances = (a.standard_error / a.loss) ** 2, (b.standard_error / b.loss) ** 2
    freedom = welch_freedom(variances, (a.freedom, b.freedom))
    half = float(scipy.stats.t.ppf(0.9, freedom)) * math.sqrt(sum(variances)) * b.loss / a.loss
    return Interval(value=value, low=value - half, high=value + half)


def findings(comparison: Comparison) -> list[str]:
    """The answer, one sentence each: who ended lowest, and per arm whether the predictions agree."""
    found = [comparison.not_comparable] if comparison.not_comparable else list(_lowest(comparison))
    for pairing in comparison.arms:
        for name, what in QUANTITIES.items():
            quantity: Quantity | None = getattr(pairing, name)
            if quantity and quantity.agreement != "not judged" and (name, quantity.agreement) != ("weight_decay", "unknown"):
                found.append(f"{pairing.name}: the predicted {what} {_agreement_words(comparison, quantity)}")
        found += [f"{pairing.name}: {sentence}" for sentence in pairing.missing]
    return found


def _lowest(comparison: Comparison) -> Iterator[str]:
    if len({run.experiment for run in comparison.held_out}) > 1:
        first, second, *_ = comparison.held_out
        change = loss_ratio(first, second)
        noise = ", which may be noise" if change.low is None or change.low <= 0 else ""
        yield f"Lowest loss at the held-out width: {first.words}, {first.loss:.4f}."
        yield f"{second.words} follows with {second.loss:.4f}, {change_words(change)}{noise}."


def _agreement_words(comparison: Comparison, quantity: Quantity) -> str:
    ratio = f"{comparison.b}'s over {comparison.a}'s is {ratio_words(quantity.ratio)}"
    ending = {"agree": "agree: {}, an interval that holds 1.", "differ": "differ: {}, an interval that does not hold 1."}
    unknown = "can neither be told apart nor called equal, for an interval is open at one end: {}."
    return ending.get(quantity.agreement, unknown).format(ratio)


def ratio_words(ratio: Interval) -> str:
    """A factor with its interval."""
    return f"{plain(ratio.value)}x ({ends(ratio)})"


def change_words(change: Interval) -> str:
    """A relative difference, signed, in percent."""
    low, high = (100 * (end or 0.0) for end in (change.low, change.high))
    return f"{100 * change.value:+.2f} % ({low:+.2f} to {high:+.2f})"


def _pairing(a: Results, b: Results, of_a: str, of_b: str, names: tuple[str, str], *, is_comparable: bool) -> Pairing:
    missing: list[str] = []
    told = a.predictions.get(of_a), b.predictions.get(of_b)
    tested = a.validations.get(of_a), b.validations.get(of_b)
    for name, results, arm, prediction, validation in zip(names, (a, b), (of_a, of_b), told, tested, strict=True):
        if refused := results.refused.get(arm):
            missing.append(f"{name}: No prediction: {refused.text}.")
        elif prediction is None:
            missing.append(f"{name} has no prediction for {arm} yet.")
        elif validation is None:
            missing.append(f"{name} has not tested its prediction for {arm} yet.")
        elif validation.refusal:
            missing.append(f"{name}: {validation.refusal.text}")
    found: dict[str, Any] = {}
    if told[0] and told[1]:
        lr, decay = ([getattr(p, name) for p in told if p] for name in ("lr", "weight_decay"))
        same_base, same_target = (len({of(p.point) for p in told if p}) == 1 for of in (_coordinates, _size))
        found["lr"] = quantity(*lr, judged=same_base)
        found["notes"] = ()
        if all(decay):
            found["weight_decay"] = quantity(*decay, judged=same_target)
            found["notes"] = tuple(dict.fromkeys(_decay_notes(names, decay)))
        if not same_base:
            final = [_scaled(p.lr, p.roles["hidden"].lr) for p in told if p and "hidden" in p.roles]
            found["hidden_lr"] = quantity(*final, judged=same_target) if len(final) == len(told) else None
        if not same_target:
            found["notes"] += ("Final values are not judged: from one held-out run to the other the rules alone change them.",)
    one, other = _run(a, of_a, names[0]), _run(b, of_b, names[1])
    found["losses"] = (one and one.loss, other and other.loss)
    if is_comparable and one and other:
        found["loss"] = loss_ratio(one, other)
    speedups = [validation.speedup.compute_multiplier if validation and validation.speedup else {} for validation in tested]
    axes: Iterable[Axis] = (axis for axis in AXES if any(axis in speedup for speedup in speedups))
    found["multipliers"] = {axis: tuple(speedup.get(axis) for speedup in speedups) for axis in axes}
    found["regret"] = tuple(validation.regret if validation else None for validation in tested)
    own = a.experiment.arm(of_a)
    return Pairing(optimizer=own.optimizer, a=of_a, b=of_b, missing=tuple(missing), **found)


def _decay_notes(names: tuple[str, str], decay: Sequence[Estimate]) -> Iterable[str]:
    """Where the runs did not tell the weight decay, and the rule gave it."""
    for name, found in zip(names, decay, strict=True):
        same = decay[0].words == decay[1].words
        if not found.is_fitted:
            yield f"Weight decay of {'both' if same else name}: {found.words}."


def _coordinates(point: Point) -> tuple[Any, ...]:
    """What turns a learning rate in base coordinates into a final one."""
    base = point.settings["base"]
    return point.settings["parametrization"], base["width"], base.get("depth")


def _size(point: Point) -> tuple[Any, ...]:
    """What the rules turn base values into final ones by, beside the base."""
    decay = (
        (point.scales.get("tokens"), point.scales.get("batch_tokens"))
        if point.settings["weight_decay_rule"] == "constant_tau"
        else ()
    )
    return point["width"], point.scales.get("depth"), *decay


def _held_out(results: Results, name: str) -> Iterable[HeldOutLoss]:
    return (run for arm in results.arms if (run := _run(results, arm.name, name)) is not None)


def _run(results: Results, arm: str, name: str) -> HeldOutLoss | None:
    """The predicted run of an arm; None where it has not finished on every seed."""
    validation = results.validations.get(arm)
    run = validation.predicted if validation else None
    if validation is None or run is None or run.loss is None or run.standard_error is None:
        return None
    return HeldOutLoss(
        experiment=name,
        arm=arm,
        optimizer=validation.optimizer,
        parametrization=validation.parametrization,
        width=validation.width,
        tokens=run.tokens,
        loss=run.loss,
        standard_error=run.standard_error,
        freedom=max(1, validation.noise.freedom),
        seeds=len(run.losses),
    )


def _not_comparable(a: Results, b: Results, names: tuple[str, str]) -> str | None:
    """Why losses of held-out runs say nothing about each other, in one sentence: other text, or not all annealed."""
    one, other = (_text(results) for results in (a, b))
    if one is None or other is None:
        return None  # no runs, no losses
    both = [(what, one.get(what, "none"), other.get(what, "none")) for what in dict.fromkeys((*one, *other))]
    parts = [f"{what} ({first} and {second})" for what, first, second in both if first != second]
    if parts:
        return f"Losses at the held-out width are not compared: {names[0]} and {names[1]} differ in {listing(parts)}."
    ends: dict[bool, list[str]] = {}
    for name, results in zip(names, (a, b), strict=True):
        for arm in results.validations:
            ends.setdefault(annealed(results.predictions[arm].point), []).append(f"{arm} of {name}")
    if len(ends) < 2:
        return None
    amid = f"those of {listing(ends[False])} end in mid-schedule (constant)"
    return f"Losses at the held-out width are not compared: {amid}, the others annealed."


def _text(results: Results) -> Mapping[str, Any] | None:
    """What the validation loss is measured on."""
    data, experiment = results.members.corpus, results.experiment
    if program := experiment.trainer:
        return {"how the loss is read": str(program.loss), "maximize": program.maximize} if results.records else None
    if data is None:
        return None
    return {
        "corpus": data.corpus,
        "tokenizer": data.tokenizer,
        "vocabulary": data.vocab,
        "version of the corpus": data.sha256[:12],
        "validation tokens": experiment.evaluation.tokens,
        "context": experiment.model.context,
    }


def _caveats(a: Results, b: Results, names: tuple[str, str], shared: int) -> Iterable[str]:
    if a.target and b.target:
        sizes = [(t.point["width"], t.parameters, t.point.scales.get("tokens")) for t in (a.target, b.target)]
        if sizes[0] != sizes[1]:
            words = [
                f"{n} width {w}, {known(p, count)} parameters, {known(t, count)} tokens"
                for n, (w, p, t) in zip(names, sizes, strict=True)
            ]
            yield f"The held-out runs are not of one size ({'; '.join(words)}): a lower loss need not be the better setting."
    if shared:
        yield f"{shared} runs are in both: what rests on them differs by less than the intervals of the ratios say."


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif value != {}:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _scaled(lr: Interval, final: float) -> Interval:
    """The interval of a final number: relative, that of the base value."""
    factor = final / lr.value
    low, high = (None if end is None else end * factor for end in (lr.low, lr.high))
    return Interval(value=final, low=low, high=high)


def _plain(interval: Interval) -> Interval:
    return Interval(value=interval.value, low=interval.low, high=interval.high)


def _log(end: float | None, value: float) -> float | None:
    """Distance of an end from the value; None where it is not bounded."""
    return abs(math.log(end / value)) if end is not None and end > 0 else None


def _off(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)
