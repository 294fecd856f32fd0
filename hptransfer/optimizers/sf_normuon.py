"""Schedule-free NorMuon."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hptransfer.optimizers.normuon import NorMuonOptions
from hptransfer.optimizers.recipe import Moments, Recipe
from hptransfer.optimizers.schedule_free import ScheduleFree


class SecondMoment(Moments):
    """Adam without a first moment, whose place the interpolation takes."""

    beta1: float = Field(0.0, ge=0, lt=1)


class ScheduleFreeNorMuonOptions(NorMuonOptions, ScheduleFree):
    """SF-NorMuon (arXiv 2605.23061): NorMuon inside, decay at z; schedule-free Adam for embedding and readout."""

    momentum: float = Field(0.8, ge=0, lt=1)
    momentum_start: float = Field(0.0, ge=0, lt=1, description="where a warm-up of the momentum begins")
    nesterov: bool = False
    decay_at: Literal["y", "z"] = "z"
    adam: SecondMoment = SecondMoment()


SF_NORMUON = Recipe(name="sf-normuon", options=ScheduleFreeNorMuonOptions, colour="#997E44", rank=4)
