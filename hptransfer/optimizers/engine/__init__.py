"""Optimizers as chains of small transforms on stacked matrices. They receive final numbers and scale nothing themselves."""

from hptransfer.optimizers.engine.assemble import make_optimizer
from hptransfer.optimizers.engine.clipping import clip_gradients
from hptransfer.optimizers.engine.optimizer import Chain, ChainOptimizer

__all__ = ["Chain", "ChainOptimizer", "clip_gradients", "make_optimizer"]
