"""What each option and each key of an experiment takes, and which texts it must not: from its type, bounds and placeholder.

Nothing is guessed: a text that no schema speaks about is tried all the same, and whatever a command answers in one line is fine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from benchmarks.attack.values import NO_NUMBER, NO_YAML, TEXTS, YAML

# Placeholders of whole numbers and of real ones; all are above 0 but these, which may be 0.
WHOLE, REAL = {"N", "W", "T"}, {"X", "SHARE", "NATS", "LR", "WD"}
MAY_BE_ZERO = {"failures", "weight_decay"}
AT_MOST_ONE = {"SHARE"}
# Placeholders of names among known ones: no text of TEXTS is one.
NAMES = {"NAME|FILE", "NAME[,NAME]", "mup,sp,spectral", "HOST[,HOST]", "NAME", "KIND", "LAW[,LAW]", "A", "B", "ACTION"}
# Of things that are there: files, columns, conditions over columns.
THERE = {"FILE", "PLACE", "TABLE", "SQL", "A,B", "N[,D]", "A[,B]", "COLUMN"}
# Of a form of their own.
FORMS = {
    "width=W,depth=L,tokens=D", "N=1e9,D=2e10", "NAME:HP=SQL[;HP=SQL]", "C[,C]", "NAME=VALUE", "lr=NAME,...", "4096x1024",
    "FILE.py:FUNCTION", "REGEX=ROLE", "N=COLUMN,D=SQL", "a.b=c",
}  # fmt: skip
# Where something is written or kept: a long name cannot be made, and a file of the user's is not ours.
PLACES = {"PATH", "FOLDER", "DIR", "FILE.svg", "DIR|URI"}

# More wrong texts by placeholder.
MORE = {
    "NAME[,NAME]": ("adamw,adamw", ",", "adamw,xyz"),
    "mup,sp,spectral": ("mup,mup", ",", "mup,xyz"),
    "HOST[,HOST]": (",", "json,xyz"),
    "LAW[,LAW]": (",", "chinchilla,xyz"),
    "NAME|FILE": ("missing.yaml", "notes.txt", ".", "empty", "sweep.parquet.yaml"),
    "FILE": ("missing.json", ".", "notes.txt", "sweep.parquet", "sweep.csv/x"),
    "PLACE": ("missing.csv", "empty", "notes.txt.gz", "sweep.csv/x"),
    "TABLE": ("missing.csv", "empty", "notes.txt.gz", "sweep.csv/x"),
    "SQL": ("no_such > 1", "width >", "width > 1 AND", "'", "width > 'a", "1; drop", "(" * 3000, "lr", "SELECT 1"),
    "A,B": ("lr,lr", "no_such", ",,no_such", "lr,no_such"),
    "N[,D]": ("width,width", "no_such", "model"),
    "A[,B]": ("lr,lr", "no_such", "model"),
    "COLUMN": ("no_such", "model", "width,lr"),
    "width=W,depth=L,tokens=D": (
        "width=nan", "width=inf", "width=0", "width=-1", "width=abc", "width=", "width", "xyz=3", "width=64,width=128", "=1",
        "width=1e400", "width=64,,", f"width={TEXTS['5,000 digits']}",
    ),
    "N=1e9,D=2e10": ("N=nan,D=1e9", "N=0,D=1e9", "N=-1,D=1e9", "N=1e9", "N=,D=1", "xyz=1", "N=1e9,N=2e9", "N=abc,D=1e9"),
    "NAME:HP=SQL[;HP=SQL]": (
        "x", "x:", "x:lr", "x:lr=", ":lr=1", "x:lr='abc'", "x:no_such=1", "x:lr=no_such", "x:lr=width >", "x:lr=0/0",
    ),
    "C[,C]": ("0", "-1", "nan", "inf", "1e20,abc", ","),
    "NAME=VALUE": ("x", "x=1", "=1", "x=[[["),
    "lr=NAME,...": ("lr", "lr=no_such", "no_such=lr", "=lr", "lr=lr,lr=width", 'lr="a'),
    "4096x1024": ("0x0", "-1x2", "1x1x1", "x", "1x", "9999999999x1", "1.5x2"),
    "FILE.py:FUNCTION": ("missing.py:f", "notes.txt:f", "notes.txt", ":f", "x.py:"),
    "REGEX=ROLE": ("[=hidden", "x", "=hidden"),
    "N=COLUMN,D=SQL": ("N", "N=no_such,D=D", "N=N,N=D", "=N", "N=N,D=D/", "N='a',D=D"),
    "a.b=c": ("model", "=1", "a..b=1", ".=1", "xyz=1", "model.xyz=1", ".".join("a" * 300) + "=1", "name.x=1", "=", "widths.0=3"),
    "DIR|URI": ("nonsense://x", "notes.txt", "notes.txt/x"),
    "FOLDER": ("notes.txt", "notes.txt/x"),
    "DIR": ("notes.txt", "notes.txt/x", "empty/../notes.txt"),
    "PATH": ("notes.txt", "empty", "notes.txt/x"),
    "FILE.svg": ("notes.txt", "empty", "notes.txt/x.svg"),
}  # fmt: skip


def wrong_texts(option: argparse.Action) -> Iterator[tuple[str, str, bool]]:
    """Texts for an option: kind, text, and whether the option's schema refuses it."""
    mark = placeholder(option)
    for kind, text in TEXTS.items():
        yield kind, text, _refused(option, mark, kind, text)
    for text in MORE.get(mark, ()):
        yield "form", text, True


def placeholder(option: argparse.Action) -> str:
    """What stands for the value in the help."""
    found = option.metavar if option.metavar is not None else option.dest
    return found if isinstance(found, str) else found[0]


def _refused(option: argparse.Action, mark: str, kind: str, text: str) -> bool:
    if option.choices is not None:
        return text not in option.choices
    if mark in WHOLE | REAL:
        at_least = {"zero"} if option.dest not in MAY_BE_ZERO else set()
        whole = {"fraction"} if mark in WHOLE or mark in AT_MOST_ONE else set()
        return kind in NO_NUMBER | {"negative", "5,000 digits"} | at_least | whole | ({"2^64"} if mark in AT_MOST_ONE else set())
    if kind == "empty":
        return option.default != "" and mark not in ("TEXT", "REGEX")
    if mark in FORMS | NAMES:
        return not (mark == "C[,C]" and kind in ("fraction", "2^64"))
    if mark in THERE:
        return True
    if mark in PLACES:
        return kind in ("long", "300 letters", "5,000 digits")
    return False


# -- the keys of an experiment -----------------------------------------------------------------------------------------

# Keys whose short forms a model rewrites before it looks at them: only what no YAML is has to be refused there.
REWRITTEN = {"cells", "scales", "target", "model.preset"}
# Refused by the model as a whole rather than by the key's own type.
STRICTER = {
    "model.family": {"word", "empty", "path", "unicode", "long"},
    "model.preset": {"word", "empty", "path", "unicode", "long"},
    "optimizers": {"word", "twice", "list of lists", "list"},
    "baseline": {"word", "empty", "path", "unicode"},
    "name": {"empty", "path", "unicode", "newline", "long", "control"},
    "data.corpus": {"empty", "path", "word", "unicode", "newline", "long", "control"},
    "data.tokenizer": {"empty", "path", "word", "unicode", "newline", "long", "control"},
    "plugins": {"word"},
}


@cache
def keys() -> dict[str, TypeAdapter[Any]]:
    """The keys of an experiment, dotted, each with its type and bounds."""
    from hptransfer.experiment import Experiment
    from hptransfer.models import FAMILIES

    found = dict(_keys("", Experiment))
    return found | dict(_keys("model.", FAMILIES.get("gpt").config))


def _keys(before: str, model: type[BaseModel]) -> Iterator[tuple[str, TypeAdapter[Any]]]:
    for name, field in model.model_fields.items():
        inner = [
            one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        if inner and name not in ("trainer", "config"):
            yield from _keys(f"{before}{name}.", inner[0])
        elif name != "config":
            kind: Any = field.annotation
            for bound in field.metadata:
                kind = Annotated[kind, bound]
            config = None if inner else ConfigDict(allow_inf_nan=False, extra="forbid")
            yield f"{before}{name}", TypeAdapter(kind, config=config)


def wrong_yaml(key: str) -> Iterator[tuple[str, str, bool]]:
    """Texts for the value of a key: kind, YAML, and whether the key's schema refuses it."""
    for kind, text in YAML.items():
        yield kind, text, kind in NO_YAML or kind in STRICTER.get(key, ()) or _refuses(key, text)


def _refuses(key: str, text: str) -> bool:
    if key in REWRITTEN:
        return False
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return True
    try:
        keys()[key].validate_python(value)
    except ValidationError:
        return True
    return False
