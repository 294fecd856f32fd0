"""Damage to a file, whatever it holds, and a wrong value at a place of JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from benchmarks.attack.values import VALUES, YAML

DAMAGES = ("cut", "flipped", "empty", "list", "not UTF-8", "UTF-16", "1 MB", "aliases", "brackets", "zeros", "folder")


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
                "cut": bytes(content[: draw.randrange(len(content) - 1)]),
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


def leaves(data: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in JSON."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*before, key)
        yield from leaves(value, (*before, key))


def put(data: Any, path: tuple[Any, ...], value: Any, is_missing: bool = False) -> Any:
    """``data`` with another value at a path, or without what is there."""
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if is_missing:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def changed(data: Any, path: tuple[Any, ...], kind: str) -> str:
    """JSON with another value at a path, or without it."""
    value = "PLACE" if kind == "nested" else VALUES.get(kind)
    return json.dumps(put(deepcopy(data), path, value, kind == "missing")).replace('"PLACE"', "[" * 100_000 + "]" * 100_000)


def differs(data: Any, path: tuple[Any, ...], kind: str) -> bool:
    """Whether `changed` changes anything."""
    for key in path:
        data = data[key]
    return kind in ("missing", "nested") or (json.dumps(data) != json.dumps(VALUES[kind]) and data != VALUES[kind])
