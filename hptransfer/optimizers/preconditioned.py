"""What Shampoo and SOAP share: Gram factors per block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.recipe import Role, Setting, Sides, WithAdam

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.factors import Blocks


class Preconditioned(WithAdam):
    """Gram factors of a matrix's blocks, refreshed now and then."""

    beta1: float = Field(0.95, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    precondition_frequency: int = Field(10, ge=1, description="steps between two refreshes of roots or bases")
    block_size: int | None = Field(None, ge=0, description="None: the base width; 0: unblocked")
    max_preconditioner_dim: int = Field(10_000, ge=1, description="a longer axis is left alone")

    def sides(self, role: Role, d_out: int, d_in: int) -> Sides:
        """An embedding's input and a readout's output, the vocabulary, are left alone: their factors would be larger than the
        model's."""
        longest = self.max_preconditioner_dim
        return Sides(role != "readout" and d_out <= longest, role != "embedding" and d_in <= longest)

    def block(self, base_width: int) -> int:
        """The base width by default, so that blocks do not grow with width."""
        return base_width if self.block_size is None else self.block_size

    @staticmethod
    def blocks(setting: Setting) -> Blocks:
        """The blocks of a tensor. An embedding's is (V, D): its rows are the role's inputs."""
        from hptransfer.optimizers.engine.factors import Blocks

        left, right = setting.sides
        rows, columns = (right, left) if setting.role == "embedding" else (left, right)
        return Blocks(setting.block_size, rows, columns)
