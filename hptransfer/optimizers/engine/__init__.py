"""Optimizers as chains of small transforms on stacked matrices. They receive final numbers and scale nothing themselves."""

from hptransfer.optimizers.engine.clipping import clip_gradients
from hptransfer.optimizers.engine.optimizer import ChainOptimizer
from hptransfer.optimizers.engine.recipes import build_optimizer, optimizer_flops, optimizer_state_bytes

__all__ = ["ChainOptimizer", "build_optimizer", "clip_gradients", "optimizer_flops", "optimizer_state_bytes"]
