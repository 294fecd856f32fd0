"""Wrong options and wrong keys of an experiment."""

from __future__ import annotations

import argparse
import random
import re
from functools import cache
from pathlib import Path

import yaml

from benchmarks.attack import schema, world
from benchmarks.attack.damage import DAMAGES, damage_file
from benchmarks.attack.right import RIGHT, Call, must_be
from hptransfer.cli import Parser
from hptransfer.cli.stages import STAGES

PARTS = re.compile(r"[,=. ]+")
EXPERIMENTS = [command for command in RIGHT if command not in ("backtest", "convert", "laws", "import")]


@cache
def options(command: str) -> tuple[argparse.Action, ...]:
    """The options and arguments of a command that take a value."""
    parser = Parser()
    STAGES[command].options(parser)
    return tuple(action for action in parser._actions if action.nargs != 0)


def _without(command: str, argv: tuple[str, ...], option: argparse.Action) -> list[str]:
    """The words of a right call without an option and its values."""
    if not option.option_strings:  # the place of an argument is among the first words
        place = [one for one in options(command) if not one.option_strings].index(option)
        return [word for at, word in enumerate(argv) if at != place]
    kept, dropping = [], False
    for word in argv:
        if word.startswith("--"):
            dropping = word in option.option_strings
        if not dropping:
            kept.append(word)
    return kept


def _with(option: argparse.Action, argv: list[str], text: str, several: int) -> tuple[str, ...]:
    values = [text] * (option.nargs if isinstance(option.nargs, int) else several)
    if not option.option_strings:
        return (*values, *argv) if option.dest != "law" else (argv[0], *values, *argv[1:])
    if len(values) == 1 and option.nargs is None:
        return (*argv, f"{option.option_strings[0]}={text}")
    return (*argv, option.option_strings[0], *values)


def option(draw: random.Random) -> Call:
    command = draw.choice(list(RIGHT))
    option = draw.choice(options(command))
    kind, text, refused = draw.choice(list(schema.wrong_texts(option)))
    right = draw.choice(RIGHT[command])
    several = draw.choice((1, 2)) if option.nargs == "+" else 1
    argv = _with(option, _without(command, right, option), text, several)
    where = option.option_strings[0] if option.option_strings else schema.placeholder(option)
    parts = [part if len(part) > 2 else repr(part) for part in PARTS.split(text) if part]
    names = (text, where, where.strip("-"), option.dest, *parts)
    return Call(command, argv, where, kind, must_be(refused), names)


def misspelt(draw: random.Random) -> Call:
    """An option without its last letters."""
    command = draw.choice(list(RIGHT))
    known = {name for one in options(command) for name in one.option_strings}
    name = draw.choice(sorted(known))
    short = name[: draw.randint(3, len(name) - 1)]
    argv = (*draw.choice(RIGHT[command]), short, "1")
    return Call(command, argv, "misspelt option", "cut", must_be(short not in known), (short,))


def _words(text: str) -> list[str]:
    """The values in a YAML text, of which one is wrong."""
    return re.findall(r"[\w.]{3,}", text[:200])


def key_by_option(draw: random.Random) -> Call:
    command, key = draw.choice(EXPERIMENTS), draw.choice(list(schema.keys()))
    kind, text, refused = draw.choice(list(schema.wrong_yaml(key)))
    right = next(one for one in RIGHT[command] if "tiny.yaml" in one)
    argv, names = (*right, "--set", f"{key}={text}"), (text, key, key.rpartition(".")[2], "--set", *_words(text))
    return Call(command, argv, f"--set {key}", kind, must_be(refused), names)


def key_in_file(draw: random.Random) -> Call:
    command, key = draw.choice(EXPERIMENTS), draw.choice(list(schema.keys()))
    kind, text, refused = draw.choice([*schema.wrong_yaml(key), ("misspelt", "1", True)])
    if command == "train" and key.startswith("data.") and kind in ("path", "word", "unicode"):
        refused = False  # such places are not looked for: a prediction's run reads what it was made for
    right = next(one for one in RIGHT[command] if "tiny.yaml" in one)

    def prepare(folder: Path) -> None:
        data = yaml.safe_load(world.EXPERIMENT)
        *sections, last = key.split(".")
        inner = data
        for section in sections:
            inner[section] = inner.get(section) if isinstance(inner.get(section), dict) else {}
            inner = inner[section]
        inner[last + "x" if kind == "misspelt" else last] = "PLACE"
        (folder / "tiny.yaml").write_text(yaml.safe_dump(data, sort_keys=False, width=10**9).replace("PLACE", text), "utf-8")

    return Call(
        command,
        right,
        f"YAML {key}",
        kind,
        must_be(refused),
        (text, key, key.rpartition(".")[2], "tiny.yaml", *_words(text)),
        prepare,
    )


def damaged_yaml(draw: random.Random) -> Call:
    command, damage = draw.choice(EXPERIMENTS), draw.choice(DAMAGES)
    name = draw.choice(("tiny.yaml", "tiny.yaml", "search_spaces/muon.yaml"))
    reads = command in ("plan", "search") or name == "tiny.yaml"
    refused = damage not in ("cut", "flipped") and not (damage == "brackets" and not reads) and reads
    right = next(one for one in RIGHT[command] if "tiny.yaml" in one)
    seed = draw.random()

    def prepare(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(Path(__file__).parents[2].joinpath("search_spaces/muon.yaml").read_bytes())
        damage_file(path, damage, random.Random(seed))

    return Call(command, right, name, damage, must_be(refused), (name,), prepare)
