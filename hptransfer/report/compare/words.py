"""What a comparison comes to, in sentences and table cells: the same on the page, in Markdown and in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from hptransfer.base.intervals import Interval
from hptransfer.report import text
from hptransfer.report.compare.result import Comparison, HeldOutLoss, Pairing, Quantity, loss_ratio

ABSENT = "-"

Row = tuple[str, str, str, str]  # what, A, B, B over A


def findings(comparison: Comparison) -> list[str]:
    """The answer, one sentence each: who ended lowest, and per arm whether the predictions agree."""
    found = list(_lowest(comparison))
    for pairing in comparison.arms:
        judged = (
            ("learning rates", pairing.lr),
            ("learning rates of hidden matrices", pairing.hidden_lr),
            ("weight decays", _identified(pairing)),
        )
        for what, quantity in judged:
            if quantity and quantity.agreement != "not judged":
                found.append(f"{pairing.name}: the predicted {what} {_verdict(comparison, quantity)}")
        found += [f"{pairing.name}: {sentence}" for sentence in pairing.missing]
    return found


def settings(comparison: Comparison) -> str:
    """How many settings differ."""
    if not comparison.settings:
        return "The two have the same settings."
    alone = [
        f"{text.listing(list(names))} {'is' if len(names) == 1 else 'are'} in {one} only"
        for one, names in ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b))
        if names
    ]
    ending = f" {'; '.join(alone)}." if alone else ""
    return f"Only what differs, by the names that --set takes.{ending}"


def rows(pairing: Pairing) -> list[Row]:
    """The table of one arm."""
    found: list[Row] = [("learning rate", *_cells(pairing.lr))]
    if pairing.hidden_lr:
        found.append(("learning rate of hidden matrices", *_cells(pairing.hidden_lr)))
    found.append(("weight decay", *_cells(pairing.weight_decay)))
    found.append(("measured regret", _percent(pairing.regret[0]), _percent(pairing.regret[1]), ""))
    loss = "" if pairing.loss is None else _change(pairing.loss)
    found.append(("loss at the held-out width", _loss(pairing.losses[0]), _loss(pairing.losses[1]), loss))
    for axis, (a, b) in pairing.multipliers.items():
        found.append((f"compute multiplier, {text.AXES[axis]}", text.multiplier_in_full(a), text.multiplier_in_full(b), ""))
    return found


def run_words(run: HeldOutLoss) -> str:
    """A held-out run by its arm and experiment."""
    return f"{run.arm} of {run.experiment}"


def _lowest(comparison: Comparison) -> Iterable[str]:
    if comparison.not_comparable:
        yield comparison.not_comparable
        return
    if len({run.experiment for run in comparison.held_out}) < 2:
        return
    first, second, *_ = comparison.held_out
    change = loss_ratio(first, second)
    noise = ", which may be noise" if change.low is None or change.low <= 0 else ""
    yield (
        f"Lowest loss at the held-out width: {run_words(first)}, {first.loss:.4f}; {run_words(second)} follows with "
        f"{second.loss:.4f}, {_change(change)}{noise}."
    )


def _verdict(comparison: Comparison, quantity: Quantity) -> str:
    ratio = f"{comparison.b}'s over {comparison.a}'s is {_ratio(quantity.ratio)}"
    match quantity.agreement:
        case "agree":
            return f"agree: {ratio}, an interval that holds 1."
        case "differ":
            return f"differ: {ratio}, an interval that does not hold 1."
    return f"can neither be told apart nor called equal, for an interval is open at one end: {ratio}."


def _identified(pairing: Pairing) -> Quantity | None:
    """The weight decays, where the runs told them and not the rule alone."""
    found = pairing.weight_decay
    return found if found and found.agreement != "unknown" else None


def _cells(quantity: Quantity | None) -> tuple[str, str, str]:
    if quantity is None:
        return ABSENT, ABSENT, ""
    a, b = (f"{text.plain(one.value)} {text.bounds(one)}" for one in (quantity.a, quantity.b))
    return a, b, _ratio(quantity.ratio)


def _ratio(ratio: Interval) -> str:
    return f"{text.plain(ratio.value)}x {text.bounds(ratio)}"


def _change(change: Interval) -> str:
    """A relative difference, signed, in percent."""
    low, high = (100 * (end or 0.0) for end in (change.low, change.high))
    return f"{100 * change.value:+.2f} % ({low:+.2f} to {high:+.2f})"


def _loss(loss: float | None) -> str:
    return ABSENT if loss is None else f"{loss:.4f}"


def _percent(interval: Interval | None) -> str:
    return ABSENT if interval is None else f"{text.percent(interval.value)} {text.percent_bounds(interval)}"
