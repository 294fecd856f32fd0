"""Documents of a Hugging Face dataset: one saved in a local folder, or one of the hub, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hptransfer.base.errors import UsageError, first_line
from hptransfer.trainers.ours.data.documents import TEXT, Source, as_document
from hptransfer.trainers.ours.data.files import fingerprint, says

PREFIX = "hf:"


def dataset_source(name: str) -> Source:
    """The documents of ``hf:NAME`` or ``hf:NAME:CONFIG``. NAME is a folder (made by ``save_to_disk``, or one that
    ``load_dataset`` reads) or a dataset of the hub. Its split named validation is that; without one, documents of ``train`` are.

    Raises UsageError in one line when the package ``datasets`` is absent, or the dataset is, or a split or column.
    """
    try:
        import datasets
    except ImportError:
        raise UsageError(f"corpus {name} needs the package datasets: pip install 'hptransfer[hf]'") from None
    place, _, config = name.removeprefix(PREFIX).partition(":")
    folder = Path(place)
    try:
        if any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
            identity = _folder_identity(folder)
            found = datasets.load_from_disk(place)
            splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
        else:
            builder = datasets.load_dataset_builder(place, config or None)
            # Of a dataset of the hub the hash is its commit; a folder's would be of the times of its files.
            identity = _folder_identity(folder) if folder.is_dir() else str(builder.hash)
            splits = dict(builder.as_streaming_dataset())
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"corpus {name}: {first_line(error)}") from None
    val = next((split for split in splits if says(split, "val")), None)
    train = next((split for split in splits if says(split, "train")), None)
    if train is None:
        raise UsageError(f"corpus {name} has no split named train (its splits: {', '.join(splits)})")

    def rows(split: str) -> Iterator[bytes]:
        return _rows(f"corpus {name}, split {split}", splits[split])

    return Source(f"{identity} {config}", lambda: rows(train), None if val is None else lambda: rows(val))


def _folder_identity(folder: Path) -> str:
    return fingerprint(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def _rows(where: str, dataset: Any) -> Iterator[bytes]:
    try:
        for row in dataset:
            if TEXT not in row:
                raise UsageError(f"{where} has no column {TEXT!r} (its columns: {', '.join(row)})")
            if text := as_document(row[TEXT], where):
                yield text
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{where} cannot be read: {first_line(error)}") from None
