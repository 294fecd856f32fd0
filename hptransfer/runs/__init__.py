"""Runs: points, jobs and outcomes, and the store of records, which is the only state there is."""

from hptransfer.runs.claims import Claim, ClaimLost, Claims, Holder, Watch
from hptransfer.runs.point import Job, Kind, Point
from hptransfer.runs.record import CurvePoint, Outcome, Record
from hptransfer.runs.store import Store

__all__ = [
    "Claim",
    "ClaimLost",
    "Claims",
    "CurvePoint",
    "Holder",
    "Job",
    "Kind",
    "Outcome",
    "Point",
    "Record",
    "Store",
    "Watch",
]
