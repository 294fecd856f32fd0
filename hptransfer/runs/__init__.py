"""The store: one record per finished training run, the only state there is."""

from hptransfer.runs.claims import Claim, ClaimLost, Claims, Holder, Watch
from hptransfer.runs.record import CurvePoint, RunRecord
from hptransfer.runs.store import Store

__all__ = ["Claim", "ClaimLost", "Claims", "CurvePoint", "Holder", "RunRecord", "Store", "Watch"]
