"""The answer in the terminal."""

from __future__ import annotations

from hptransfer import cli
from hptransfer.report import text
from hptransfer.report.summary import Answer, Summary
from hptransfer.report.verdicts import headline


def show(summary: Summary) -> None:
    """Print one table and what is said of each arm, on stderr."""
    columns = ("arm", "LR", "80 %", "WD", "regret", "80 %", "speedup", "80 %", "p-value")
    title = f"{summary.experiment} at width {summary.scale.target_width}: {summary.scale.words}"
    cli.table(title, columns, [_row(answer) for answer in summary.arms])
    cli.console.print(text.COORDINATES, markup=False)
    for answer in summary.arms:
        for statement in answer.statements:
            cli.console.print(statement, markup=False)
    for part in summary.missing:
        cli.console.print(f"missing: {part.sentence}", markup=False)


def _row(answer: Answer) -> tuple[str, ...]:
    found, decay = answer.hyperparameters, answer.weight_decay
    if not found:
        return answer.arm, *["-"] * 8
    regret = ("-", "-") if answer.regret is None else (text.percent(answer.regret.value), text.percent_bounds(answer.regret))
    return (
        answer.arm,
        text.plain(found["lr"].value),
        text.bounds(found["lr"]),
        "-" if decay is None else text.plain(decay.value),
        *regret,
        *_speedup(answer),
    )


def _speedup(answer: Answer) -> tuple[str, str, str]:
    measured = headline(answer.speedup.compute_multiplier) if answer.speedup else None
    if measured is None:
        return "-", "-", "-"
    _, multiplier = measured
    p = "-" if multiplier.p_value is None else text.probability(multiplier.p_value)
    return text.multiplier(multiplier), text.multiplier_bounds(multiplier), p
