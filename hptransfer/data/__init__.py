"""Corpora as memory-mapped token files, and the global batch as a function of (data seed, step)."""

from hptransfer.data.batches import batch, validation_batches
from hptransfer.data.corpus import Corpus, load_corpus

__all__ = ["Corpus", "batch", "load_corpus", "validation_batches"]
