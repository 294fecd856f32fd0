"""The store: one record per finished training run, the only state there is."""

from hptransfer.store.record import CurvePoint, RunRecord
from hptransfer.store.store import Store

__all__ = ["CurvePoint", "RunRecord", "Store"]
