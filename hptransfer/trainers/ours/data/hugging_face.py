"""Documents of a Hugging Face dataset: one saved in a local folder, or one of the hub, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hptransfer.base.errors import UsageError, first_line
from hptransfer.experiment.settings import TEXT
from hptransfer.trainers.ours.data.documents import Source
from hptransfer.trainers.ours.data.files import PREFIX, fingerprint, says
from hptransfer.trainers.ours.data.rows import Row, find_key, texts


def dataset_source(name: str, key: str | None = None) -> Source:
    """The documents of ``hf:NAME`` or ``hf:NAME:CONFIG``. NAME is a folder (made by ``save_to_disk``, or one that
    ``load_dataset`` reads) or a dataset of the hub. Its split named validation is that; without one, documents of ``train`` are.
    ``key`` is the column of the text, looked for where it is not given.

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

    def rows(split: str) -> Iterator[Row]:
        return _rows(f"corpus {name}, split {split}", splits[split])

    if key is None:  # without a look at rows, of which the first may be far away, where the columns are known
        key = TEXT if TEXT in (splits[train].column_names or ()) else find_key(next(rows(train), ("", None)))
    column = key
    of_val = None if val is None else lambda: texts(rows(val), column)
    return Source(f"{identity} {config}", lambda: texts(rows(train), column), of_val, column)


def _folder_identity(folder: Path) -> str:
    return fingerprint(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def _rows(where: str, dataset: Any) -> Iterator[Row]:
    try:
        yield from ((where, row) for row in dataset)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{where} cannot be read: {first_line(error)}") from None
