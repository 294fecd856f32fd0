"""What the documents tell people to type: every command has a parser that takes it, and development is set up in one way."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from hptransfer.cli import parse
from hptransfer.cli.stages import STAGES

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.py")),
    *sorted((ROOT / "hptransfer/deploy").iterdir()),
)
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
RUN = re.compile(r"(?:^|\s)(?:python\d?|\S+/python) -m hptransfer(?:\.(\w+)|(?= ))(.*)")  # python -m hptransfer.STAGE
SCRIPT = re.compile(r"^\s*(?:\w+=\S+ )*(?:\S+/)?hptransfer (\w+)(.*)")  # hptransfer STAGE


def lines(document: str) -> Iterator[str]:
    """What is to be typed: the lines of shell blocks, spans of code, and whatever else has no other text around it."""
    for block in BLOCK.findall(document):
        yield from (line.removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())
    yield from SPAN.findall(BLOCK.sub("", document))


def recipes(makefile: str) -> Iterator[str]:
    """The lines of a Makefile, its variables by their names."""
    yield from re.sub(r"\$\((\w+)\)", r"\1", makefile.replace(" $(OPTIONS)", "")).splitlines()


def typed(path: Path) -> list[str]:
    text = path.read_text()
    if path.suffix in (".md", ".py"):
        return list(lines(text))
    return list(recipes(text)) if path.name == "Makefile" else text.splitlines()


def commands(line: str) -> list[tuple[str, list[str]]]:
    """The stages that a line runs, with their arguments; a line may name a stage alone, or leave its arguments open."""
    if not (found := RUN.search(line) or SCRIPT.search(line)) or found.group(1) is None:
        return []
    words = shlex.shlex(found.group(2).replace(" ...", ""), posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    return [(found.group(1), list(takewhile(lambda word: not set(word) <= set("|&;<>"), words)))]


SHOWN = [
    pytest.param(stage, words, id=f"{path.relative_to(ROOT)}: {stage} {shlex.join(words)}")
    for path in DOCUMENTS
    for line in typed(path)
    for stage, words in commands(line)
]


@pytest.mark.parametrize(("stage", "words"), SHOWN)
def test_a_command_that_is_shown_exists_with_its_options(stage: str, words: list[str]) -> None:
    assert stage in STAGES
    if words:  # else it is only spoken of
        parse(stage, words)


def test_the_commands_of_every_kind_of_document_are_found() -> None:
    documents = {str(param.id).partition(":")[0] for param in SHOWN}
    assert {"README.md", "Makefile", "docs/your-own-trainer.md", "hptransfer/deploy/README.md"} <= documents
    assert {param.values[0] for param in SHOWN} >= {"plan", "search", "transfer", "backtest", "validate", "report", "train"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("python -m hptransfer.search --optimizer shampoo   # one stage", [("search", ["--optimizer", "shampoo"])]),
        ("A=1 hptransfer report --live && firefox page", [("report", ["--live"])]),
        (".venv/bin/python -m hptransfer.plan", [("plan", [])]),
        ("ray job submit -- python -m hptransfer.search --store s3://b/r", [("search", ["--store", "s3://b/r"])]),
        ("python -m hptransfer.search --loss 'a (\\S+)'", [("search", ["--loss", "a (\\S+)"])]),
        ("python -m hptransfer", []),
        ("pip install hptransfer", []),
    ],
)
def test_a_command_is_found_in_a_line(line: str, found: list[tuple[str, list[str]]]) -> None:
    assert commands(line) == found


@pytest.mark.parametrize("words", [["--optimiser", "adamw"], ["--trials", "many"], ["surplus"]])
def test_what_no_parser_takes_is_found(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse("search", words)


def installs(line: str) -> str | None:
    """How a line installs hptransfer: for development (``-e .``), for a user, or not at all."""
    if "pip install" not in line:
        return None
    return "development" if re.search(r" -e |--editable", line) else "user" if "hptransfer" in line.lower() else None


INSTALLS = [
    (path.relative_to(ROOT), kind, line)
    for path in (*DOCUMENTS, ROOT / ".ci/run")
    for line in typed(path)
    if (kind := installs(line.strip()))
]


def test_development_is_set_up_with_the_constraints_and_users_are_not_held_to_them() -> None:
    assert {kind for _, kind, _ in INSTALLS} == {"development", "user"}
    for path, kind, line in INSTALLS:
        assert ("-c constraints.txt" in line) == (kind == "development"), f"{path}: {line}"
