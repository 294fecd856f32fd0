"""Python imports this at its start where the folder is on PYTHONPATH: the fault suite's eyes in every process of a search.

Each record that is written becomes a line of $FAULT_LOG, everything that waits for minutes waits for seconds (checkpoints,
patience with a store that refuses), and the date is as far from the machine's as $FAULT_CLOCK holds.
"""

import importlib.abc
import importlib.machinery
import mmap
import os
import struct
import sys
import time
from types import ModuleType


def _log(*words: object) -> None:
    line = " ".join(map(str, (*words, os.getpid(), f"{time.time():.3f}"))) + "\n"
    file = os.open(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def _watch_records(module: ModuleType) -> None:
    add = module.Store.add

    def logged(self, record) -> None:
        add(self, record)
        _log("record", self.uri, record.run_id)

    module.Store.add = logged


def _hurry_checkpoints(module: ModuleType) -> None:
    module.Checkpoints.__init__.__defaults__ = (0.2,)


def _hurry_patience(module: ModuleType) -> None:
    module.PATIENCE_SECONDS = 6.0


PATCHES = {
    "hptransfer.runs.store": _watch_records,
    "hptransfer.trainers.ours.checkpoint": _hurry_checkpoints,
    "hptransfer.base.files": _hurry_patience,
}


class Patched(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        PATCHES[module.__name__](module)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Patched(spec.loader.name, spec.loader.path)
        return spec


def _shift_clock(path: str) -> None:
    with open(path, "rb") as file:
        shift, real = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ), time.time
    time.time = lambda: real() + struct.unpack("d", shift)[0]


if "FAULT_CLOCK" in os.environ:
    _shift_clock(os.environ["FAULT_CLOCK"])
if "FAULT_LOG" in os.environ:
    sys.meta_path.insert(0, Finder())
