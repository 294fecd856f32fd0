"""What a run's figures were taken on: the processor, the memory it needed, the versions."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from hptransfer import __version__


def device() -> str:
    """The processor's name and the number of cores, so that wall-clock figures say where they were taken."""
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def reset_peak_memory() -> None:
    """Start the peak anew: an actor that is reused has trained other runs before. Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since `reset_peak_memory`, or since its start where that cannot be."""
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
