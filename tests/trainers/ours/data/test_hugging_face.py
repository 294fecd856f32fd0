import sys

import numpy as np
import pytest
from trainers.ours.data.conftest import DOCUMENTS, write_parquet

from hptransfer.base.errors import UsageError
from hptransfer.experiment import DataChoice
from hptransfer.trainers.ours.data.corpus import load_corpus, open_corpus

datasets = pytest.importorskip("datasets")


def load(folder, **kwargs):
    return load_corpus(DataChoice(corpus=f"hf:{folder}", **kwargs))


@pytest.fixture
def rows():
    return datasets.Dataset.from_dict({"text": DOCUMENTS, "id": list(range(len(DOCUMENTS)))})


def test_a_saved_dataset_is_split_as_files_are(cache, tmp_path, make_folder, rows) -> None:
    rows.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    ours, files = load(tmp_path / "saved"), load_corpus(DataChoice(corpus=str(make_folder("jsonl"))))
    for split in ("train", "val"):
        assert np.array_equal(np.concatenate(getattr(ours, split)), np.concatenate(getattr(files, split)))
    assert load(tmp_path / "saved").spec == ours.spec == open_corpus(ours.spec).spec
    rows.select(range(150)).save_to_disk(str(tmp_path / "part"))
    assert load(tmp_path / "part").spec.sha256 != ours.spec.sha256


def test_a_split_named_validation_is_that(cache, tmp_path, rows) -> None:
    splits = {"test": rows.select([0]), "validation": rows.select(range(3)), "train": rows.select(range(3, 200))}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "files").mkdir()
    write_parquet(tmp_path / "files" / "train-00000-of-00001.parquet", DOCUMENTS[3:])
    write_parquet(tmp_path / "files" / "validation-00000-of-00001.parquet", DOCUMENTS[:3])
    # The first is read by load_from_disk, the second streamed by load_dataset, as from the hub.
    for found in (load(tmp_path / "saved"), load(tmp_path / "files")):
        assert found.val[0].astype(np.uint8).tobytes() == b"".join(b"\0" + text.encode() for text in DOCUMENTS[:3])
        assert (found.train[0] == 0).sum() == 197


def test_max_bytes_stops_the_stream(cache, tmp_path) -> None:
    write_parquet(tmp_path / "train.parquet", DOCUMENTS[10:] * 20)
    found = load(tmp_path, max_bytes=9000)
    assert 9000 <= found.token_bytes[found.train[0]].sum() < 9000 + max(len(text.encode()) for text in DOCUMENTS[10:])


@pytest.mark.parametrize(
    ("columns", "split", "says"),
    [
        ({"title": ["x"]}, "train", "split train has no 'text' (it has title)"),
        ({"text": [["x"]]}, "train", "split train: text is of type list, not a string"),
        ({"text": ["x"]}, "test", "has no split named train (its splits: test)"),
    ],
)
def test_a_dataset_that_does_not_fit(cache, tmp_path, columns, split: str, says: str) -> None:
    datasets.DatasetDict({split: datasets.Dataset.from_dict(columns)}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "saved")
    assert says in str(caught.value)


def test_a_folder_that_holds_no_dataset(cache, tmp_path) -> None:
    with pytest.raises(UsageError, match=f"corpus hf:{tmp_path}: "):
        load(tmp_path)


def test_without_the_package_one_line_says_what_to_install(cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"needs the package datasets: pip install 'hptransfer\[hf\]'"):
        load(tmp_path)


def test_the_column_of_the_text_is_found_or_named(cache, tmp_path) -> None:
    columns = {"content": DOCUMENTS, "raw": [text.upper() for text in DOCUMENTS]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "saved"))
    found, named = load(tmp_path / "saved"), load(tmp_path / "saved", text="raw")
    assert (found.spec.text, named.spec.text) == ("content", "raw")
    assert found.spec.sha256 != named.spec.sha256
    assert b"quick brown" in found.train[0].astype(np.uint8).tobytes()
    assert b"QUICK BROWN" in named.train[0].astype(np.uint8).tobytes()
