"""Scaling laws: what a ladder of runs says of sizes, horizons and schedules that nobody has trained."""

from hptransfer.base.plugins import Registry
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
        "progress": "hptransfer.laws.progress:Progress",
    },
)

__all__ = ["LAWS"]
