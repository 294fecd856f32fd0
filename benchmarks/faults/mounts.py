"""File systems of their own, which may be full, read-only or away. Needs root."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.faults.bench import FILLER


@contextmanager
def mounted(place: Path, megabytes: int = 8) -> Iterator[None]:
    """A folder with a small file system of its own."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
    try:
        yield
    finally:
        while not subprocess.run(["umount", "--lazy", place], capture_output=True, check=False).returncode:
            pass  # mounted there more than once


@contextmanager
def filled(place: Path) -> Iterator[None]:
    filler = place / FILLER
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    def remount(mode: str) -> None:
        while subprocess.run(["mount", "-o", f"remount,{mode}", place], capture_output=True, check=False).returncode:
            time.sleep(0.01)  # busy: a file is being written

    remount("ro")
    try:
        yield
    finally:
        remount("rw")


@contextmanager
def unmounted(place: Path) -> Iterator[None]:
    """Its file system is elsewhere; in its place is the empty folder on which it was mounted."""
    away = place.with_name("away")
    away.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", place, away], check=True)
    subprocess.run(["umount", "--lazy", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "--bind", away, place], check=True)
        subprocess.run(["umount", "--lazy", away], check=True)


@contextmanager
def renamed(place: Path) -> Iterator[None]:
    away = place.with_name("away")
    place.rename(away)
    try:
        yield
    finally:
        away.rename(place)
