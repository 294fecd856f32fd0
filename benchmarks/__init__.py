"""Measurements that are no tests. Run from the repository root: ``python -m benchmarks.optimizer_step``."""
