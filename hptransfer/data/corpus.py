"""Corpora: the embedded one, and folders of token shards."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hptransfer.data.shards import Tokens, read_shard, write_shard
from hptransfer.errors import UsageError, unknown
from hptransfer.spec import DataSpec


@dataclass(frozen=True)
class Corpus:
    """Tokens for training and validation, each a sequence of shards. ``token_bytes`` (vocab,): bytes of text that each token
    stands for; None where that is unknown."""

    spec: DataSpec
    train: tuple[Tokens, ...]
    val: tuple[Tokens, ...]
    token_bytes: npt.NDArray[np.int32] | None


def load_corpus(name: str, vocab: int | None = None) -> Corpus:
    """The corpus ``stdlib``, or the folder of ``.bin`` shards of that path (``vocab`` is then required).

    Raises UsageError for an unknown name, a folder without shards, or a damaged shard.
    """
    if name == "stdlib":
        return _stdlib()
    if not Path(name).is_dir():
        if "/" in name:
            raise UsageError(f"corpus {name}: no such folder")
        raise unknown("corpus", name, ["stdlib"])
    if vocab is None:
        raise UsageError(f"corpus {name}: token shards do not say their vocabulary; set data.vocab")
    return _shards(Path(name), vocab)


def open_corpus(spec: DataSpec) -> Corpus:
    """The corpus that a run names, from the cache where it is there, else as this machine has it; `train` compares the two."""
    if spec.tokenizer == "bytes" and (found := _cached(spec)) is not None:
        return found
    return load_corpus(spec.corpus, spec.vocab if spec.tokenizer == "shards" else None)


def _shards(folder: Path, vocab: int) -> Corpus:
    """Shards whose name contains ``train`` or ``val``; tokens are read as they are."""
    paths = {split: sorted(path for path in folder.glob("*.bin") if split in path.name) for split in ("train", "val")}
    for split, found in paths.items():
        if not found:
            raise UsageError(f"corpus {folder}: no .bin file with {split!r} in its name")
    identity = hashlib.sha256()
    for path in (*paths["train"], *paths["val"]):
        # Shards may be hundreds of GB: names, sizes and both ends of each file identify them.
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(1 << 20)
            file.seek(max(0, size - (1 << 20)))
            identity.update(f"{path.name} {size}".encode() + head + file.read())
    spec = DataSpec(corpus=str(folder), tokenizer="shards", sha256=identity.hexdigest(), vocab=vocab)
    train, val = (tuple(read_shard(path) for path in paths[split]) for split in ("train", "val"))
    if (largest := int(max(shard[: 1 << 20].max() for shard in (*train, *val)))) >= vocab:
        raise UsageError(f"corpus {folder}: token {largest} does not fit a vocabulary of {vocab}")
    return Corpus(spec=spec, train=train, val=val, token_bytes=None)


def _stdlib() -> Corpus:
    """The source text of the running Python's standard library without its tests; bytes are tokens.

    Always present, no download, about 11 MB. Files are split by the hash of their path, so the split is the same wherever
    the files are.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = [(path.relative_to(root).as_posix(), path.read_bytes()) for path in _sources(root)]
    identity = hashlib.sha256()
    for name, content in files:
        identity.update(f"{name} {len(content)}\n".encode() + content)
    spec = DataSpec(corpus="stdlib", tokenizer="bytes", sha256=identity.hexdigest(), vocab=256)
    for split, path in _cache_files(spec).items():
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = b"".join(content for name, content in files if _held_out(name) == (split == "val"))
            write_shard(path, np.frombuffer(text, dtype=np.uint8).astype(np.uint16))
    corpus = _cached(spec)
    assert corpus is not None
    return corpus


def _cached(spec: DataSpec) -> Corpus | None:
    """A corpus of bytes from the cache, if it is there whole."""
    files = _cache_files(spec)
    if not all(path.is_file() for path in files.values()):
        return None
    return Corpus(
        spec=spec, train=(read_shard(files["train"]),), val=(read_shard(files["val"]),), token_bytes=np.ones(256, dtype=np.int32)
    )


def _cache_files(spec: DataSpec) -> dict[str, Path]:
    home = os.environ.get("HPTRANSFER_CACHE") or os.environ.get("XDG_CACHE_HOME")
    folder = (Path(home) if home else Path.home() / ".cache") / "hptransfer" / f"{spec.corpus}-{spec.sha256[:16]}"
    return {split: folder / f"{split}.bin" for split in ("train", "val")}


def _sources(root: Path) -> Sequence[Path]:
    # pydoc_data is one large generated file of English documentation, which would be most of the validation text.
    skipped = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"}
    found = (path for path in root.rglob("*.py") if not skipped.intersection(path.relative_to(root).parts))
    # Build settings of one machine, not library source.
    return sorted(path for path in found if not path.name.startswith("_sysconfigdata"))


def _held_out(name: str) -> bool:
    """About 5 % of the files."""
    return hashlib.sha256(name.encode()).digest()[0] < 13
