"""The ``trainer`` section of an experiment: a user's program, where it says its loss, and what is known of its sizes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Self

from pydantic import Field, model_validator

from hptransfer.base.errors import UsageError
from hptransfer.base.frozen import Frozen, Written
from hptransfer.experiment.formula import FUNCTIONS, evaluate, names_in
from hptransfer.experiment.settings import Parametrization
from hptransfer.experiment.template import Template
from hptransfer.runs.point import Number

Formula = str | int | float
SIZES = ("parameters", "batch_tokens", "tokens", "flops")


class ProgramFiles(Frozen):
    """Identity of the files that a program is made of: their SHA-256 by the names that the command gives them."""

    sha256: dict[str, str] = {}


class LossKey(Frozen):
    """A key of a JSON, JSON-lines or CSV file that the program writes; its last value counts. ``{folder}`` is the run's own."""

    file: str
    key: str

    @model_validator(mode="after")
    def _is_of_the_run(self) -> Self:
        if "{folder}" not in self.file or set("{}") & set(self.file.replace("{folder}", "")):
            raise ValueError(f"file {self.file!r}: write it to {{folder}}, the run's own, or runs side by side share it")
        return self


class Program(Written):
    """A program whose runs are trials. ``parameters``, ``tokens``, ``batch_tokens`` and ``flops`` (forward and backward of the
    run) are formulas over the scales and over each other."""

    command: str = Field(
        description="run by sh; {width} and other scales, {lr}, {lr.hidden}, {weight_decay}, {seed}, {folder}, ..."
    )
    loss: str | LossKey = Field(description="a regular expression with a group, or {file: ..., key: ...}")
    maximize: bool = Field(False, description="what is read is an accuracy between 0 and 1: its error, 1 - x, is the loss")
    metrics: dict[str, str | LossKey] = Field({}, description="further numbers, read in the same way")
    parameters: Formula | None = None
    tokens: Formula | None = Field(None, description="of a run; {tokens} in the command makes other horizons possible")
    batch_tokens: Formula | None = None
    flops: Formula | None = None
    depends: tuple[str, ...] | None = Field(
        None, description="files that make another run when they change (those of the command)"
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        try:
            fixed = self.fixed
        except UsageError as error:
            raise ValueError(str(error)) from None
        for name, value in fixed.items():
            if value < 1:
                raise ValueError(f"{name} {getattr(self, name)} is no size")
        for name, where in {"loss": self.loss, **self.metrics}.items():
            if isinstance(where, str):
                _check_pattern(name, where)
        return self

    @cached_property
    def template(self) -> Template:
        """The command with its placeholders."""
        return Template(self.command)

    def names(self, files: ProgramFiles) -> bool:
        """Whether these may be the files that the command names: where ``depends`` does not say which, others of its words may be
        files elsewhere."""
        return set(files.sha256) == set(self.depends) if self.depends is not None else set(files.sha256) <= self.template.words

    @property
    def tuned(self) -> tuple[str, ...]:
        """The hyperparameters that the command takes."""
        takes = {
            "lr": True,
            "weight_decay": self.template.has("weight_decay") or self.template.has("weight_decay_coupled"),
            "embedding_lr_ratio": bool(self.template.roles & {"embedding", "readout"}) or self.template.has("embedding_lr_ratio"),
        }
        return tuple(name for name, taken in takes.items() if taken)

    @property
    def scales(self) -> set[str]:
        """The placeholders of sizes that its formulas fill, beside those of the cells."""
        known = {name for name in ("parameters", "tokens", "batch_tokens") if getattr(self, name) is not None}
        return known | ({"steps"} if {"tokens", "batch_tokens"} <= known else set())

    @property
    def formulas(self) -> dict[str, Formula]:
        """The formulas that there are, by what they are of."""
        return {name: formula for name in SIZES if (formula := getattr(self, name)) is not None}

    def sizes(self, scales: dict[str, Number]) -> dict[str, Number]:
        """Parameters, tokens, batch_tokens and flops of a run, as far as there are formulas; ``scales`` go before the formulas.
        Whole but for the FLOPs. Raises UsageError for a formula without a value."""
        known: dict[str, Number] = dict(scales)
        while left := [name for name in self.formulas if name not in known]:
            ready = [name for name in left if not names_in(str(self.formulas[name])) & set(left)]
            for name in ready or left:  # those that name each other in a circle have no value, and it is said
                value = evaluate(str(self.formulas[name]), known)
                known[name] = value if name == "flops" else max(1, round(value))
        return {name: known[name] for name in SIZES if name in known}

    def moves_with(self, scale: str) -> set[str]:
        """The placeholders whose values change with a scale."""
        found = {scale}
        for _ in self.formulas:
            found |= {name for name, formula in self.formulas.items() if names_in(str(formula)) & found}
        return found | ({"steps"} if found & {"tokens", "batch_tokens"} else set())

    @cached_property
    def fixed(self) -> dict[str, Number]:
        """The sizes that are the same at every scale: their formulas name no scale, nor another size that does."""
        known: dict[str, Number] = {}
        for _ in self.formulas:
            for name, formula in self.formulas.items():
                if name not in known and names_in(str(formula)) <= {*known, *FUNCTIONS}:
                    known[name] = evaluate(str(formula), known)
        return known


def _check_pattern(name: str, pattern: str) -> None:
    """Raises ValueError for what is no regular expression with a group that holds the number."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name}: {pattern!r} is no regular expression: {error}") from None
    if not found.groups - ("step" in found.groupindex):
        raise ValueError(f"{name}: {pattern!r} has no group; put the number in parentheses, as in 'loss (\\S+)'")


def check_program(
    program: Program, parametrization: Parametrization, optimizer: str | None, varying: Sequence[str] = ("width",)
) -> None:
    """Raises ValueError, in one line, for a command that cannot be filled in under that parametrization, or that is the same
    where the scales of ``varying`` differ."""
    template = program.template
    try:
        template.check({"width", *varying, *program.scales})
    except UsageError as error:
        raise ValueError(str(error)) from None
    for scale in varying:
        if not template.names & program.moves_with(scale):
            raise ValueError(f"the command is the same at every {scale}: it has no {{{scale}}} ({program.command[:80]!r})")
    if parametrization == "spectral":
        raise ValueError("parametrization spectral is of hptransfer's own trainer; a program's are mup, sp and unknown")
    if parametrization == "unknown" and template.roles:
        raise ValueError(
            f"the command takes numbers of roles ({', '.join(sorted(template.roles))}), which parametrization unknown does not "
            f"have; say mup or sp, and the optimizer whose rule holds"
        )
    if optimizer is None and (parametrization == "sp" or template.roles):
        what = "numbers of roles" if template.roles else "parametrization sp"
        raise ValueError(f"{what} need the rule of an optimizer; set the arm's optimizer, such as adamw")
