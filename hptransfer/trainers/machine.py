"""The names of what runs are trained on, without torch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path


def processor_name() -> str:
    """The processor with its number of cores."""
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def gpu_name() -> str | None:
    """The first of this process's GPUs as NVIDIA's tool calls it; None where there is no such tool."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={visible}"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return found.splitlines()[0] if found else None
