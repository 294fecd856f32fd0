"""Wrong values: texts for options and YAML, Python values for tables and stored files, each by its kind."""

from __future__ import annotations

import math
from typing import Any

LONG = "9" * 5000
MEGABYTE = "x" * 1_000_000
ARGUMENT = "x" * 100_000  # the longest that Linux hands to a program is 131,071

# What a typed text can be, by kind.
TEXTS = {
    "empty": "",
    "word": "abc",
    "zero": "0",
    "negative": "-1",
    "fraction": "1.5",
    "nan": "nan",
    "inf": "inf",
    "too large": "1e400",
    "2^64": str(2**64),
    "5,000 digits": LONG,
    "long": ARGUMENT,
    "300 letters": "y" * 300,
    "unicode": "ﬀ‮☃é",
    "newline": "a\nb",
    "not UTF-8": "\udcff\udcfe",
    "path": "../../../etc/passwd",
    "shell": "$(touch hit);`touch hit`",
    "markup": "<script>alert(1)</script>",
}
# Kinds that no number is.
NO_NUMBER = {
    "empty",
    "word",
    "nan",
    "inf",
    "too large",
    "long",
    "300 letters",
    "unicode",
    "newline",
    "not UTF-8",
    "path",
    "shell",
    "markup",
}

# What a cell of a table or a value of stored JSON can be, by kind.
VALUES: dict[str, Any] = {
    "null": None,
    "word": "abc",
    "zero": 0,
    "negative": -1,
    "nan": math.nan,
    "inf": math.inf,
    "2^64": 2**64,
    "5,000 digits": int("9" * 4000),
    "empty": "",
    "1 MB": MEGABYTE,
    "unicode": "ﬀ‮☃é",
    "surrogate": "\ud800",
    "newline": "a\nb",
    "path": "../../../etc/passwd",
    "markup": "<script>alert(1)</script>",
    "true": True,
    "list": [1, 2],
    "mapping": {"a": {"b": 1}},
    "nested": None,  # a list in a list in a list ..., made by whoever writes it
}

# YAML that is none, or that must not be built.
BOMB = "{a: &a [x,x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b], " + (
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c], e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d], f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e], "
    "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f], h: [*g,*g,*g,*g,*g,*g,*g,*g,*g]}"
)
YAML = {
    "null": "null",
    "empty": '""',
    "word": "abc",
    "zero": "0",
    "negative": "-1",
    "fraction": "1.5",
    "nan": ".nan",
    "inf": ".inf",
    "-inf": "-.inf",
    "too large": "1.0e+400",
    "2^64": str(2**64),
    "5,000 digits": LONG,
    "1e9 as text": "1e9",
    "true": "true",
    "list": "[]",
    "list of lists": "[[1], [2]]",
    "twice": "[adamw, adamw]",
    "mapping": "{}",
    "mapping of mappings": "{a: {b: {c: 1}}}",
    "no date": "2024-13-45",
    "tag": "!!int abc",
    "object": "!!python/object/apply:os.system [touch hit]",
    "holds itself": "&a [*a]",
    "mapping that holds itself": "&a {b: *a}",
    "aliases": BOMB,
    "brackets": "[" * 2000,
    "closed brackets": "[" * 2000 + "]" * 2000,
    "open": "{a: [1, 2",
    "tab": "a:\n\t- b",
    "long": '"' + "z" * 50_000 + '"',
    "unicode": '"ﬀ☃é"',
    "newline": '"a\\nb"',
    "path": '"../../../etc/passwd"',
    "control": '"\\0\\e[31m"',
}
# Of any key of an experiment: it is no YAML, or nothing that may be built.
NO_YAML = {
    "no date",
    "tag",
    "object",
    "holds itself",
    "mapping that holds itself",
    "aliases",
    "brackets",
    "closed brackets",
    "open",
}
