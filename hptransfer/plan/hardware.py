"""How fast a run goes: on named devices by their data sheets, or as runs in a store went."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hptransfer.base.errors import unknown
from hptransfer.cli import number
from hptransfer.runs import Job, Record
from hptransfer.runs.point import Number
from hptransfer.runs.record import when_finished


@dataclass(frozen=True)
class Hardware:
    """One device. ``flops_per_second``: its peak by dense bf16 matrix products with fp32 accumulation, without sparsity, or where
    it is ``measured``, the model FLOP/s that runs of hptransfer had there."""

    flops_per_second: float
    source: str
    measured: bool = False


SPARSE = "half of the figure with sparsity"
HARDWARE = {
    "a100": Hardware(312e12, "NVIDIA A100 data sheet, 40 and 80 GB"),
    "h100": Hardware(989e12, f"NVIDIA H100 data sheet, SXM, {SPARSE}"),
    "h200": Hardware(989e12, f"NVIDIA H200 data sheet, SXM, {SPARSE}"),
    "b200": Hardware(2250e12, f"NVIDIA Blackwell data sheet, HGX B200, {SPARSE}"),
    "l40s": Hardware(362e12, f"NVIDIA L40S data sheet, {SPARSE}"),
    "rtx4090": Hardware(165.2e12, "NVIDIA Ada GPU architecture white paper, appendix A"),
    "mi300x": Hardware(1307.4e12, "AMD Instinct MI300X data sheet"),
    "cpu": Hardware(
        12.4e9,
        "median of the 46 runs of reports/quickstart: one thread each, two at once on two cores of an AMD EPYC (AVX2), widths 32 "
        "to 128; wider models go faster",
        measured=True,
    ),
}


def peak(device: str) -> float | None:
    """The dense bf16 peak, FLOP/s, of the device that a record or torch names; None where the table has none."""
    words = device.lower().replace("rtx ", "rtx").replace("-", " ").split()
    return next((one.flops_per_second for name, one in HARDWARE.items() if name in words and not one.measured), None)


@dataclass(frozen=True)
class Speed:
    """FLOP/s of one device, by run, and in words where that comes from. ``per_core``: the device is one core of a CPU."""

    hardware: str
    words: str
    of: Callable[[Job], float]
    per_core: bool = False


def named(name: str, utilization: float) -> Speed:
    """A device of the table; a peak counts by the share ``utilization`` of it that training reaches. Raises UsageError."""
    if name not in HARDWARE:
        raise unknown("hardware", name, HARDWARE)
    device = HARDWARE[name]
    if device.measured:
        words = f"{name}: {number(device.flops_per_second)} FLOP/s a core ({device.source})"
        return Speed(name, words, lambda _: device.flops_per_second, per_core=True)
    rate = device.flops_per_second * utilization
    peak = number(device.flops_per_second)
    words = f"{name}: {utilization:.0%} of its dense bf16 peak, {peak} FLOP/s ({device.source})"
    return Speed(name, words, lambda _: rate)


def given(rate: float) -> Speed:
    """What the user measured, FLOP/s."""
    return Speed("given", f"{number(rate)} FLOP/s, as given", lambda _: rate)


def recorded(records: Sequence[Record]) -> Speed:
    """The model FLOP/s of finished runs that took time, on the device of the newest of them: of the same recipe where there are
    some, at the nearest width."""
    device = max(records, key=when_finished).outcome.device
    used = [record for record in records if record.outcome.device == device]
    cost: dict[tuple[str | None, Number], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record in used:
        total = cost[record.point.settings.get("optimizer"), record.point["width"]]
        total[0] += record.outcome.flops or 0.0
        total[1] += (record.outcome.training_wall_seconds or 0.0) * record.outcome.workers
    rates = {key: flops / seconds for key, (flops, seconds) in cost.items()}

    def rate(job: Job) -> float:
        def distance(key: tuple[str | None, Number]) -> tuple[bool, float]:
            return key[0] != job.point.settings.get("optimizer"), abs(math.log(key[1] / job.point["width"]))

        return rates[min(rates, key=distance)]

    low, high = number(min(rates.values())), number(max(rates.values()))
    words = f"{device}: {low} to {high} FLOP/s a core, as measured in {len(used)} runs in the store"
    return Speed(device, words, rate, per_core=True)
