"""The files of a corpus: of one kind, split by their names, identified without reading them whole."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.trainers.ours.data.shards import is_shard

Kind = Literal["shards", "text", "json", "parquet"]

SUFFIXES: dict[str, Kind] = {
    ".bin": "shards",
    **dict.fromkeys((".jsonl", ".ndjson", ".json.gz", ".json.bz2", ".json.zst"), "json"),
    ".parquet": "parquet",
    **dict.fromkeys((".txt", ".md", ".rst", ".tex", ".py"), "text"),
}
# These may be a corpus or what is said of one: they are looked into, in a folder only where it has no file of the kinds above.
UNSURE = ("", ".json")
COMPRESSIONS = (".gz", ".bz2", ".zst")
# Begins the name of a Hugging Face dataset.
PREFIX = "hf:"
ENDS_BYTES = 1 << 20


@dataclass(frozen=True)
class CorpusFiles:
    """Files of one kind in the order of their names. Without ``val`` their documents are split one by one."""

    kind: Kind
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    sha256: str


def find_files(name: str) -> CorpusFiles:
    """The files of ``stdlib``, of a folder (with the folders in it, hidden ones left out), or one file.

    What a file is says its suffix. One that is named is looked into where that says nothing; so are, in a folder without any that
    does, files without suffix and ``.json``.

    A file whose path inside the folder has the word ``val`` (valid, validation) is validation; of the others those with the word
    ``train``, where there are any, are training. Where none says so, the last of nanochat's ``shard_*.parquet`` is validation.

    Raises UsageError for an unknown name, and for a folder with no file of a known kind, or with files of several.
    """
    if name == "stdlib":
        root = Path(sysconfig.get_path("stdlib"))
        paths = _standard_library(root)
        return CorpusFiles("text", tuple(paths), (), fingerprint(root, paths))
    path = Path(name)
    if path.is_file():
        root, paths = path.parent, [path]
    elif path.is_dir():
        root, paths = path, sorted(found for found in path.rglob("*") if found.is_file() and not _hidden(found.relative_to(path)))
    elif "/" in name:
        raise UsageError(f"corpus {name}: no such folder or file in {Path.cwd()}")
    else:
        raise unknown("corpus", name, ["stdlib"])
    kind, paths = _of_one_kind(name, paths, named=path.is_file())
    train, val = _split(kind, root, paths)
    return CorpusFiles(kind, train, val, fingerprint(root, (*train, *val)))


def fingerprint(root: Path, paths: Iterable[Path]) -> str:
    """Names relative to ``root``, sizes, and both ends of each file identify them: they may be hundreds of GB."""
    identity = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                head = file.read(ENDS_BYTES)
                file.seek(max(0, size - ENDS_BYTES))
                identity.update(f"{path.relative_to(root).as_posix()} {size}".encode() + head + file.read())
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return identity.hexdigest()


def says(name: str, split: str) -> bool:
    """Whether a name has the word ``train`` or ``val``: fineweb_val_000000.bin does, evaluation.md does not."""
    word = {"train": "train", "val": "val|valid|validation"}[split]
    return re.search(rf"(?<![a-z])({word})(?![a-z])", name.lower()) is not None


def _kind(path: Path) -> Kind | None:
    inner = _inner(path)
    kind = SUFFIXES.get("".join(path.suffixes[-2:])) or SUFFIXES.get(inner.suffix)
    return None if inner != path and kind in ("shards", "parquet") else kind


def _inner(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in COMPRESSIONS else path


def _looked_into(path: Path) -> Kind | None:
    """What a file is by its first bytes."""
    try:
        with io.BufferedReader(pa.input_stream(path)) as file:
            head = file.read(1 << 12)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from None
    if _inner(path) == path and (head.startswith(b"PAR1") or is_shard(head)):
        return "shards" if is_shard(head) else "parquet"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    if not text.strip() or "\0" in text:
        return None
    return "json" if re.match(r'\ufeff?\s*(\[\s*)?\{\s*("|\})', text) else "text"


def _of_one_kind(name: str, paths: Sequence[Path], named: bool) -> tuple[Kind, list[Path]]:
    kinds = {path: kind for path in paths if (kind := _kind(path)) is not None}
    if not kinds:
        unsure = [path for path in paths if named or _inner(path).suffix in UNSURE]
        kinds = {path: kind for path in unsure if (kind := _looked_into(path)) is not None}
    if len(set(kinds.values())) > 1:
        # A data set's own description is none of its documents.
        kinds = {path: kind for path, kind in kinds.items() if path.stem.lower() not in ("readme", "license")}
    found = sorted(set(kinds.values()))
    if not found:
        if named:
            raise UsageError(f"corpus {name} is neither UTF-8 text nor JSON, Parquet or a token shard")
        if any(path.suffix == ".arrow" for path in paths):
            raise UsageError(f"corpus {name} was saved by the package datasets: name it {PREFIX}{name}")
        raise UsageError(f"corpus {name}: no file of a known kind ({', '.join(SUFFIXES)}; .json or no suffix)")
    if len(found) > 1:
        raise UsageError(f"corpus {name} mixes files of several kinds ({', '.join(found)}); put one kind in a folder of its own")
    return found[0], list(kinds)


def _split(kind: Kind, root: Path, paths: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    names = {path: path.relative_to(root).as_posix() for path in paths}
    val = tuple(path for path in paths if says(names[path], "val"))
    rest = tuple(path for path in paths if path not in val)
    train = tuple(path for path in rest if says(names[path], "train")) or rest
    nanochat = kind == "parquet" and all(re.fullmatch(r"shard_\d+\.parquet", path.name) for path in paths)
    return (train[:-1], train[-1:]) if nanochat and not val and len(train) > 1 else (train, val)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _standard_library(root: Path) -> list[Path]:
    """The source files of the running Python's standard library without its tests."""
    # pydoc_data is one large generated file of English documentation.
    skipped = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"}
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(set(inner) - skipped)  # not looked into: what is installed there may be large
        # _sysconfigdata: build settings of one machine, not library source.
        found += [Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")]
    return sorted(found)
