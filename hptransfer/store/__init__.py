"""The store: one record per finished training run, the only state there is."""

from hptransfer.store.claims import Claim, ClaimLost, Claims, Holder, Watch
from hptransfer.store.record import CurvePoint, RunRecord
from hptransfer.store.store import Store

__all__ = ["Claim", "ClaimLost", "Claims", "CurvePoint", "Holder", "RunRecord", "Store", "Watch"]
