"""What an experiment may cost: how it is searched and validated, on which machines, and when that ends."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hptransfer.base.frozen import Written


class SearchSettings(Written):
    """How a study spends its trials. Everything here is part of what makes a study reproducible."""

    trials: int = Field(12, gt=0, description="finished runs per (recipe, parametrization, cell)")
    batch: Annotated[int, Field(gt=1)] | Literal["auto"] = Field(
        4, description="proposals made before the next look at the results; auto: as many as a study has slots when it starts"
    )
    sampler: Literal["design", "gp", "tpe", "random"] = "design"
    seed: int = Field(0, ge=0, lt=5_000)  # seeds from `membership.REPEATED_SEED` on are of no search


class ValidationSettings(Written):
    """What is run at the held-out width."""

    seeds: int = Field(3, gt=0)
    probe_octaves: tuple[float, ...] = Field((0.5, 1.0), description="distances of probes on LR and on weight decay, powers of 2")
    ladder: tuple[float, ...] = Field((0.5, 2.0, 4.0), description="other AdamW horizons, as factors, until they bracket")

    @property
    def probe_factors(self) -> tuple[float, ...]:
        """Factors on the predicted value, ascending: each distance to both sides."""
        return tuple(sorted(2.0**octave for distance in self.probe_octaves for octave in (-distance, distance)))

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        distances = list(self.probe_octaves)
        if distances != sorted(set(distances)) or any(not 0 < distance <= 3 for distance in distances):
            raise ValueError(f"probe_octaves {distances} are not ascending, above 0 and up to 3, a factor of 8")
        if list(self.ladder) != sorted(set(self.ladder)) or any(horizon <= 0 or horizon == 1 for horizon in self.ladder):
            raise ValueError(f"ladder {list(self.ladder)} is not ascending, of positive factors other than 1")
        return self


class Resources(Written):
    """What one trial gets. As many run at once as the cluster's nodes have room for."""

    cpus: float = Field(1, gt=0, description="CPU cores; whole ones are the trial's threads")
    gpus: float = Field(0, ge=0, description="GPUs; a share such as 0.25 puts four trials on each")
    memory_gb: float | None = Field(None, gt=0, description="main memory, where it is what runs out first")
    hang_seconds: float = Field(600, gt=0, description="a run without a step for this long is killed and goes on elsewhere")

    @property
    def threads(self) -> int:
        """Threads of the trial's process."""
        return max(1, int(self.cpus))

    def demand(self) -> dict[str, float]:
        """What Ray is asked for, by its names; memory in bytes."""
        demand = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_gb or 0) * 1e9}
        return {name: value for name, value in demand.items() if value}

    @model_validator(mode="after")
    def _whole_or_share(self) -> Self:
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus {self.gpus:g} is neither a share of one GPU nor a whole number")
        return self


class Budget(Written):
    """Where a search stops although trials are left; the same command with more budget goes on."""

    hours: float | None = Field(None, gt=0, description="wall time of the command; what is in flight then is finished")
    flops: float | None = Field(None, gt=0, description="forward and backward FLOPs of all of the experiment's runs in the store")
