"""Corpora as memory-mapped token files, and the global batch as a function of (data seed, step)."""
