"""A corpus as files for other trainers: tokens in ``.bin`` shards, the text they are of, and what both are in ``corpus.json``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np

from hptransfer.base.errors import UsageError
from hptransfer.base.files import replace
from hptransfer.base.frozen import Frozen
from hptransfer.experiment import DataChoice
from hptransfer.trainers.ours.data.cache import cache_folder
from hptransfer.trainers.ours.data.corpus import load_corpus
from hptransfer.trainers.ours.data.documents import SPLITS, Split
from hptransfer.trainers.ours.data.shards import write_shard
from hptransfer.trainers.ours.data.tokenizer import ByteTokenizer

ABOUT = "corpus.json"


class Part(Frozen):
    """One split. ``bytes`` of text, None where it is not known."""

    tokens: int
    bytes: int | None


class WrittenCorpus(Frozen):
    """What ``corpus.json`` says: the identity of the tokens, their type in the ``.bin`` files, and the files beside it."""

    corpus: str
    tokenizer: str
    sha256: str
    vocab: int
    text: str | None = None
    dtype: Literal["uint16", "uint32"]
    splits: dict[Split, Part]
    files: tuple[str, ...]


def write_corpus(choice: DataChoice, folder: Path) -> WrittenCorpus:
    """Write ``train.bin`` and ``val.bin`` (uint16 after a header of 1,024 bytes, as llm.c and modded-nanogpt read them; uint32
    where the tokenizer has more than 65,536 entries, as llm.c's for Llama 3), of bytes ``train.txt`` and ``val.txt`` too, of a
    BPE its ``tokenizer.json``. Raises UsageError where the folder holds anything else."""
    if folder.exists() and not (folder / ABOUT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and was not written by this command: nothing of it is overwritten; name another")
    corpus = load_corpus(choice)
    spec, splits, files = corpus.spec, dict[Split, Part](), list[str]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            tokens = np.concatenate(getattr(corpus, split))
            known = None if corpus.token_bytes is None else int(corpus.token_bytes[tokens].sum())
            splits[split] = Part(tokens=len(tokens), bytes=known)
            write_shard(folder / f"{split}.bin", tokens)
            files.append(f"{split}.bin")
            if spec.tokenizer == "bytes":
                (folder / f"{split}.txt").write_bytes(ByteTokenizer().decode(tokens))
                files.append(f"{split}.txt")
        if (tokenizer := cache_folder(spec) / "tokenizer.json").is_file():
            shutil.copyfile(tokenizer, folder / tokenizer.name)
            files.append(tokenizer.name)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    known_as = spec.model_dump(include={"corpus", "tokenizer", "sha256", "vocab", "text"})
    dtype = corpus.train[0].dtype.name
    written = WrittenCorpus(**known_as, dtype=dtype, splits=splits, files=(*files, ABOUT))
    replace(folder / ABOUT, written.model_dump_json(indent=1) + "\n")
    return written
