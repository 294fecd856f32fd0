"""One writer: whole files or none, whoever writes beside it, and nothing of it left."""

import json
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hptransfer.base import files
from hptransfer.base.errors import UsageError
from hptransfer.base.files import replace, whole
from hptransfer.report.build import write
from hptransfer.runs import Store


def test_writers_side_by_side_write_whole_files(tmp_path):
    path = tmp_path / "one.json"
    replace(path, json.dumps([0] * 3000))

    def work(number: int) -> None:
        for _ in range(40):
            replace(path, json.dumps([number] * 3000))
            assert len(set(json.loads(path.read_text()))) == 1

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, number) for number in range(6)]:
            done.result()
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "one.txt"
    replace(path, "old")
    with pytest.raises(KeyboardInterrupt), whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["one.txt"]


def left(folder: Path, name: str, age: float) -> Path:
    path = folder / name
    path.write_text("half")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_old_leftovers_of_ours_are_swept_and_nothing_else(tmp_path):
    hexes = uuid.uuid4().hex
    ours = left(tmp_path, f"a.json.{hexes}.tmp", 7200)
    others = [left(tmp_path, f"b.json.{hexes}.tmp", 60), left(tmp_path, "mine.tmp", 7200), left(tmp_path, "c.12.tmp", 7200)]
    replace(tmp_path / "new.json", "{}")
    assert not ours.exists()
    assert all(path.exists() for path in others)


def test_a_store_is_swept_when_it_is_gathered(tmp_path):
    for folder in ("runs", "claims"):
        (tmp_path / folder).mkdir()
        left(tmp_path / folder, f"a.json.{uuid.uuid4().hex}.tmp", 7200)
    assert Store(tmp_path).compact() == 0
    assert list(tmp_path.glob("*/*.tmp")) == []


def test_a_report_that_does_not_fit_keeps_the_figures_of_the_one_before(tmp_path, monkeypatch):
    page = "![a](figures/{}.svg)"
    write(tmp_path, {"report.md": page.format("old"), "index.html": "old", "figures/old.svg": "old"})
    plain, left_over = files.whole, [1]

    def full(path: Path, **options: bool):
        if not left_over:
            raise OSError(28, "No space left on device")
        left_over.pop()
        return plain(path, **options)

    monkeypatch.setattr(files, "whole", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write(tmp_path, {"report.md": page.format("new"), "index.html": "new", "figures/new.svg": "new", "figures/b.svg": "b"})
    assert (tmp_path / "report.md").read_text() == page.format("old")
    assert (tmp_path / "figures/old.svg").is_file()
    monkeypatch.undo()
    write(tmp_path, {"report.md": page.format("new"), "index.html": "new", "figures/new.svg": "new"})
    assert not (tmp_path / "figures/old.svg").exists()
