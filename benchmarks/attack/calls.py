"""Wrong calls, each from a seed and a number: one thing of a right call is wrong, and what must come of it is stated."""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.attack import schema, world
from benchmarks.attack.values import VALUES, YAML
from hptransfer.cli import Parser
from hptransfer.cli.stages import STAGES

# refuse: it must not be accepted. go on: it must not stop the command. None: nothing is stated but that it ends well.
Must = Literal["refuse", "go on"] | None


@dataclass(frozen=True)
class Call:
    """One call: a command with its words, what is done to the right folder before, and what must come of it. ``names``: the
    message must have one of them."""

    command: str
    argv: tuple[str, ...]
    where: str
    kind: str
    must: Must
    names: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = field(default=lambda folder: None)


def _must(refused: bool) -> Must:
    return "refuse" if refused else None


TINY = ("--experiment", "tiny.yaml")
OWN = ("--columns", "weight_decay=weight_decay")
SWEEP = ("--at", "width=1024", "--table")
# Right calls of every command: what is wrong is put into one of them.
RIGHT: dict[str, tuple[tuple[str, ...], ...]] = {
    "plan": (TINY,),
    "search": (TINY,),
    "transfer": (TINY, (*SWEEP, "sweep.csv"), (*SWEEP, "sweep.parquet"), (*SWEEP, "sweep.jsonl")),
    "backtest": (("sweep.csv",), ("sweep.parquet",), ("sweep.jsonl",)),
    "validate": (TINY, (*TINY, "--predictions", world.PREDICTION)),
    "train": ((*TINY, "--prediction", world.PREDICTION), (*TINY, "--optimizer", "muon")),
    "store": ((), ("--store", "gathered"), ("--compact",), (*TINY, "--import", "own.csv", "--store", "other", *OWN)),
    "import": (("own.csv", *TINY, "--store", "other", *OWN), ("own.csv", "--look"), ("sweep.csv", "--look")),
    "report": (TINY, (*TINY, "--store", "gathered"), (*TINY, "--predictions", world.PREDICTION)),
    "data": ((*TINY, "--write", "corpus"),),
    "coordcheck": ((*TINY, "--optimizer", "muon", "--widths", "16", "32"),),
    "laws": (
        ("fit", "chinchilla", "--table", "laws.csv"),
        ("predict", "chinchilla", "--table", "laws.csv", "--at", "N=1e9,D=2e10"),
    ),
    "export": (("--prediction", world.PREDICTION, "--target", "all"), (*TINY, "--optimizer", "muon")),
    "convert": (("--from", "torch.original", "--to", "dion.spectral_norm", "--shape", "64x32", "--lr", "0.02"),),
}
PARTS = re.compile(r"[,=. ]+")
JSON_SHARE = 0.3  # of calls with --json, whose answer is read


def call(seed: int, number: int) -> Call:
    """The call of that number."""
    draw = random.Random(f"{seed} {number}")
    made = draw.choices(list(MAKERS), weights=list(MAKERS.values()))[0](draw)
    if draw.random() < JSON_SHARE and "--json" not in made.argv:
        made = Call(**{**made.__dict__, "argv": (*made.argv, "--json")})
    return made


def right_calls() -> Iterator[Call]:
    """The calls that are right: they say whether what is thought to be wrong is all that is."""
    for command, several in RIGHT.items():
        for argv in several:
            yield Call(command, (*argv, "--json"), "nothing", "right", "go on")


# -- options -----------------------------------------------------------------------------------------------------------


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


def _option(draw: random.Random) -> Call:
    command = draw.choice(list(RIGHT))
    option = draw.choice(options(command))
    kind, text, refused = draw.choice(list(schema.wrong_texts(option)))
    right = draw.choice(RIGHT[command])
    several = draw.choice((1, 2)) if option.nargs == "+" else 1
    argv = _with(option, _without(command, right, option), text, several)
    where = option.option_strings[0] if option.option_strings else schema.placeholder(option)
    parts = [part if len(part) > 2 else repr(part) for part in PARTS.split(text) if part]
    names = (text, where, where.strip("-"), option.dest, *parts)
    return Call(command, argv, where, kind, _must(refused), names)


# -- YAML --------------------------------------------------------------------------------------------------------------

EXPERIMENTS = [command for command in RIGHT if command not in ("backtest", "convert", "laws", "import")]
DAMAGES = ("cut", "flipped", "empty", "list", "not UTF-8", "UTF-16", "1 MB", "aliases", "brackets", "zeros", "folder")


def _key_by_option(draw: random.Random) -> Call:
    command, key = draw.choice(EXPERIMENTS), draw.choice(list(schema.keys()))
    kind, text, refused = draw.choice(list(schema.wrong_yaml(key)))
    right = next(one for one in RIGHT[command] if "tiny.yaml" in one)
    return Call(command, (*right, "--set", f"{key}={text}"), f"--set {key}", kind, _must(refused), (text, key, "--set"))


def _key_in_file(draw: random.Random) -> Call:
    command, key = draw.choice(EXPERIMENTS), draw.choice(list(schema.keys()))
    kind, text, refused = draw.choice([*schema.wrong_yaml(key), ("misspelt", "1", True)])
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
        _must(refused),
        (text, key, key.rpartition(".")[2], "tiny.yaml"),
        prepare,
    )


def _damaged_yaml(draw: random.Random) -> Call:
    command, damage = draw.choice(EXPERIMENTS), draw.choice(DAMAGES)
    name = draw.choice(("tiny.yaml", "tiny.yaml", "search_spaces/muon.yaml"))
    reads = command in ("plan", "search", "coordcheck") or name == "tiny.yaml"
    refused = damage not in ("cut", "flipped") and not (damage == "brackets" and not reads) and reads
    right = next(one for one in RIGHT[command] if "tiny.yaml" in one)
    seed = draw.random()

    def prepare(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(Path(__file__).parents[2].joinpath("search_spaces/muon.yaml").read_bytes())
        damage_file(path, damage, random.Random(seed))

    return Call(command, right, name, damage, _must(refused), (name,), prepare)


def damage_file(path: Path, damage: str, draw: random.Random) -> None:
    """A file that is cut, has one bit flipped, or holds something else."""
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
        return
    else:
        content = bytearray(
            {
                "cut": bytes(content[: draw.randrange(len(content))]),
                "empty": b"",
                "list": b"[1, 2]",
                "not UTF-8": b"\xff\xfe\xfa" + bytes(content),
                "UTF-16": bytes(content).decode(errors="replace").encode("utf-16"),
                "1 MB": b"x" * 1_000_000,
                "aliases": YAML["aliases"].encode(),
                "brackets": b"[" * 100_000,
                "zeros": bytes(len(content)),
            }[damage]
        )
    path.write_bytes(content)


# -- tables ------------------------------------------------------------------------------------------------------------

READERS = {  # commands that read a table, its columns, those that must be right
    ("transfer", *SWEEP): ("sweep", ("lr", "width")),
    ("backtest",): ("sweep", ("lr", "width")),
    ("import", *TINY, "--store", "other", *OWN): ("own", ("lr", "width", "loss")),
    ("import", "--look"): ("own", ()),
    ("laws", "fit", "chinchilla", "--table"): ("laws", ("N", "D", "loss")),
}
COLUMNS = {
    "sweep": ("model", "width", "lr", "seed", "loss"),
    "own": ("optimizer", "width", "lr", "weight_decay", "loss", "seed"),
    "laws": ("N", "D", "loss"),
}
NO_POSITIVE = {
    "null",
    "word",
    "zero",
    "negative",
    "nan",
    "inf",
    "empty",
    "1 MB",
    "unicode",
    "newline",
    "path",
    "markup",
    "list",
    "mapping",
    "surrogate",
}


def _table(draw: random.Random) -> Call:
    reader = draw.choice(list(READERS))
    table, needed = READERS[reader]
    form = draw.choice(("csv", "parquet", "jsonl"))
    column, every = draw.choice(COLUMNS[table]), draw.random() < 0.5
    kind = draw.choice([*(one for one in VALUES if one != "nested"), "missing"])
    refused = every and column in needed and (kind in NO_POSITIVE or (kind == "missing" and column != "loss"))
    if column == "loss" and reader[0] == "laws" and kind in ("missing", "null"):
        refused = True
    name = f"wrong.{form}"

    def prepare(folder: Path) -> None:
        import polars as pl

        rows = pl.read_csv(folder / f"{table}.csv").to_dicts()
        for row in rows if every else rows[3:4]:
            row[column] = deepcopy(VALUES.get(kind))
        write_table(
            folder / name, [{key: value for key, value in row.items() if kind != "missing" or key != column} for row in rows]
        )

    shown = VALUES.get(kind)
    return Call(
        reader[0],
        _placed(reader, name),
        f"{form} column {column}{'' if every else ', one row'}",
        kind,
        _must(refused),
        (column, str(shown), name),
        prepare,
    )


def _placed(reader: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The words of a reader with its table."""
    return (*reader[1:], name) if reader[-1] == "--table" else (name, *reader[1:])


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV, JSON lines or Parquet, whatever is in them."""
    import csv

    import polars as pl

    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        try:
            frame = pl.DataFrame(rows, strict=False, infer_schema_length=None)
        except (pl.exceptions.PolarsError, TypeError, OverflowError, ValueError):  # a number or text that Parquet has not
            frame = pl.DataFrame([{key: str(value).encode(errors="replace") for key, value in row.items()} for row in rows])
        frame.write_parquet(path)


def _damaged_table(draw: random.Random) -> Call:
    reader, form = draw.choice(list(READERS)), draw.choice(("csv", "parquet", "jsonl"))
    damage, seed = draw.choice([*DAMAGES, "glob"]), draw.random()
    name = "wrong[1]." + form if damage == "glob" else f"wrong.{form}"

    def prepare(folder: Path) -> None:
        import polars as pl

        rows = pl.read_csv(folder / f"{READERS[reader][0]}.csv").to_dicts()
        write_table(folder / name.replace("[1]", "1"), rows)
        if damage == "glob":  # the pattern matches another, right one
            (folder / name).write_bytes(b"")
        else:
            damage_file(folder / name, damage, random.Random(seed))

    refused = damage not in ("cut", "flipped", "not UTF-8", "UTF-16") or (damage == "cut" and form == "parquet")
    return Call(
        reader[0],
        _placed(reader, name),
        f"{form} file",
        damage,
        _must(refused),
        (name, name.split(".")[0]),
        prepare,
    )


# -- stored files ------------------------------------------------------------------------------------------------------

STORE_READERS = ("plan", "search", "transfer", "validate", "store", "report", "coordcheck", "train")


def leaves(data: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in JSON."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*before, key)
        yield from leaves(value, (*before, key))


def changed(data: Any, path: tuple[Any, ...], kind: str) -> str:
    """JSON with another value at a path, or without it."""
    data = deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if kind == "missing":
        del inner[path[-1]]
    else:
        inner[path[-1]] = "PLACE" if kind == "nested" else VALUES[kind]
    return json.dumps(data).replace('"PLACE"', "[" * 100_000 + "]" * 100_000)


def _stored(draw: random.Random) -> Call:
    command = draw.choice(STORE_READERS)
    folder_name = draw.choice(("runs", "runs", "runs", "predictions", "studies", "claims"))
    kind = draw.choice(
        [*VALUES, "missing", "cut", "flipped", "empty", "list", "zeros", "not UTF-8", "brackets", "folder", "name"]
    )
    seed = draw.random()

    def prepare(folder: Path) -> None:
        own = random.Random(seed)
        home = folder / "runs" / folder_name
        if not home.exists():
            home.mkdir(parents=True)
            (home / f"{'0' * 16}.json").write_text("{}")
        path = own.choice(sorted(home.glob("*.json")))
        if kind == "name":
            (home / "odd\udcff.json").write_bytes(path.read_bytes())
        elif kind in DAMAGES:
            damage_file(path, kind, own)
        else:
            data = json.loads(path.read_text())
            places = list(leaves(data))
            path.write_text(
                changed(data, own.choice(places), kind) if places else "null", encoding="utf-8", errors="surrogatepass"
            )

    goes_on = folder_name == "runs" and command in ("plan", "transfer", "store", "report")
    return Call(
        command,
        RIGHT[command][0],
        f"a file of {folder_name}/",
        kind,
        "go on" if goes_on else None,
        (folder_name, "store"),
        prepare,
    )


def _gathered(draw: random.Random) -> Call:
    command, seed = draw.choice(STORE_READERS), draw.random()
    kind = draw.choice(
        ("flipped", "flipped", "flipped", "cut", "empty", "null record", "wrong record", "no column", "wrong type", "zeros")
    )

    def prepare(folder: Path) -> None:
        import polars as pl

        own = random.Random(seed)
        path = next((folder / "gathered").glob("*.parquet"))
        if kind in DAMAGES:
            damage_file(path, kind, own)
            return
        frame = pl.read_parquet(path)
        columns = [name for name in frame.columns if name != "record"]
        records = frame["record"].to_list()
        place = own.randrange(len(records))
        if kind == "null record":
            records[place] = None
        elif kind == "wrong record":
            data = json.loads(records[place])
            records[place] = changed(data, own.choice(list(leaves(data))), own.choice(["null", "word", "2^64", "missing", "nan"]))
        elif kind == "no column":
            frame = frame.drop(own.choice(columns))
        else:
            frame = frame.with_columns(pl.lit("abc").alias(own.choice(columns)))
        frame.with_columns(pl.Series("record", records)).write_parquet(path)

    return Call(command, (*RIGHT[command][0], "--store", "gathered"), "a gathered file", kind, None, ("gathered",), prepare)


PREDICTION_READERS = (
    ("export", "--target", "all", "--prediction"),
    ("train", *TINY, "--prediction"),
    ("validate", *TINY, "--predictions"),
    ("report", *TINY, "--predictions"),
)


def _prediction(draw: random.Random) -> Call:
    reader = draw.choice(PREDICTION_READERS)
    kind = draw.choice([*VALUES, "missing", "cut", "flipped", "empty", "list", "zeros", "not UTF-8", "brackets", "folder"])
    seed = draw.random()

    def prepare(folder: Path) -> None:
        own, path = random.Random(seed), folder / "p.json"
        content = (folder / world.PREDICTION).read_text()
        path.write_text(content)
        if kind in DAMAGES:
            damage_file(path, kind, own)
            return
        data = json.loads(content)
        places = [place for place in leaves(data) if place[-1] not in ("digest", "notes") and _differs(data, place, kind)]
        path.write_text(changed(data, own.choice(places), kind), encoding="utf-8", errors="surrogatepass")

    refused = kind != "flipped"
    return Call(reader[0], (*reader[1:], "p.json"), "a prediction", kind, _must(refused), ("p.json",), prepare)


def _differs(data: Any, path: tuple[Any, ...], kind: str) -> bool:
    for key in path:
        data = data[key]
    return kind in ("missing", "nested") or (json.dumps(data) != json.dumps(VALUES[kind]) and data != VALUES[kind])


MAKERS: dict[Callable[[random.Random], Call], float] = {
    _option: 4,
    _key_by_option: 2,
    _key_in_file: 1.5,
    _damaged_yaml: 0.5,
    _table: 2.5,
    _damaged_table: 0.7,
    _stored: 1.5,
    _gathered: 0.7,
    _prediction: 1.5,
}
