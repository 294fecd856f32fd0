"""What a run's figures were taken on: the processor, the memory it needed, the versions."""

from __future__ import annotations

import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hptransfer import __version__
from hptransfer.trainers.machine import processor_name


def default_device() -> torch.device:
    """This process's accelerator where it has one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The device's name, of a CPU with the number of cores, so that wall-clock figures say where they were taken."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def reset_peak_memory(device: torch.device) -> None:
    """Start the peak anew: an actor that is reused has trained other runs before. On a CPU, Linux only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory allocated on an accelerator, or on a CPU largest resident memory of this process, since
    `reset_peak_memory`, or since its start where that cannot be."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def versions() -> dict[str, str]:
    return {
        "hptransfer": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


class Stopwatch:
    """Seconds between starts and stops: of the processor, or on an accelerator of its stream, so that nothing has to wait."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = 0.0
        self._began: Any = None
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def start(self) -> None:
        """A span begins."""
        self._began = self._now()

    def stop(self) -> None:
        """It ends."""
        if self._cuda:
            self._spans.append((self._began, self._now()))
        else:
            self._seconds += self._now() - self._began

    def take(self) -> float:
        """The seconds since it was last asked. On an accelerator, waits until its work is done."""
        for began, ended in self._spans:
            ended.synchronize()
            self._seconds += began.elapsed_time(ended) / 1000
        taken, self._seconds = self._seconds, 0.0
        self._spans.clear()
        return taken
