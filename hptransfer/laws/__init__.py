"""Scaling laws: what a ladder of runs says of sizes, horizons and schedules that nobody has trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hptransfer.base.plugins import Registry

if TYPE_CHECKING:
    from hptransfer.laws.law import Law

LAWS: Registry[type[Law]] = Registry(
    "law",
    {
        "chinchilla": "hptransfer.laws.chinchilla:Chinchilla",
        "isoflop": "hptransfer.laws.isoflop:IsoFlop",
        "envelope": "hptransfer.laws.envelope:Envelope",
        "farseer": "hptransfer.laws.farseer:Farseer",
        "skaling": "hptransfer.laws.skaling:Skaling",
        "annealing": "hptransfer.laws.annealing:Annealing",
        "multi-power": "hptransfer.laws.multi_power:MultiPower",
        "t2": "hptransfer.laws.t2:TrainToTest",
        "progress": "hptransfer.laws.progress:AlgorithmicProgress",
    },
)

__all__ = ["LAWS"]
