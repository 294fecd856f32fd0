"""Optimizers as chains of small transforms on stacked matrices. They receive final numbers and scale nothing themselves."""

from hptransfer.optim.clipping import clip_gradients
from hptransfer.optim.optimizer import ChainOptimizer
from hptransfer.optim.recipes import build_optimizer, optimizer_flops, optimizer_state_bytes

__all__ = ["ChainOptimizer", "build_optimizer", "clip_gradients", "optimizer_flops", "optimizer_state_bytes"]
