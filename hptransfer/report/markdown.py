"""The same answer as Markdown, for a repository or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from hptransfer.report import text
from hptransfer.report.figures import Section
from hptransfer.report.numbers import number_tables
from hptransfer.report.summary import Answer, Missing, Summary


def render_markdown(summary: Summary, sections: Sequence[Section]) -> str:
    """report.md, with links to the figures beside it."""
    scale, cost = summary.scale, summary.cost["total"]
    lines = [f"# {summary.experiment}", ""]
    if summary.description:
        lines += [summary.description, ""]
    lines += [
        f"Speaks about **width {scale.target_width}**: {scale.words}. "
        f"Tuned only at width {text.listing(list(scale.widths))}; the base width is {scale.base_width}. {text.COORDINATES} "
        "Intervals are 80 %.",
        "",
    ]
    lines += [f"- {_absent(part)}" for part in summary.missing] + ([""] if summary.missing else [])
    columns = ("arm", "learning rate", "weight decay", "expected regret", "measured regret")
    axes = [f"multiplier, {name}" for name in text.AXES.values()]
    lines += table((*columns, *axes), [_row(answer) for answer in summary.arms])
    for answer in summary.arms:
        lines += [f"- {statement}" for statement in answer.statements]
    lines += [""]
    by_role = [
        (answer.arm, role, text.plain(n.lr), text.plain(n.weight_decay), text.epsilons(n.epsilons))
        for answer in summary.arms
        for role, n in answer.roles.items()
    ]
    if by_role or any(not answer.is_program for answer in summary.arms):
        lines += ["## Final values by role", ""]
        lines += table(("arm", "role", "learning rate", "weight decay", "epsilon"), by_role)
    for section in sections:
        lines += evidence(section)
    if tables := number_tables(summary):
        lines += ["## In numbers", ""]
        for caption, names, rows in tables:
            lines += [caption, "", *table(names, rows)]
    flops = text.plain(cost.flops + cost.flops_optimizer)
    lines += ["## Cost and provenance", ""]
    data, devices = summary.provenance.corpus, " and ".join(summary.provenance.devices)
    if devices:
        spent = f"{cost.runs} runs, {text.duration(cost.wall_seconds)} of training, {flops} FLOPs on {devices}"
        lines += [f"{spent}; corpus {data.corpus} (sha256 {data.sha256[:16]})." if data else f"{spent}.", ""]
    return "\n".join(lines)


def evidence(section: Section) -> list[str]:
    """A section with its figures and their notes."""
    lines = [f"## {section.title}", "", section.intro, ""]
    for figure in section.figures:
        lines += [f"![{section.title}, {figure.title}](figures/{figure.name}.svg)", ""]
        lines += [figure.note, ""] if figure.note else []
    return lines + [f"{remark}\n" for remark in section.remarks] + [f"{_absent(part)}\n" for part in section.missing]


def _row(answer: Answer) -> tuple[str, ...]:
    found, decay = answer.hyperparameters, answer.weight_decay
    if answer.expected_regret is None:
        return (answer.arm, *["-"] * (4 + len(text.AXES)))
    measured = "-" if answer.regret is None else f"{text.percent(answer.regret.value)} {text.percent_bounds(answer.regret)}"
    multipliers = answer.speedup.compute_multiplier if answer.speedup else {}
    speedups = (multipliers.get(axis) for axis in text.AXES)
    return (
        answer.arm,
        f"{text.plain(found['lr'].value)} {text.bounds(found['lr'])}",
        "-" if decay is None else f"{text.plain(decay.value)} {text.bounds(decay)}",
        text.percent(answer.expected_regret),
        measured,
        *map(text.multiplier_in_full, speedups),
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table, and the empty line after it."""
    cells = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells] + [""]


def _absent(part: Missing) -> str:
    return f"{part.sentence} Next: `{part.command}`"
